package seal

import (
	"context"
	"crypto/sha256"
	"fmt"
	"hash"
	"io"
	"runtime"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
)

// verityChunk is how many data blocks one worker takes at a time: 1 MiB, whose
// digests fill two hash blocks.
const verityChunk = 256

// hashAll returns the SHA-256 of all of r.
func hashAll(ctx context.Context, r io.Reader) ([]byte, error) {
	sum := sha256.New()
	buf := make([]byte, 1<<20)
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		n, err := r.Read(buf)
		sum.Write(buf[:n])
		if err == io.EOF {
			return sum.Sum(nil), nil
		}
		if err != nil {
			return nil, fmt.Errorf("read it: %w", err)
		}
	}
}

// saltedHash computes hash type 1: sha256 of the salt and then the block.
type saltedHash struct {
	sum  hash.Hash
	salt []byte
}

func (h saltedHash) append(to, block []byte) []byte {
	h.sum.Reset()
	h.sum.Write(h.salt)
	h.sum.Write(block)
	return h.sum.Sum(to)
}

// levelBlocks gives the number of hash blocks of each level, lowest first. One
// data block needs none: its digest is the root hash.
func levelBlocks(blocks int64) []int64 {
	var out []int64
	for n := blocks; n > 1; {
		n = (n + verityFanout - 1) / verityFanout
		out = append(out, n)
	}
	return out
}

// verityTree hashes blocks blocks of data and returns the tree's levels, lowest
// first, each padded to whole blocks, and the root hash.
func verityTree(ctx context.Context, data io.ReaderAt, blocks int64, salt []byte) (levels [][]byte, root []byte, err error) {
	leaves, err := hashBlocks(ctx, data, blocks, salt)
	if err != nil {
		return nil, nil, err
	}
	h := saltedHash{sha256.New(), salt}
	digests := leaves
	for _, n := range levelBlocks(blocks) {
		level := make([]byte, n*verityBlock)
		copy(level, digests)
		levels = append(levels, level)
		digests = make([]byte, 0, n*verityDigest)
		for b := range n {
			digests = h.append(digests, level[b*verityBlock:(b+1)*verityBlock])
		}
	}
	return levels, digests, nil
}

// hashBlocks returns the digests of blocks data blocks, one after the other,
// computed on all cores.
func hashBlocks(ctx context.Context, data io.ReaderAt, blocks int64, salt []byte) ([]byte, error) {
	out := make([]byte, blocks*verityDigest)
	var next atomic.Int64
	g, ctx := errgroup.WithContext(ctx)
	for range runtime.GOMAXPROCS(0) {
		g.Go(func() error {
			h := saltedHash{sha256.New(), salt}
			buf := make([]byte, verityChunk*verityBlock)
			for {
				first := (next.Add(1) - 1) * verityChunk
				if first >= blocks {
					return nil
				}
				if err := ctx.Err(); err != nil {
					return err
				}
				n := min(verityChunk, blocks-first)
				if k, err := data.ReadAt(buf[:n*verityBlock], first*verityBlock); k < int(n)*verityBlock {
					return fmt.Errorf("read block %d of the data: %w", first+int64(k)/verityBlock, err)
				}
				to := out[first*verityDigest : first*verityDigest]
				for b := range n {
					to = h.append(to, buf[b*verityBlock:(b+1)*verityBlock])
				}
			}
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return out, nil
}
