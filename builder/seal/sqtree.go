package seal

import (
	"encoding/binary"
	"fmt"
	"io"
	"strings"
)

// sqNode is one inode of a squashfs tree. A file with several hard links is one
// node with several parents.
type sqNode struct {
	kind     uint16 // sqDir … sqSocket
	mode     uint16 // permission bits with setuid, setgid and sticky
	uid, gid uint32
	mtime    uint32
	xattrs   []sqXattr
	opaque   bool // an overlay directory that hides what lies below
	children map[string]*sqNode
	target   string // of a symlink
	rdev     uint32 // of a device
	data     sqData // of a file

	// set by the writer
	number uint32
	links  uint32
	ref    uint64
	done   bool
}

// sqData says where a file's contents lie: full blocks from start on, each
// with its size on disk, then the tail in a fragment.
type sqData struct {
	layer   int
	size    uint64
	start   uint64
	sparse  uint64
	blocks  []uint32
	frag    uint32 // sqNoIndex: none
	fragOff uint32
}

// sqXattr is one extended attribute; kind is the id of the name's prefix.
type sqXattr struct {
	kind        uint16
	name, value string
}

// sqFrag is an entry of the fragment table.
type sqFrag struct {
	start uint64
	size  uint32
}

// sqImage is an image that was read: its tree and its fragment table.
type sqImage struct {
	super sqSuper
	root  *sqNode
	frags []sqFrag
}

type sqLoader struct {
	*sqReader
	layer  int
	ids    []byte
	xattrs [][]sqXattr
	frags  int
	nodes  map[uint64]*sqNode
	budget int    // inodes and names that may still be read
	blocks uint64 // data blocks that may still be read
}

// loadSquashfs reads all metadata of the image in, which has size bytes. layer
// is noted in each file.
func loadSquashfs(in io.ReaderAt, size int64, layer int) (*sqImage, error) {
	r, err := newSQReader(in, size)
	if err != nil {
		return nil, err
	}
	defer r.close()
	l := &sqLoader{
		sqReader: r, layer: layer, nodes: map[uint64]*sqNode{}, frags: int(r.super.Frags),
		budget: 16 * int(r.super.Inodes), blocks: sqMaxBlocks,
	}
	if l.ids, err = r.table(r.super.IDTable, int(r.super.IDs), 4); err != nil {
		return nil, err
	}
	img := &sqImage{super: r.super}
	if img.frags, err = r.fragments(); err != nil {
		return nil, err
	}
	if l.xattrs, err = r.xattrSets(); err != nil {
		return nil, err
	}
	if img.root, err = l.inode(r.super.Root, 0); err != nil {
		return nil, err
	}
	if img.root.kind != sqDir {
		return nil, fmt.Errorf("%w: the root is no directory", errSquashfs)
	}
	return img, nil
}

func (r *sqReader) fragments() ([]sqFrag, error) {
	if r.super.Frags == 0 {
		return nil, nil
	}
	if r.super.Frags > sqMaxTable/16 {
		return nil, fmt.Errorf("%w: %d fragments", errSquashfs, r.super.Frags)
	}
	raw, err := r.table(r.super.FragTable, int(r.super.Frags), 16)
	if err != nil {
		return nil, err
	}
	out := make([]sqFrag, r.super.Frags)
	for i := range out {
		e := raw[i*16:]
		out[i] = sqFrag{binary.LittleEndian.Uint64(e), binary.LittleEndian.Uint32(e[8:])}
	}
	return out, nil
}

// inode reads the inode at ref (block position and offset in the inode table)
// and, of a directory, everything below it.
func (l *sqLoader) inode(ref uint64, depth int) (*sqNode, error) {
	if n, ok := l.nodes[ref]; ok {
		if n.kind == sqDir {
			return nil, fmt.Errorf("%w: a directory has two names", errSquashfs)
		}
		return n, nil
	}
	if l.budget--; l.budget < 0 || depth > sqMaxDepth {
		return nil, fmt.Errorf("%w: more names than inodes allow, or directories deeper than %d", errSquashfs, sqMaxDepth)
	}
	c := l.cursor(l.super.InodeTable, int64(ref>>16&0xffffffff), int64(ref&0xffff))
	kind := c.u16()
	extended := kind > sqExtend
	n := &sqNode{kind: kind, mode: c.u16()}
	if extended {
		n.kind -= sqExtend
	}
	l.nodes[ref] = n
	uid, gid := int(c.u16()), int(c.u16())
	n.mtime = c.u32()
	c.u32() // the inode's number: the writer gives new ones
	if (max(uid, gid)+1)*4 > len(l.ids) {
		return nil, fmt.Errorf("%w: owner number %d of %d", errSquashfs, max(uid, gid), len(l.ids)/4)
	}
	n.uid, n.gid = binary.LittleEndian.Uint32(l.ids[uid*4:]), binary.LittleEndian.Uint32(l.ids[gid*4:])
	xattr := sqNoIndex
	var err error
	switch n.kind {
	case sqDir:
		xattr, err = l.dir(c, n, extended, depth)
	case sqFile:
		xattr, err = l.file(c, n, extended)
	case sqSymlink, sqBlock, sqChar, sqFifo, sqSocket:
		xattr, err = l.other(c, n, extended)
	default:
		err = fmt.Errorf("%w: inode of type %d", errSquashfs, kind)
	}
	if err == nil {
		err = c.err
	}
	if err != nil {
		return nil, err
	}
	return n, l.setXattrs(n, xattr)
}

func (l *sqLoader) other(c *sqCursor, n *sqNode, extended bool) (uint32, error) {
	c.u32() // links: the writer counts them
	switch n.kind {
	case sqSymlink:
		size := c.u32()
		if size > 4096 { // PATH_MAX
			return 0, fmt.Errorf("%w: a link's target of %d bytes", errSquashfs, size)
		}
		n.target = string(c.bytes(int(size)))
	case sqBlock, sqChar:
		n.rdev = c.u32()
	}
	if extended {
		return c.u32(), nil
	}
	return sqNoIndex, nil
}

func (l *sqLoader) file(c *sqCursor, n *sqNode, extended bool) (uint32, error) {
	d, xattr := sqData{layer: l.layer}, sqNoIndex
	if extended {
		d.start, d.size, d.sparse = c.u64(), c.u64(), c.u64()
		c.u32() // links
		d.frag, d.fragOff, xattr = c.u32(), c.u32(), c.u32()
	} else {
		d.start = uint64(c.u32())
		d.frag, d.fragOff = c.u32(), c.u32()
		d.size = uint64(c.u32())
	}
	bs := uint64(l.super.BlockSize)
	count := d.size / bs
	if d.frag == sqNoIndex && d.size%bs != 0 {
		count++
	}
	if count > l.blocks || d.frag != sqNoIndex && int(d.frag) >= l.frags {
		return 0, fmt.Errorf("%w: a file of %d bytes with fragment %d", errSquashfs, d.size, d.frag)
	}
	l.blocks -= count
	end := d.start
	for i := uint64(0); i < count && c.err == nil; i++ {
		size := c.u32()
		d.blocks = append(d.blocks, size)
		end += uint64(size &^ sqDataPlain)
	}
	if end > l.super.Used || end < d.start {
		return 0, fmt.Errorf("%w: a file's data lie outside of the image", errSquashfs)
	}
	n.data = d
	return xattr, nil
}

func (l *sqLoader) dir(c *sqCursor, n *sqNode, extended bool, depth int) (uint32, error) {
	var start, size uint32
	var offset uint16
	xattr := sqNoIndex
	if extended {
		c.u32() // links
		size, start = c.u32(), c.u32()
		c.u32() // parent
		c.u16() // the index, which only speeds look-ups up, follows
		offset, xattr = c.u16(), c.u32()
	} else {
		start = c.u32()
		c.u32() // links
		size, offset = uint32(c.u16()), c.u16()
	}
	n.children = map[string]*sqNode{}
	if c.err != nil || size <= 3 { // an empty listing has size 3, for . and ..
		return xattr, c.err
	}
	return xattr, l.listing(l.cursor(l.super.DirTable, int64(start), int64(offset)), n, int64(size)-3, depth)
}

// listing reads the size bytes of a directory's listing: headers, each followed
// by its entries.
func (l *sqLoader) listing(c *sqCursor, n *sqNode, size int64, depth int) error {
	for size > 0 && c.err == nil {
		count, block := int(c.u32())+1, c.u32()
		c.u32() // the number that entries count from
		size -= 12
		if count > 256 {
			return fmt.Errorf("%w: %d names under one header", errSquashfs, count)
		}
		for range count {
			offset := c.u16()
			c.bytes(4) // inode number's difference and type, both are in the inode
			name := string(c.bytes(int(c.u16()) + 1))
			size -= 8 + int64(len(name))
			if c.err != nil || size < 0 {
				break
			}
			if len(name) > 255 || name == "." || name == ".." || strings.ContainsAny(name, "/\x00") || n.children[name] != nil {
				return fmt.Errorf("%w: the name %q in a directory", errSquashfs, name)
			}
			child, err := l.inode(uint64(block)<<16|uint64(offset), depth+1)
			if err != nil {
				return err
			}
			if l.budget--; l.budget < 0 {
				return fmt.Errorf("%w: more names than inodes allow", errSquashfs)
			}
			n.children[name] = child
		}
	}
	if c.err == nil && size != 0 {
		return fmt.Errorf("%w: a directory's listing ends %d bytes off", errSquashfs, size)
	}
	return c.err
}
