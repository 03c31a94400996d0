package seed

import (
	"encoding/binary"
	"fmt"
	"time"
	"unicode/utf16"
)

// both writes a number in both byte orders, the little one first (ECMA-119
// §7.3.3 and §7.2.3).
func both[T uint16 | uint32](n T) []byte {
	if _, small := any(n).(uint16); small {
		return binary.BigEndian.AppendUint16(binary.LittleEndian.AppendUint16(nil, uint16(n)), uint16(n))
	}
	return binary.BigEndian.AppendUint32(binary.LittleEndian.AppendUint32(nil, uint32(n)), uint32(n))
}

// date is that of records (ECMA-119 §9.1.5), in UTC.
func date(t time.Time) []byte {
	return []byte{byte(t.Year() - 1900), byte(t.Month()), byte(t.Day()), byte(t.Hour()), byte(t.Minute()), byte(t.Second()), 0}
}

// longDate is that of descriptors (ECMA-119 §8.4.26.1), in UTC.
func longDate(t time.Time) []byte { return append([]byte(t.Format("20060102150405")+"00"), 0) }

// descriptor is a volume descriptor (ECMA-119 §8.4 and §8.5).
func (m *image) descriptor(tree int) []byte {
	d := make([]byte, sector)
	d[0] = byte(tree + 1)
	copy(d[1:], "CD001\x01")
	spaces := func(from, to int, text string) {
		for i := from; i < to; i++ {
			d[i] = ' '
		}
		copy(d[from:to], text)
		if tree == joliet {
			at := from
			for _, u := range utf16.Encode([]rune(fmt.Sprintf("%-*s", (to-from)/2, text))) {
				binary.BigEndian.PutUint16(d[at:], u)
				at += 2
			}
		}
	}
	spaces(8, 40, "LINUX")
	spaces(40, 72, m.label)
	copy(d[80:], both(m.sectors))
	if tree == joliet {
		copy(d[88:], "%/E") // UCS-2, level 3
	}
	copy(d[120:], both(uint16(1)))
	copy(d[124:], both(uint16(1)))
	copy(d[128:], both(uint16(sector)))
	copy(d[132:], both(uint32(len(m.tables[tree][0]))))
	binary.LittleEndian.PutUint32(d[140:], m.tableAt[tree][0])
	binary.BigEndian.PutUint32(d[148:], m.tableAt[tree][1])
	copy(d[156:], m.record(tree, m.root, []byte{0}, nil))
	for _, field := range [][2]int{{190, 318}, {318, 446}, {446, 574}, {574, 702}, {702, 739}, {739, 776}, {776, 813}} {
		spaces(field[0], field[1], "")
	}
	if tree == joliet { // three fields of odd length
		d[738], d[775], d[812] = 0, 0, 0
	}
	copy(d[813:], longDate(m.when)) // made
	copy(d[830:], longDate(m.when)) // changed
	none := append([]byte("0000000000000000"), 0)
	copy(d[847:], none)             // ends
	copy(d[864:], longDate(m.when)) // begins
	d[881] = 1
	return d
}

// pathTable lists the folders (ECMA-119 §9.4).
func (m *image) pathTable(tree int, order binary.AppendByteOrder) []byte {
	var out []byte
	for _, e := range m.folders {
		id := identifier(tree, e)
		out = append(out, byte(len(id)), 0)
		out = order.AppendUint32(out, e.at[tree])
		out = order.AppendUint16(out, e.parent.number)
		out = append(out, id...)
		if len(id)%2 == 1 {
			out = append(out, 0)
		}
	}
	return out
}

// folder is the content of a folder (ECMA-119 §6.8): records, none across the
// end of a sector.
func (m *image) folder(tree int, e *entry) []byte {
	var out []byte
	add := func(record []byte) {
		if len(out)%sector+len(record) > sector {
			out = append(out, make([]byte, sector-len(out)%sector)...)
		}
		out = append(out, record...)
	}
	first := m.rockRidge(tree, e, "")
	if tree == primary && e == m.root {
		// SP says that entries of SUSP follow (SUSP §5.3); ER says whose (§5.5).
		first = append([]byte{'S', 'P', 7, 1, 0xbe, 0xef, 0}, first...)
		const id = "RRIP_1991A"
		first = append(first, append([]byte{'E', 'R', byte(8 + len(id)), 1, byte(len(id)), 0, 0, 1}, id...)...)
	}
	add(m.record(tree, e, []byte{0}, first))
	add(m.record(tree, e.parent, []byte{1}, m.rockRidge(tree, e.parent, "")))
	for _, c := range e.children {
		add(m.record(tree, c, identifier(tree, c), m.rockRidge(tree, c, c.name)))
	}
	return append(out, make([]byte, (sector-len(out)%sector)%sector)...)
}

// record is a directory record (ECMA-119 §9.1) with what Rock Ridge adds.
func (m *image) record(tree int, e *entry, id, extra []byte) []byte {
	flags := byte(0)
	if e.folder {
		flags = 2
	}
	out := []byte{0, 0}
	out = append(out, both(e.at[tree])...)
	out = append(out, both(e.size[tree])...)
	out = append(out, date(m.when)...)
	out = append(out, flags, 0, 0)
	out = append(out, both(uint16(1))...)
	out = append(out, byte(len(id)))
	out = append(out, id...)
	if len(id)%2 == 0 {
		out = append(out, 0)
	}
	out = append(out, extra...)
	if len(out)%2 == 1 {
		out = append(out, 0)
	}
	out[0] = byte(len(out)) // 33, a name of at most 60 and Rock Ridge's 97 at most
	return out
}

// rockRidge are the entries of a record (RRIP §4.1): PX, mode and owner; TF,
// times; NM, the name, which the folders' own two records do not have.
func (m *image) rockRidge(tree int, e *entry, name string) []byte {
	if tree == joliet {
		return nil
	}
	mode, links := uint32(0o100400), uint32(1)
	if e.folder {
		mode, links = 0o040500, 2
		for _, c := range e.children {
			if c.folder {
				links++
			}
		}
	}
	out := []byte{'P', 'X', 36, 1}
	for _, n := range []uint32{mode, links, 0, 0} {
		out = append(out, both(n)...)
	}
	const modified, accessed, changed = 2, 4, 8
	out = append(out, 'T', 'F', 5+3*7, 1, modified|accessed|changed)
	for range 3 {
		out = append(out, date(m.when)...)
	}
	if name != "" {
		out = append(out, 'N', 'M', byte(5+len(name)), 1, 0)
		out = append(out, name...)
	}
	return out
}
