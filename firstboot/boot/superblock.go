package boot

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
)

// The superblock of dm-verity's hash device, as cryptsetup writes it
// (lib/verity/verity.c, struct verity_sb). We take the one form that the builder makes.
const (
	veritySignature = "verity\x00\x00"
	verityBlock     = 4096
	verityHashes    = verityBlock / sha256.Size // per block of the tree
	veritySuperSize = 512
	maxVeritySalt   = 256
	maxVerityBlocks = 1 << 32 // 16 TiB of data
)

// A Superblock describes a hash tree.
type Superblock struct {
	UUID   [16]byte
	Blocks uint64 // of data, 4096 bytes each
	Salt   []byte
}

// ParseSuperblock reads the first 512 bytes of a hash device. Anything but
// version 1, SHA-256 and blocks of 4096 bytes is refused.
func ParseSuperblock(b []byte) (Superblock, error) {
	if len(b) < veritySuperSize {
		return Superblock{}, fmt.Errorf("has %d bytes, want %d", len(b), veritySuperSize)
	}
	if string(b[:8]) != veritySignature {
		return Superblock{}, fmt.Errorf("begins with % x, want %q", b[:8], veritySignature)
	}
	le := binary.LittleEndian
	version, hashType := le.Uint32(b[8:]), le.Uint32(b[12:])
	algorithm := string(bytes.TrimRight(b[32:64], "\x00"))
	dataBlock, hashBlock := le.Uint32(b[64:]), le.Uint32(b[68:])
	if version != 1 || hashType != 1 || algorithm != "sha256" || dataBlock != verityBlock || hashBlock != verityBlock {
		return Superblock{}, fmt.Errorf("is of version %d, hash type %d, algorithm %q, data blocks of %d and hash blocks of %d bytes; want 1, 1, sha256, %d, %d",
			version, hashType, algorithm, dataBlock, hashBlock, verityBlock, verityBlock)
	}
	s := Superblock{UUID: [16]byte(b[16:32]), Blocks: le.Uint64(b[72:])}
	if s.Blocks < 2 || s.Blocks > maxVerityBlocks {
		return Superblock{}, fmt.Errorf("tells of %d data blocks, want 2 to %d", s.Blocks, uint64(maxVerityBlocks))
	}
	salt := int(le.Uint16(b[80:]))
	if salt > maxVeritySalt {
		return Superblock{}, fmt.Errorf("tells of a salt of %d bytes, at most %d fit", salt, maxVeritySalt)
	}
	s.Salt = bytes.Clone(b[88 : 88+salt])
	return s, nil
}

// HashBlocks is the number of blocks of the tree, without the superblock's.
func (s Superblock) HashBlocks() uint64 {
	var sum uint64
	for n := s.Blocks; n > 1; {
		n = (n + verityHashes - 1) / verityHashes
		sum += n
	}
	return sum
}

// checkFit says whether data and tree fit into their partitions, in bytes.
func (s Superblock) checkFit(data, tree int64) error {
	if need := int64(s.Blocks) * verityBlock; need > data {
		return fmt.Errorf("the data has %d bytes, its partition only %d", need, data)
	}
	if need := int64(1+s.HashBlocks()) * verityBlock; need > tree {
		return fmt.Errorf("the hash tree has %d bytes, its partition only %d", need, tree)
	}
	return nil
}

// checkRoot compares the hash of the tree's top block, which follows the
// superblock, with the root hash. The kernel would do it too, but at the first
// read, by a panic.
func (s Superblock) checkRoot(tree io.ReaderAt, want RootHash) error {
	block := make([]byte, verityBlock)
	if err := readFull(tree, block, verityBlock); err != nil {
		return err
	}
	h := sha256.New()
	h.Write(s.Salt)
	h.Write(block)
	if got := RootHash(h.Sum(nil)); got != want {
		return fmt.Errorf("its top block has the hash %s, the kernel command line says %s", got, want)
	}
	return nil
}

// table is the device-mapper table of the device, without its first sector and
// length (Documentation/admin-guide/device-mapper/verity.rst). data and tree are
// numbers MAJOR:MINOR.
func (s Superblock) table(data, tree string, root RootHash) string {
	salt := "-"
	if len(s.Salt) > 0 {
		salt = hex.EncodeToString(s.Salt)
	}
	// The tree begins in block 1, behind the superblock. A block that does not
	// have its hash stops the machine before anybody has read it.
	return fmt.Sprintf("1 %s %s %d %d %d 1 sha256 %s %s 1 panic_on_corruption",
		data, tree, verityBlock, verityBlock, s.Blocks, root, salt)
}
