package seal

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"sort"
	"strings"
)

// Prefix ids of extended attributes (squashfs_fs.h).
const (
	sqXattrUser     = 0
	sqXattrTrusted  = 1
	sqXattrSecurity = 2
	sqXattrRef      = 0x100 // the value is a reference to the value
)

// xattrSets reads all sets of extended attributes.
func (r *sqReader) xattrSets() ([][]sqXattr, error) {
	if r.super.XattrTable == sqNone {
		return nil, nil
	}
	var head struct {
		Start         uint64
		Count, Unused uint32
	}
	if err := binary.Read(io.NewSectionReader(r.in, int64(r.super.XattrTable), 16), binary.LittleEndian, &head); err != nil {
		return nil, fmt.Errorf("read squashfs xattr table: %w", err)
	}
	if head.Count > sqMaxTable/16 {
		return nil, fmt.Errorf("%w: %d xattr sets", errSquashfs, head.Count)
	}
	raw, err := r.table(r.super.XattrTable+16, int(head.Count), 16)
	if err != nil {
		return nil, err
	}
	sets := make([][]sqXattr, head.Count)
	budget := sqMaxXattrs
	for i := range sets {
		e := raw[i*16:]
		ref, count := binary.LittleEndian.Uint64(e), binary.LittleEndian.Uint32(e[8:])
		if count > 1024 {
			return nil, fmt.Errorf("%w: %d xattrs of one file", errSquashfs, count)
		}
		if sets[i], err = r.xattrSet(head.Start, ref, int(count), &budget); err != nil {
			return nil, err
		}
	}
	return sets, nil
}

func (r *sqReader) xattrSet(start, ref uint64, count int, budget *int) ([]sqXattr, error) {
	c := r.cursor(start, int64(ref>>16), int64(ref&0xffff))
	var set []sqXattr
	for range count {
		kind := c.u16()
		x := sqXattr{kind: kind &^ sqXattrRef, name: string(c.bytes(int(c.u16())))}
		value := c
		if kind&sqXattrRef != 0 {
			c.u32() // size of the reference, 8
			at := c.u64()
			value = r.cursor(start, int64(at>>16), int64(at&0xffff))
		}
		size := value.u32()
		if *budget -= int(size) + len(x.name) + 8; size > sqMaxXattr || *budget < 0 {
			return nil, fmt.Errorf("%w: xattrs of more than %d bytes, or of %d bytes together", errSquashfs, sqMaxXattr, sqMaxXattrs)
		}
		x.value = string(value.bytes(int(size)))
		if value.err != nil {
			return nil, value.err
		}
		set = append(set, x)
	}
	return set, c.err
}

// setXattrs gives n the set with that index, without those in which an overlay
// keeps its books (Documentation/filesystems/overlayfs.rst); user. is the prefix
// in a user namespace.
func (l *sqLoader) setXattrs(n *sqNode, index uint32) error {
	if index == sqNoIndex {
		return nil
	}
	if int(index) >= len(l.xattrs) {
		return fmt.Errorf("%w: xattr set %d of %d", errSquashfs, index, len(l.xattrs))
	}
	for _, x := range l.xattrs[index] {
		key, ok := strings.CutPrefix(x.name, "overlay.")
		if !ok || x.kind != sqXattrTrusted && x.kind != sqXattrUser {
			n.xattrs = append(n.xattrs, x)
			continue
		}
		switch key {
		case "opaque":
			n.opaque = x.value == "y"
		case "redirect", "metacopy":
			return fmt.Errorf("merge layers: an overlay made with %s cannot be merged; mount it with redirect_dir=off,metacopy=off", key)
		}
	}
	return nil
}

// sqXattrWriter collects the sets of the files, each kept once.
type sqXattrWriter struct {
	meta    sqMetaWriter
	index   map[string]uint32
	lookups []byte
}

// set returns the index of a set, in the order of its names.
func (w *sqXattrWriter) set(xattrs []sqXattr) uint32 {
	if len(xattrs) == 0 {
		return sqNoIndex
	}
	sorted := append([]sqXattr(nil), xattrs...)
	sort.Slice(sorted, func(i, j int) bool {
		a, b := sorted[i], sorted[j]
		return a.kind < b.kind || a.kind == b.kind && a.name < b.name
	})
	var b bytes.Buffer
	for _, x := range sorted {
		put(&b, x.kind, uint16(len(x.name)))
		b.WriteString(x.name)
		put(&b, uint32(len(x.value)))
		b.WriteString(x.value)
	}
	if i, ok := w.index[b.String()]; ok {
		return i
	}
	i := uint32(len(w.index))
	if w.index == nil {
		w.index = map[string]uint32{}
	}
	w.index[b.String()] = i
	w.lookups = binary.LittleEndian.AppendUint64(w.lookups, w.meta.ref())
	w.lookups = binary.LittleEndian.AppendUint32(w.lookups, uint32(len(sorted)))
	w.lookups = binary.LittleEndian.AppendUint32(w.lookups, uint32(b.Len()))
	w.meta.Write(b.Bytes())
	return i
}
