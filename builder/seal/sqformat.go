package seal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
)

// The squashfs 4.0 format as the Linux kernel reads it
// (fs/squashfs/squashfs_fs.h); all numbers are little-endian.
const (
	sqMagic     = 0x73717368 // "hsqs"
	sqSuperSize = 96
	sqZstd      = 6       // compressor id
	sqMetaSize  = 8 << 10 // bytes in a metadata block before compression
	sqMetaPlain = 1 << 15 // in a metadata header: the block is not compressed
	sqDataPlain = 1 << 24 // in a data block's size: the block is not compressed
	sqNone      = ^uint64(0)
	sqNoIndex   = ^uint32(0) // no fragment, no xattrs

	sqFlagDedupe   = 0x0040
	sqFlagNoXattrs = 0x0200
	sqFlagOptions  = 0x0400

	sqDir     = 1
	sqFile    = 2
	sqSymlink = 3
	sqBlock   = 4
	sqChar    = 5
	sqFifo    = 6
	sqSocket  = 7
	sqExtend  = 7 // added to a type: the extended form of its inode
)

// Limits on what a squashfs image may claim. A controller has 70 000 inodes.
const (
	sqMaxInodes = 4 << 20
	sqMaxBlocks = 16 << 20 // data blocks of all files together, the holes of sparse files included
	sqMaxDepth  = 256
	sqMaxXattr  = 64 << 10 // bytes of one value (XATTR_SIZE_MAX)
	sqMaxTable  = 64 << 20 // bytes of the fragment, id or xattr table
	sqMaxXattrs = 4 << 20  // bytes of all values and names, as often as they are read
)

// sqSuper is the superblock.
type sqSuper struct {
	Magic, Inodes, MkfsTime, BlockSize, Frags uint32
	Compressor, BlockLog, Flags, IDs          uint16
	Major, Minor                              uint16
	Root, Used                                uint64
	IDTable, XattrTable, InodeTable, DirTable uint64
	FragTable, ExportTable                    uint64
}

var errSquashfs = errors.New("not a squashfs image that trivet makes")

// check refuses what neither mksquashfs nor this package makes.
func (s *sqSuper) check(size int64) error {
	switch {
	case s.Magic != sqMagic || s.Major != 4 || s.Minor != 0:
		return fmt.Errorf("%w: no squashfs 4.0 superblock", errSquashfs)
	case s.Compressor != sqZstd:
		return fmt.Errorf("%w: compressor %d, want zstd (%d)", errSquashfs, s.Compressor, sqZstd)
	case s.BlockSize < 4096 || s.BlockSize > 1<<20 || s.BlockSize != 1<<s.BlockLog:
		return fmt.Errorf("%w: block size %d", errSquashfs, s.BlockSize)
	case s.Used > uint64(size):
		return fmt.Errorf("%w: %d of %d bytes are there", errSquashfs, size, s.Used)
	case s.Inodes == 0 || s.Inodes > sqMaxInodes || uint64(s.Inodes) > 32*s.Used: // zstd packs no more of them into a byte
		return fmt.Errorf("%w: %d inodes, at most %d", errSquashfs, s.Inodes, sqMaxInodes)
	case s.InodeTable >= s.Used || s.DirTable >= s.Used || s.IDTable >= s.Used:
		return fmt.Errorf("%w: a table lies outside of the image", errSquashfs)
	}
	return nil
}

// sqReader reads metadata of one image.
type sqReader struct {
	in     io.ReaderAt
	super  sqSuper
	dec    *zstd.Decoder
	blocks map[int64]sqMetaBlock // by position in the image
}

type sqMetaBlock struct {
	data []byte
	next int64 // position of the block after it
}

func newSQReader(in io.ReaderAt, size int64) (*sqReader, error) {
	r := &sqReader{in: in, blocks: map[int64]sqMetaBlock{}}
	if err := binary.Read(io.NewSectionReader(in, 0, sqSuperSize), binary.LittleEndian, &r.super); err != nil {
		return nil, fmt.Errorf("read squashfs superblock: %w", err)
	}
	if err := r.super.check(size); err != nil {
		return nil, err
	}
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(sqMetaSize), zstd.WithDecoderLowmem(true))
	if err != nil {
		return nil, fmt.Errorf("set up zstd: %w", err)
	}
	r.dec = dec
	return r, nil
}

func (r *sqReader) close() { r.dec.Close() }

// block returns the metadata block at pos, decompressed.
func (r *sqReader) block(pos int64) (sqMetaBlock, error) {
	if b, ok := r.blocks[pos]; ok {
		return b, nil
	}
	var head [2]byte
	if pos < sqSuperSize || pos >= int64(r.super.Used) {
		return sqMetaBlock{}, fmt.Errorf("%w: metadata at %d is outside of the image", errSquashfs, pos)
	}
	if _, err := r.in.ReadAt(head[:], pos); err != nil {
		return sqMetaBlock{}, fmt.Errorf("read squashfs metadata at %d: %w", pos, err)
	}
	word := binary.LittleEndian.Uint16(head[:])
	size := int(word &^ sqMetaPlain)
	if size == 0 || size > sqMetaSize {
		return sqMetaBlock{}, fmt.Errorf("%w: metadata at %d has %d bytes", errSquashfs, pos, size)
	}
	data := make([]byte, size)
	if _, err := r.in.ReadAt(data, pos+2); err != nil {
		return sqMetaBlock{}, fmt.Errorf("read squashfs metadata at %d: %w", pos, err)
	}
	if word&sqMetaPlain == 0 {
		var err error
		if data, err = r.dec.DecodeAll(data, make([]byte, 0, sqMetaSize)); err != nil {
			return sqMetaBlock{}, fmt.Errorf("decompress squashfs metadata at %d: %w", pos, err)
		}
		if len(data) > sqMetaSize {
			return sqMetaBlock{}, fmt.Errorf("%w: metadata at %d grows to %d bytes", errSquashfs, pos, len(data))
		}
	}
	b := sqMetaBlock{data, pos + 2 + int64(size)}
	r.blocks[pos] = b
	return b, nil
}

// sqCursor reads on from a place in a metadata table, across its blocks.
type sqCursor struct {
	r    *sqReader
	data []byte
	next int64
	err  error // the first error; reads after it give zeroes
}

// cursor starts at offset off of the block that lies rel bytes into the table
// at start.
func (r *sqReader) cursor(start uint64, rel, off int64) *sqCursor {
	c := &sqCursor{r: r}
	b, err := r.block(int64(start) + rel)
	switch {
	case err != nil:
		c.err = err
	case off > int64(len(b.data)):
		c.err = fmt.Errorf("%w: offset %d in a block of %d bytes", errSquashfs, off, len(b.data))
	default:
		c.data, c.next = b.data[off:], b.next
	}
	return c
}

// bytes reads n bytes.
func (c *sqCursor) bytes(n int) []byte {
	out := make([]byte, 0, min(n, sqMetaSize))
	for c.err == nil && len(out) < n {
		if len(c.data) == 0 {
			var b sqMetaBlock
			if b, c.err = c.r.block(c.next); c.err != nil {
				break
			}
			c.data, c.next = b.data, b.next
			continue
		}
		k := min(n-len(out), len(c.data))
		out = append(out, c.data[:k]...)
		c.data = c.data[k:]
	}
	if c.err != nil {
		return make([]byte, n)
	}
	return out
}

func (c *sqCursor) u16() uint16 { return binary.LittleEndian.Uint16(c.bytes(2)) }
func (c *sqCursor) u32() uint32 { return binary.LittleEndian.Uint32(c.bytes(4)) }
func (c *sqCursor) u64() uint64 { return binary.LittleEndian.Uint64(c.bytes(8)) }

// table reads n entries of size bytes from the table whose index of block
// positions lies at pos.
func (r *sqReader) table(pos uint64, n, size int) ([]byte, error) {
	total := n * size
	if total > sqMaxTable {
		return nil, fmt.Errorf("%w: a table of %d bytes", errSquashfs, total)
	}
	out := make([]byte, 0, min(total, 1<<20))
	for i := 0; len(out) < total; i++ {
		var ref [8]byte
		if _, err := r.in.ReadAt(ref[:], int64(pos)+int64(i)*8); err != nil {
			return nil, fmt.Errorf("read squashfs table index: %w", err)
		}
		b, err := r.block(int64(binary.LittleEndian.Uint64(ref[:])))
		if err != nil {
			return nil, err
		}
		if len(b.data) == 0 {
			return nil, fmt.Errorf("%w: an empty table block", errSquashfs)
		}
		out = append(out, b.data...)
	}
	return out[:total], nil
}
