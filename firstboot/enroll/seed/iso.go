package seed

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf16"
)

// A disc's layout, in sectors: 16 empty ones, the primary and the Joliet volume
// descriptor, their end; path tables; folders twice, with Rock Ridge names and
// with Joliet's; files; padding.
//
// Why not go-diskfs: it wants the files in a folder of the host, takes their times,
// owners and the present time into the disc, and so makes other bytes each time.
const (
	sector   = 2048
	firstSet = 16
	// padding is what mkisofs adds: kernels read ahead and must not run into the
	// end of the device.
	padding = 150
	maxISO  = 64 << 20 // bytes
)

// An entry is a file or folder of a disc.
type entry struct {
	name     string
	parent   *entry // the root's is itself
	folder   bool
	data     []byte
	children []*entry
	number   uint16 // of a folder, in the path tables
	at       [2]uint32
	size     [2]uint32
}

// The two trees of a disc: primary names with Rock Ridge, and Joliet names.
const (
	primary = 0
	joliet  = 1
)

// An image is a disc that is being made.
type image struct {
	label   string
	when    time.Time
	root    *entry
	folders []*entry // in the order of the path tables
	files   []*entry
	tables  [2][2][]byte // by tree: little endian, big endian
	tableAt [2][2]uint32
	sectors uint32
}

// iso makes a disc image (ECMA-119, with Rock Ridge, IEEE P1282 in its form
// RRIP_1991A, and Joliet). Files are root's, 0400; all dates are when's.
func iso(label string, files []named, when time.Time) ([]byte, error) {
	when = when.UTC().Truncate(time.Second)
	if when.Year() < 1970 || when.Year() > 2155 { // a byte, from 1900 on
		return nil, errors.New("make a disc: the epoch is missing, or not in 1970 to 2155")
	}
	m := &image{label: label, when: when, root: &entry{folder: true}}
	m.root.parent = m.root
	total := 0
	for _, f := range files {
		if err := m.root.put(f.name, f.data); err != nil {
			return nil, fmt.Errorf("make a disc: %s: %w", f.name, err)
		}
		if total += len(f.data); total > maxISO {
			return nil, fmt.Errorf("make a disc: there are more than %d bytes", maxISO)
		}
	}
	m.order()
	m.place()
	return m.bytes(), nil
}

// put adds a file at a path.
func (e *entry) put(path string, data []byte) error {
	name, rest, more := strings.Cut(path, "/")
	if name == "" || len(name) > 30 || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune(`*:;?\`, r) }) {
		return errors.New("it does not fit a disc's names")
	}
	c := &entry{name: name, parent: e, folder: more, data: data}
	at := slices.IndexFunc(e.children, func(o *entry) bool { return o.name == name || primaryName(o) == primaryName(c) })
	switch {
	case at >= 0 && (!more || !e.children[at].folder || e.children[at].name != name):
		return errors.New("two files have one name")
	case at >= 0:
		return e.children[at].put(rest, data)
	}
	e.children = append(e.children, c)
	if more {
		return c.put(rest, data)
	}
	return nil
}

// primaryName is a name of ECMA-119 §7.5 at level 2: capitals, digits and _, at
// most one dot, and a file's version.
func primaryName(e *entry) string {
	plain := func(s string) string {
		return strings.Map(func(r rune) rune {
			if r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
				return r
			}
			return '_'
		}, strings.ToUpper(s))
	}
	if e.folder {
		return plain(e.name)
	}
	stem, ending := e.name, ""
	if dot := strings.LastIndexByte(e.name, '.'); dot > 0 {
		stem, ending = e.name[:dot], e.name[dot+1:]
	}
	return plain(stem) + "." + plain(ending) + ";1"
}

// identifier is a name as a tree's records have it. Of one character: 0 is the
// folder itself, 1 the one above.
func identifier(tree int, e *entry) []byte {
	if e.parent == e {
		return []byte{0}
	}
	if tree == primary {
		return []byte(primaryName(e))
	}
	var out []byte
	for _, u := range utf16.Encode([]rune(e.name)) {
		out = binary.BigEndian.AppendUint16(out, u)
	}
	return out
}

// order lists folders as path tables want them (ECMA-119 §6.9.1): by depth, then
// the folder above, then name. Names sort alike in both trees, as they differ
// in more than case and signs.
func (m *image) order() {
	m.folders = []*entry{m.root}
	for i := 0; i < len(m.folders); i++ {
		e := m.folders[i]
		e.number = uint16(i + 1)
		slices.SortFunc(e.children, func(a, b *entry) int { return cmp.Compare(primaryName(a), primaryName(b)) })
		for _, c := range e.children {
			if c.folder {
				m.folders = append(m.folders, c)
			} else {
				m.files = append(m.files, c)
			}
		}
	}
}

// place gives everything its sectors.
func (m *image) place() {
	next := uint32(firstSet + 3)
	take := func(size int) uint32 {
		at := next
		next += uint32((size + sector - 1) / sector)
		return at
	}
	for tree := range m.tables {
		size := len(m.pathTable(tree, binary.LittleEndian))
		m.tableAt[tree] = [2]uint32{take(size), take(size)}
	}
	for tree := range m.tables {
		for _, e := range m.folders {
			e.size[tree] = uint32(len(m.folder(tree, e)))
			e.at[tree] = take(int(e.size[tree]))
		}
	}
	for _, e := range m.files {
		e.size = [2]uint32{uint32(len(e.data)), uint32(len(e.data))}
		at := take(len(e.data))
		e.at = [2]uint32{at, at}
	}
	for tree := range m.tables {
		m.tables[tree] = [2][]byte{m.pathTable(tree, binary.LittleEndian), m.pathTable(tree, binary.BigEndian)}
	}
	m.sectors = next + padding
}

// bytes writes all.
func (m *image) bytes() []byte {
	out := make([]byte, int(m.sectors)*sector)
	put := func(at uint32, data []byte) { copy(out[int(at)*sector:], data) }
	put(firstSet, m.descriptor(primary))
	put(firstSet+1, m.descriptor(joliet))
	put(firstSet+2, append([]byte{255}, "CD001\x01"...)) // ECMA-119 §8.3
	for tree := range m.tables {
		for order, table := range m.tables[tree] {
			put(m.tableAt[tree][order], table)
		}
		for _, e := range m.folders {
			put(e.at[tree], m.folder(tree, e))
		}
	}
	for _, e := range m.files {
		put(e.at[primary], e.data)
	}
	return out
}
