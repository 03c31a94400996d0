package seal

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"sort"

	"github.com/klauspost/compress/zstd"
)

// sqMetaWriter collects a metadata table and compresses it block by block.
type sqMetaWriter struct {
	enc    *zstd.Encoder
	out    bytes.Buffer // finished blocks
	starts []uint64     // where each of them begins in out
	cur    []byte       // the block being filled
}

// ref is the place of the next byte: block position and offset in the block.
func (w *sqMetaWriter) ref() uint64 { return uint64(w.out.Len())<<16 | uint64(len(w.cur)) }

// Write adds p; it never fails.
func (w *sqMetaWriter) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		k := min(len(p), sqMetaSize-len(w.cur))
		w.cur = append(w.cur, p[:k]...)
		p = p[k:]
		if len(w.cur) == sqMetaSize {
			w.flush()
		}
	}
	return n, nil
}

func (w *sqMetaWriter) flush() {
	if len(w.cur) == 0 {
		return
	}
	w.starts = append(w.starts, uint64(w.out.Len()))
	packed := w.enc.EncodeAll(w.cur, nil)
	if len(packed) < len(w.cur) {
		put(&w.out, uint16(len(packed)))
		w.out.Write(packed)
	} else {
		put(&w.out, uint16(len(w.cur)|sqMetaPlain))
		w.out.Write(w.cur)
	}
	w.cur = w.cur[:0]
}

// put appends numbers in little-endian order.
func put(b *bytes.Buffer, values ...any) {
	for _, v := range values {
		switch v := v.(type) {
		case uint16:
			b.Write(binary.LittleEndian.AppendUint16(nil, v))
		case uint32:
			b.Write(binary.LittleEndian.AppendUint32(nil, v))
		case uint64:
			b.Write(binary.LittleEndian.AppendUint64(nil, v))
		}
	}
}

// sqWriter writes the metadata of one image.
type sqWriter struct {
	enc     *zstd.Encoder
	inodes  sqMetaWriter
	dirs    sqMetaWriter
	xattrs  sqXattrWriter
	ids     []uint32
	idIndex map[uint32]uint16
	count   uint32 // inodes numbered
	err     error
}

func newSQWriter() (*sqWriter, error) {
	// Each block stands alone and holds 8 KiB; the kernel wants no checksum.
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(false), zstd.WithEncoderLevel(zstd.SpeedDefault))
	if err != nil {
		return nil, fmt.Errorf("set up zstd: %w", err)
	}
	w := &sqWriter{enc: enc, idIndex: map[uint32]uint16{}}
	w.inodes.enc, w.dirs.enc, w.xattrs.meta.enc = enc, enc, enc
	return w, nil
}

// prepare numbers the inodes below n and counts their links. Children of one
// directory get numbers that follow each other: a listing's header covers only
// inodes near its own (squashfs_dir_entry).
func (w *sqWriter) prepare(n *sqNode) {
	names := sortedNames(n)
	for _, name := range names {
		c := n.children[name]
		c.links++
		if c.number == 0 {
			w.count++
			c.number = w.count
		}
	}
	n.links += 2 // of a directory: its name and "."; each child's ".." is added below
	for _, name := range names {
		if c := n.children[name]; c.kind == sqDir {
			c.links-- // counted by its own call
			n.links++
			w.prepare(c)
		}
	}
}

func sortedNames(n *sqNode) []string {
	names := make([]string, 0, len(n.children))
	for name := range n.children {
		names = append(names, name)
	}
	sort.Strings(names) // by bytes, as the kernel looks up
	return names
}

func (w *sqWriter) id(v uint32) uint16 {
	if i, ok := w.idIndex[v]; ok {
		return i
	}
	if len(w.ids) >= math.MaxUint16 {
		w.err = fmt.Errorf("write squashfs: more than %d different owners", len(w.ids))
		return 0
	}
	i := uint16(len(w.ids))
	w.ids, w.idIndex[v] = append(w.ids, v), i
	return i
}

// tree writes what is below the directory n, then n itself.
func (w *sqWriter) tree(n *sqNode, parent uint32) {
	names := sortedNames(n)
	for _, name := range names {
		switch c := n.children[name]; {
		case c.kind == sqDir:
			w.tree(c, n.number)
		case !c.done:
			w.leaf(c)
		}
	}
	w.dir(n, names, parent)
}

// inode appends the head that all inodes share and then the fields of n.
func (w *sqWriter) inode(n *sqNode, kind uint16, fields ...any) {
	n.ref, n.done = w.inodes.ref(), true
	var b bytes.Buffer
	put(&b, kind, n.mode, w.id(n.uid), w.id(n.gid), n.mtime, n.number)
	for _, f := range fields {
		switch f := f.(type) {
		case string:
			b.WriteString(f)
		case []uint32:
			for _, v := range f {
				put(&b, v)
			}
		default:
			put(&b, f)
		}
	}
	w.inodes.Write(b.Bytes())
}

func (w *sqWriter) leaf(n *sqNode) {
	x := w.xattrs.set(n.xattrs)
	kind, fields := n.kind, []any{n.links}
	switch n.kind {
	case sqFile:
		w.file(n, x)
		return
	case sqSymlink:
		fields = append(fields, uint32(len(n.target)), n.target)
	case sqBlock, sqChar:
		fields = append(fields, n.rdev)
	}
	if x != sqNoIndex {
		kind, fields = kind+sqExtend, append(fields, x)
	}
	w.inode(n, kind, fields...)
}

func (w *sqWriter) file(n *sqNode, x uint32) {
	d := n.data
	if x == sqNoIndex && n.links == 1 && d.sparse == 0 && d.start <= math.MaxUint32 && d.size <= math.MaxUint32 {
		w.inode(n, sqFile, uint32(d.start), d.frag, d.fragOff, uint32(d.size), d.blocks)
		return
	}
	w.inode(n, sqFile+sqExtend, d.start, d.size, d.sparse, n.links, d.frag, d.fragOff, x, d.blocks)
}

// sqDirIndex is one entry of a directory's index, which lets the kernel begin a
// look-up near the name.
type sqDirIndex struct {
	offset, block uint32
	name          string
}

func (w *sqWriter) dir(n *sqNode, names []string, parent uint32) {
	start := w.dirs.ref()
	size, index := w.listing(n, names)
	size += 3 // the kernel counts . and .. as 3 bytes
	x := w.xattrs.set(n.xattrs)
	block, offset := uint32(start>>16), uint16(start&0xffff)
	if x == sqNoIndex && len(index) == 0 && size <= math.MaxUint16 {
		w.inode(n, sqDir, block, n.links, uint16(size), offset, parent)
		return
	}
	fields := []any{n.links, uint32(size), block, parent, uint16(len(index)), offset, x}
	for _, e := range index {
		fields = append(fields, e.offset, e.block, uint32(len(e.name)-1), e.name)
	}
	w.inode(n, sqDir+sqExtend, fields...)
}

// listing writes the names of n and returns its size in bytes and its index.
func (w *sqWriter) listing(n *sqNode, names []string) (size int, index []sqDirIndex) {
	indexed := 0 // size at the last indexed header, or at the beginning
	for first := 0; first < len(names); {
		if size > indexed+sqMetaSize {
			ref := w.dirs.ref()
			index = append(index, sqDirIndex{uint32(size), uint32(ref >> 16), names[first]})
			indexed = size
		}
		base := n.children[names[first]]
		var b bytes.Buffer
		last := first
		for ; last < len(names) && last-first < 256; last++ {
			c := n.children[names[last]]
			diff := int64(c.number) - int64(base.number)
			// A header ends where an index entry is due: only a header can be indexed.
			full := size+12+b.Len() > indexed+sqMetaSize && last > first
			if c.ref>>16 != base.ref>>16 || diff != int64(int16(diff)) || full {
				break
			}
			put(&b, uint16(c.ref&0xffff), uint16(int16(diff)), c.kind, uint16(len(names[last])-1))
			b.WriteString(names[last])
		}
		var head bytes.Buffer
		put(&head, uint32(last-first-1), uint32(base.ref>>16), base.number)
		w.dirs.Write(head.Bytes())
		w.dirs.Write(b.Bytes())
		size += head.Len() + b.Len()
		first = last
	}
	return size, index
}

// finish writes all tables to out, from position pos of the file on, fills in
// the superblock's positions and pads to 4 KiB.
func (w *sqWriter) finish(out io.Writer, pos uint64, s *sqSuper, frags []sqFrag) error {
	b := bufio.NewWriterSize(out, 1<<20)
	at := pos
	write := func(p []byte) { n, _ := b.Write(p); at += uint64(n) }
	table := func(m *sqMetaWriter) uint64 {
		m.flush()
		start := at
		write(m.out.Bytes())
		return start
	}
	// indexed writes a table and the index of its blocks' positions.
	indexed := func(raw, head []byte) uint64 {
		m := &sqMetaWriter{enc: w.enc}
		m.Write(raw)
		start := table(m)
		index := at
		write(head)
		for _, rel := range m.starts {
			write(binary.LittleEndian.AppendUint64(nil, start+rel))
		}
		return index
	}
	s.InodeTable, s.DirTable = table(&w.inodes), table(&w.dirs)
	s.FragTable, s.ExportTable, s.XattrTable = sqNone, sqNone, sqNone
	if len(frags) > 0 {
		var raw bytes.Buffer
		for _, f := range frags {
			put(&raw, f.start, f.size, uint32(0))
		}
		s.FragTable = indexed(raw.Bytes(), nil)
	}
	var ids bytes.Buffer
	for _, id := range w.ids {
		put(&ids, id)
	}
	s.IDTable = indexed(ids.Bytes(), nil)
	if n := len(w.xattrs.index); n > 0 {
		start := table(&w.xattrs.meta)
		var head bytes.Buffer
		put(&head, start, uint32(n), uint32(0))
		s.XattrTable = indexed(w.xattrs.lookups, head.Bytes())
	} else {
		s.Flags |= sqFlagNoXattrs
	}
	s.Used = at
	s.Inodes, s.IDs, s.Frags = w.count, uint16(len(w.ids)), uint32(len(frags))
	if pad := (4096 - at%4096) % 4096; pad > 0 {
		write(make([]byte, pad))
	}
	if w.err != nil {
		return w.err
	}
	if err := b.Flush(); err != nil {
		return fmt.Errorf("write squashfs tables: %w", err)
	}
	return nil
}
