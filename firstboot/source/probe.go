package source

import (
	"bytes"
	"encoding/binary"
	"io"
	"strings"
)

// A Label is what a file system calls itself.
type Label struct {
	Type string // iso9660 or vfat, as mount(8) names them
	Name string // the label; of a FAT, the one in its root folder if there is one
	Boot string // of a FAT, the label in its boot sector
}

// Probe reads the label of an ISO 9660 or FAT file system, and answers false
// for anything else. It reads what stands at fixed places, at most 33 MiB in.
func Probe(r io.ReaderAt) (Label, bool) {
	if name, ok := probeISO(r); ok {
		return Label{Type: "iso9660", Name: name, Boot: name}, true
	}
	return probeFAT(r)
}

// probeISO reads the primary volume descriptor: sector 16 of 2048 bytes, type
// 1, "CD001", the volume identifier at byte 40 (ECMA-119 §8.4).
func probeISO(r io.ReaderAt) (string, bool) {
	sector := make([]byte, 72)
	if _, err := r.ReadAt(sector, 16*2048); err != nil || sector[0] != 1 || string(sector[1:6]) != "CD001" {
		return "", false
	}
	return trimLabel(sector[40:72]), true
}

// fatGeometry says where a FAT's root folder lies, in bytes.
type fatGeometry struct {
	rootAt   int64
	rootSize int64
}

// probeFAT reads the boot sector and the root folder ("Microsoft Extensible
// Firmware Initiative FAT32 File System Specification", §§3 and 6).
func probeFAT(r io.ReaderAt) (Label, bool) {
	boot := make([]byte, 512)
	if _, err := r.ReadAt(boot, 0); err != nil || boot[510] != 0x55 || boot[511] != 0xaa {
		return Label{}, false
	}
	l := Label{Type: "vfat"}
	switch {
	case string(boot[82:87]) == "FAT32":
		l.Boot = trimLabel(boot[71:82])
	case string(boot[54:59]) == "FAT12" || string(boot[54:59]) == "FAT16":
		l.Boot = trimLabel(boot[43:54])
	default:
		return Label{}, false
	}
	l.Name = l.Boot
	if g, ok := fatRoot(boot); ok {
		if name, ok := volumeEntry(r, g); ok {
			l.Name = name
		}
	}
	return l, true
}

func fatRoot(boot []byte) (fatGeometry, bool) {
	u16 := func(at int) int64 { return int64(binary.LittleEndian.Uint16(boot[at:])) }
	u32 := func(at int) int64 { return int64(binary.LittleEndian.Uint32(boot[at:])) }
	sector, cluster := u16(11), int64(boot[13])
	if sector < 512 || sector > 4096 || sector&(sector-1) != 0 || cluster == 0 {
		return fatGeometry{}, false
	}
	reserved, fats, entries := u16(14), int64(boot[16]), u16(17)
	size := u16(22)
	if size == 0 {
		size = u32(36)
	}
	data := (reserved + fats*size) * sector
	if entries > 0 { // FAT12 and FAT16 keep the root folder before the clusters
		return fatGeometry{data, entries * 32}, true
	}
	root := u32(44)
	if root < 2 {
		return fatGeometry{}, false
	}
	return fatGeometry{data + (root-2)*cluster*sector, cluster * sector}, true
}

// volumeEntry finds the entry whose only attribute is "volume label". Labels
// are written first; of a FAT32 the first cluster is searched.
func volumeEntry(r io.ReaderAt, g fatGeometry) (string, bool) {
	const most = 64 << 10
	dir := make([]byte, min(g.rootSize, most))
	n, err := r.ReadAt(dir, g.rootAt)
	if err != nil && n < 32 {
		return "", false
	}
	for ; n >= 32; n, dir = n-32, dir[32:] {
		const attributes, volume, unused, gone = 11, 0x08, 0x00, 0xe5
		switch {
		case dir[0] == unused:
			return "", false
		case dir[0] != gone && dir[attributes] == volume:
			return trimLabel(dir[:11]), true
		}
	}
	return "", false
}

// trimLabel cuts the padding. "NO NAME" is FAT's word for no label.
func trimLabel(b []byte) string {
	s := strings.TrimRight(string(bytes.TrimRight(b, "\x00")), " ")
	if s == "NO NAME" {
		return ""
	}
	return strings.ToValidUTF8(s, "?")
}
