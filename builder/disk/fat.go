package disk

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf16"
)

// A small FAT32 reader (Microsoft, FAT: General Overview of On-Disk Format):
// enough to find a file by its path and read it, with limits, since an image
// may come from anywhere.
const (
	fatMaxDir     = 1 << 20 // bytes of one directory
	fatMaxFile    = 1 << 30 // bytes of one file
	fatEnd        = 0x0ffffff8
	fatMask       = 0x0fffffff
	fatAttrLong   = 0x0f
	fatAttrDir    = 0x10
	fatAttrVolume = 0x08
	fatLowerName  = 0x08 // of byte 12, as Windows NT and mtools write short names
	fatLowerExt   = 0x10
)

var errFAT = errors.New("not a FAT32 file system that can be read")

type fat struct {
	r        io.ReaderAt
	table    int64 // offset of the first FAT
	data     int64 // offset of cluster 2
	cluster  int64 // bytes
	clusters uint32
	root     uint32
}

type fatEntry struct {
	name  string
	dir   bool
	first uint32
	size  int64
}

func openFAT(r io.ReaderAt) (*fat, error) {
	b := make([]byte, 512)
	if _, err := r.ReadAt(b, 0); err != nil {
		return nil, fmt.Errorf("read the boot sector: %w", err)
	}
	le := binary.LittleEndian
	sector, per := int64(le.Uint16(b[11:])), int64(b[13])
	reserved, tables, sectors := int64(le.Uint16(b[14:])), int64(b[16]), int64(le.Uint32(b[32:]))
	tableSize := int64(le.Uint32(b[36:]))
	if le.Uint16(b[510:]) != 0xaa55 || sector < 512 || sector > 4096 || sector&(sector-1) != 0 || per == 0 || per&(per-1) != 0 ||
		reserved == 0 || tables == 0 || tableSize == 0 || le.Uint16(b[22:]) != 0 {
		return nil, errFAT
	}
	f := &fat{r: r, table: reserved * sector, cluster: per * sector, root: le.Uint32(b[44:]) & fatMask}
	f.data = f.table + tables*tableSize*sector
	count := (sectors*sector - f.data) / f.cluster
	if count <= 0 || count > tableSize*sector/4 {
		return nil, errFAT
	}
	f.clusters = uint32(count)
	return f, nil
}

// chain lists the clusters of a file from first on, which may hold at most limit
// bytes.
func (f *fat) chain(first uint32, limit int64) ([]uint32, error) {
	var out []uint32
	for c := first; c < fatEnd; {
		if c < 2 || c >= f.clusters+2 {
			return nil, fmt.Errorf("%w: cluster %d of %d", errFAT, c, f.clusters)
		}
		if out = append(out, c); int64(len(out)-1)*f.cluster > limit {
			return nil, fmt.Errorf("%w: a file or directory of more than %d bytes, or a loop", errFAT, limit)
		}
		var next [4]byte
		if _, err := f.r.ReadAt(next[:], f.table+4*int64(c)); err != nil {
			return nil, fmt.Errorf("read the FAT: %w", err)
		}
		c = binary.LittleEndian.Uint32(next[:]) & fatMask
	}
	return out, nil
}

// fatFile reads a file through its clusters.
type fatFile struct {
	fs    *fat
	chain []uint32
	size  int64
}

func (f *fatFile) ReadAt(p []byte, off int64) (n int, err error) {
	for n < len(p) && off < f.size {
		c, at := off/f.fs.cluster, off%f.fs.cluster
		k := min(int64(len(p)-n), f.fs.cluster-at, f.size-off)
		m, err := f.fs.r.ReadAt(p[n:n+int(k)], f.fs.data+int64(f.chain[c]-2)*f.fs.cluster+at)
		n, off = n+m, off+int64(m)
		if int64(m) < k {
			return n, err
		}
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *fat) open(e fatEntry) (*fatFile, error) {
	chain, err := f.chain(e.first, min(e.size, fatMaxFile))
	if err != nil {
		return nil, err
	}
	if int64(len(chain))*f.cluster < e.size {
		return nil, fmt.Errorf("%w: %s is cut off", errFAT, e.name)
	}
	return &fatFile{f, chain, e.size}, nil
}

// find lists the directory at path.
func (f *fat) find(path ...string) ([]fatEntry, error) {
	dir, err := f.dir(f.root)
	for _, name := range path {
		if err != nil {
			return nil, err
		}
		next := uint32(0)
		for _, e := range dir {
			if e.dir && strings.EqualFold(e.name, name) {
				next = e.first
			}
		}
		if next == 0 {
			return nil, fmt.Errorf("directory %s: %w", strings.Join(path, "/"), os.ErrNotExist)
		}
		dir, err = f.dir(next)
	}
	return dir, err
}

func (f *fat) dir(first uint32) ([]fatEntry, error) {
	chain, err := f.chain(first, fatMaxDir)
	if err != nil {
		return nil, err
	}
	raw := make([]byte, min(int64(len(chain))*f.cluster, fatMaxDir))
	if _, err := (&fatFile{f, chain, int64(len(raw))}).ReadAt(raw, 0); err != nil {
		return nil, fmt.Errorf("read a directory: %w", err)
	}
	var out []fatEntry
	var long []uint16
	for ; len(raw) >= 32 && raw[0] != 0; raw = raw[32:] {
		e := raw[:32]
		switch {
		case e[0] == 0xe5: // deleted
			long = nil
		case e[11]&0x3f == fatAttrLong:
			long = append(longPart(e), long...) // the last part comes first
			if len(long) > 260 {
				long = nil
			}
		case e[11]&fatAttrVolume != 0:
			long = nil
		default:
			out = append(out, shortEntry(e, long))
			long = nil
		}
	}
	return out, nil
}

// longPart is the 13 characters of a long name that one entry holds.
func longPart(e []byte) []uint16 {
	var out []uint16
	for _, span := range [][2]int{{1, 11}, {14, 26}, {28, 32}} {
		for i := span[0]; i < span[1]; i += 2 {
			c := binary.LittleEndian.Uint16(e[i:])
			if c == 0 || c == 0xffff {
				return out
			}
			out = append(out, c)
		}
	}
	return out
}

func shortEntry(e []byte, long []uint16) fatEntry {
	le := binary.LittleEndian
	name, ext := strings.TrimRight(string(e[:8]), " "), strings.TrimRight(string(e[8:11]), " ")
	if e[12]&fatLowerName != 0 {
		name = strings.ToLower(name)
	}
	if e[12]&fatLowerExt != 0 {
		ext = strings.ToLower(ext)
	}
	if ext != "" {
		name += "." + ext
	}
	if len(long) > 0 {
		name = string(utf16.Decode(long))
	}
	return fatEntry{
		name: name, dir: e[11]&fatAttrDir != 0, size: int64(le.Uint32(e[28:])),
		first: uint32(le.Uint16(e[20:]))<<16 | uint32(le.Uint16(e[26:])),
	}
}
