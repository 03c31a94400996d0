package seal

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sync/errgroup"
)

// The on-disk format of dm-verity as veritysetup(8) makes it with its default
// hash type 1 (cryptsetup, docs/on-disk-format-verity; kernel,
// Documentation/admin-guide/device-mapper/verity.rst): one block with the
// superblock, then the tree, its top level first.
const (
	verityBlock  = 4096
	veritySig    = "verity\x00\x00"
	verityDigest = sha256.Size
	verityFanout = verityBlock / verityDigest
	// verityMaxBlocks bounds what is believed of a superblock: 1 TiB of data.
	verityMaxBlocks = 1 << 28
)

// A Verity says how a file's hash tree was made. Hex is lower case.
type Verity struct {
	RootHash   string // 64 hex digits
	Salt       string // 64 hex digits
	UUID       string // of the superblock
	DataBlocks int64  // of 4096 bytes
	DataSHA256 string // of the file as a whole, 64 hex digits
	TreeSHA256 string // of the hash tree's file, 64 hex digits
}

// veritySuper is the superblock, 512 bytes.
type veritySuper struct {
	Signature          [8]byte
	Version, HashType  uint32
	UUID               [16]byte
	Algorithm          [32]byte
	DataSize, HashSize uint32
	DataBlocks         uint64
	SaltSize           uint16
	_                  [6]byte
	Salt               [256]byte
	_                  [168]byte
}

// FormatVerity writes the dm-verity superblock and hash tree of the file data
// to out. Salt and UUID are derived from the data (seedOf), so that the same data
// give the same tree; the bytes are those of `veritysetup format
// --hash=sha256 --data-block-size=4096 --hash-block-size=4096` with that --salt
// and --uuid. The size of data must be a multiple of 4096 bytes, which it is for
// every squashfs and erofs image made here.
func FormatVerity(ctx context.Context, data, out string) (Verity, error) {
	v, err := formatVerity(ctx, data, out)
	if err != nil {
		return Verity{}, fmt.Errorf("make the hash tree of %s: %w", filepath.Base(data), err)
	}
	return v, nil
}

func formatVerity(ctx context.Context, data, out string) (Verity, error) {
	f, err := os.Open(data)
	if err != nil {
		return Verity{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return Verity{}, err
	}
	blocks := info.Size() / verityBlock
	if info.Size()%verityBlock != 0 || blocks == 0 || blocks > verityMaxBlocks {
		return Verity{}, fmt.Errorf("its size of %d bytes is not a multiple of %d between 1 and %d blocks", info.Size(), verityBlock, verityMaxBlocks)
	}
	seed, err := seedOf(f, info.Size())
	if err != nil {
		return Verity{}, err
	}
	salt := sha256.Sum256(append([]byte("trivet verity salt "), seed...))
	id := sha256.Sum256(append([]byte("trivet verity uuid "), seed...))
	uuid := markUUID(id[:16])
	// The digest of the whole, which cannot be computed in parallel, and the
	// tree's, which can, keep all cores busy together.
	var whole, root []byte
	var levels [][]byte
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) { whole, err = hashAll(gctx, io.NewSectionReader(f, 0, info.Size())); return err })
	g.Go(func() (err error) { levels, root, err = verityTree(gctx, f, blocks, salt[:]); return err })
	if err := g.Wait(); err != nil {
		return Verity{}, err
	}
	sum := sha256.New()
	err = replace(out, func(tmp string) error {
		w, err := os.Create(tmp)
		if err != nil {
			return err
		}
		defer w.Close()
		if err := writeVerity(io.MultiWriter(w, sum), uuid, salt[:], blocks, levels); err != nil {
			return err
		}
		return w.Close()
	})
	return Verity{
		RootHash: hex.EncodeToString(root), Salt: hex.EncodeToString(salt[:]), UUID: formatUUID(uuid), DataBlocks: blocks,
		DataSHA256: hex.EncodeToString(whole), TreeSHA256: hex.EncodeToString(sum.Sum(nil)),
	}, err
}

// seedEnd is how much of each end of the data goes into the seed.
const seedEnd = 4 << 20

// seedOf is what salt and UUID are made of: the size and both ends of the data.
// A file system has its superblock and its tables there, so another tree has
// another seed, and the root hash does not wait for a pass over the whole.
func seedOf(r io.ReaderAt, size int64) ([]byte, error) {
	sum := sha256.New()
	fmt.Fprintf(sum, "%d ", size)
	for _, at := range []int64{0, max(0, size-seedEnd)} {
		if _, err := io.Copy(sum, io.NewSectionReader(r, at, min(seedEnd, size))); err != nil {
			return nil, fmt.Errorf("read it: %w", err)
		}
	}
	return sum.Sum(nil), nil
}

// writeVerity writes the superblock, padded to a block, and the levels, top
// first.
func writeVerity(w io.Writer, uuid, salt []byte, blocks int64, levels [][]byte) error {
	s := veritySuper{
		Version: 1, HashType: 1, DataSize: verityBlock, HashSize: verityBlock,
		DataBlocks: uint64(blocks), SaltSize: uint16(len(salt)),
	}
	copy(s.Signature[:], veritySig)
	copy(s.UUID[:], uuid)
	copy(s.Algorithm[:], "sha256")
	copy(s.Salt[:], salt)
	block, err := binary.Append(make([]byte, 0, verityBlock), binary.LittleEndian, &s)
	if err != nil {
		return fmt.Errorf("encode the superblock: %w", err)
	}
	if _, err := w.Write(block[:verityBlock]); err != nil {
		return err
	}
	for i := len(levels) - 1; i >= 0; i-- {
		if _, err := w.Write(levels[i]); err != nil {
			return err
		}
	}
	return nil
}

// readVeritySuper reads the superblock at the beginning of a hash tree.
func readVeritySuper(tree io.ReaderAt) (blocks int64, salt []byte, err error) {
	var s veritySuper
	if err := binary.Read(io.NewSectionReader(tree, 0, int64(binary.Size(s))), binary.LittleEndian, &s); err != nil {
		return 0, nil, fmt.Errorf("read the verity superblock: %w", err)
	}
	switch {
	case string(s.Signature[:]) != veritySig || s.Version != 1:
		return 0, nil, errors.New("read the verity superblock: there is none")
	case s.HashType != 1 || string(bytes.TrimRight(s.Algorithm[:], "\x00")) != "sha256" || s.DataSize != verityBlock || s.HashSize != verityBlock:
		return 0, nil, errors.New("read the verity superblock: not hash type 1 with sha256 and blocks of 4096 bytes")
	case s.DataBlocks == 0 || s.DataBlocks > verityMaxBlocks:
		return 0, nil, fmt.Errorf("read the verity superblock: %d data blocks, at most %d", s.DataBlocks, verityMaxBlocks)
	case int(s.SaltSize) > len(s.Salt):
		return 0, nil, fmt.Errorf("read the verity superblock: a salt of %d bytes", s.SaltSize)
	}
	return int64(s.DataBlocks), s.Salt[:s.SaltSize], nil
}

// markUUID sets the version (8: vendor-specific) and variant bits of RFC 9562.
func markUUID(b []byte) []byte {
	b[6] = b[6]&0x0f | 0x80
	b[8] = b[8]&0x3f | 0x80
	return b
}

func formatUUID(b []byte) string {
	h := hex.EncodeToString(b)
	return strings.Join([]string{h[:8], h[8:12], h[12:16], h[16:20], h[20:32]}, "-")
}
