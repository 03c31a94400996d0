package seal

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
)

// A VerityError says where data or its hash tree are not what the root hash
// promises.
type VerityError struct {
	Part  string // "data", "hash tree" or "root hash"
	Block int64  // number of the block of 4096 bytes in that part; of the tree counted from its superblock
}

func (e *VerityError) Error() string {
	if e.Part == "root hash" {
		return "the hash tree does not have the expected root hash"
	}
	return fmt.Sprintf("block %d of the %s (byte %d) was changed", e.Block, e.Part, e.Block*verityBlock)
}

// CheckVerity computes the hash tree of data again and compares it with tree,
// a file or partition that begins with the verity superblock, and with rootHash
// (64 hex digits). It names the first bad block of the tree, or else of the
// data, as a *VerityError. Trailing bytes of both are not looked at: they are
// the partition's free room.
func CheckVerity(ctx context.Context, data, tree io.ReaderAt, rootHash string) error {
	want, err := hex.DecodeString(rootHash)
	if err != nil || len(want) != verityDigest {
		return fmt.Errorf("check verity: %q is no root hash of %d hex digits", rootHash, 2*verityDigest)
	}
	blocks, salt, err := readVeritySuper(tree)
	if err != nil {
		return fmt.Errorf("check verity: %w", err)
	}
	leaves, err := checkTree(tree, levelBlocks(blocks), salt, want)
	if err != nil {
		return fmt.Errorf("check verity: %w", err)
	}
	if leaves == nil { // a single data block
		leaves = want
	}
	got, err := hashBlocks(ctx, data, blocks, salt)
	if err != nil {
		return fmt.Errorf("check verity: %w", err)
	}
	if b := firstBad(got, leaves); b >= 0 {
		return fmt.Errorf("check verity: %w", &VerityError{"data", b})
	}
	return nil
}

// checkTree reads the levels from the top, each checked by the one above, and
// returns the lowest.
func checkTree(tree io.ReaderAt, counts []int64, salt, want []byte) ([]byte, error) {
	h := saltedHash{sha256.New(), salt}
	first := int64(1) // block 0 is the superblock's
	var level []byte
	for i := len(counts) - 1; i >= 0; i-- {
		level = nil
		digests := make([]byte, 0, verityDigest)
		buf := make([]byte, verityBlock)
		for b := range counts[i] {
			// Block by block: a lying superblock ends at the end of the file, not
			// in an allocation.
			if _, err := tree.ReadAt(buf, (first+b)*verityBlock); err != nil {
				return nil, fmt.Errorf("read block %d of the hash tree: %w", first+b, err)
			}
			level = append(level, buf...)
			digests = h.append(digests, buf)
		}
		if bad := firstBad(digests, want); bad >= 0 {
			if i == len(counts)-1 {
				return nil, &VerityError{Part: "root hash"}
			}
			return nil, &VerityError{"hash tree", first + bad}
		}
		first += counts[i]
		want = level
	}
	return level, nil
}

// firstBad is the number of the first digest in got that differs from want,
// which may be longer (padding), or -1.
func firstBad(got, want []byte) int64 {
	for i := 0; i+verityDigest <= len(got); i += verityDigest {
		if i+verityDigest > len(want) || !bytes.Equal(got[i:i+verityDigest], want[i:i+verityDigest]) {
			return int64(i / verityDigest)
		}
	}
	return -1
}
