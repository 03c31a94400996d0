package cluster

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"strings"
	"unicode/utf16"
)

// The geometry of a seed disk: FAT16 of 4 MiB with clusters of one sector. The
// number of clusters decides the type (4085 to 65524 is FAT16; "Microsoft FAT
// Specification", 2005, section 3.5), so the size is fixed.
const (
	fatSector   = 512
	fatSectors  = 8192
	fatReserved = 1
	fatSize     = 32 // sectors of one FAT: 8192 entries of 2 bytes
	fatRoot     = 32 // sectors of the root directory: 512 entries of 32 bytes
	fatData     = fatReserved + 2*fatSize + fatRoot
	fatClusters = fatSectors - fatData
)

// A File is one file of a seed disk.
type File struct {
	Name string // a long name of plain ASCII, at most 26 bytes
	Data []byte
}

// FAT returns a FAT16 file system with the label and the files in its root
// directory. The same input gives the same bytes: times are 1980-01-01 and the
// volume number comes from the content.
func FAT(label string, files []File) ([]byte, error) {
	if len(label) > 11 {
		return nil, fmt.Errorf("make FAT %q: the label has more than 11 characters", label)
	}
	f := fat{img: make([]byte, fatSectors*fatSector), next: 2, aliases: map[string]int{}}
	f.setFAT(0, 0xfff8)
	f.setFAT(1, 0xffff)
	sum := sha256.New()
	name := fmt.Sprintf("%-11s", label)
	f.entry([]byte(name), 0x08, 0, 0) // ATTR_VOLUME_ID
	for _, file := range files {
		fmt.Fprintf(sum, "%s\x00%d\x00", file.Name, len(file.Data))
		sum.Write(file.Data)
		if err := f.add(file); err != nil {
			return nil, fmt.Errorf("make FAT %s: %w", label, err)
		}
	}
	f.boot(name, binary.LittleEndian.Uint32(sum.Sum(nil)))
	fat1 := f.img[fatReserved*fatSector:][:fatSize*fatSector]
	copy(f.img[(fatReserved+fatSize)*fatSector:], fat1)
	return f.img, nil
}

// fat is a file system in the making.
type fat struct {
	img     []byte
	next    int // first free cluster
	entries int // used in the root directory
	aliases map[string]int
}

// boot writes the boot sector with its BIOS parameter block.
func (f *fat) boot(label string, volume uint32) {
	le := binary.LittleEndian
	b := f.img
	copy(b, "\xeb\x3c\x90TRIVET  ")
	le.PutUint16(b[11:], fatSector)
	b[13] = 1 // sectors per cluster
	le.PutUint16(b[14:], fatReserved)
	b[16] = 2                                  // FATs
	le.PutUint16(b[17:], fatRoot*fatSector/32) // root entries
	le.PutUint16(b[19:], fatSectors)           // total sectors
	b[21] = 0xf8                               // a fixed disk
	le.PutUint16(b[22:], fatSize)              // sectors per FAT
	le.PutUint16(b[24:], 32)                   // sectors per track
	le.PutUint16(b[26:], 2)                    // heads
	b[36], b[38] = 0x80, 0x29                  // drive, extended signature
	le.PutUint32(b[39:], volume)               //
	copy(b[43:], label)                        //
	copy(b[54:], "FAT16   ")                   //
	le.PutUint16(b[fatSector-2:], 0xaa55)      //
}

func (f *fat) setFAT(cluster int, v uint16) {
	binary.LittleEndian.PutUint16(f.img[fatReserved*fatSector+2*cluster:], v)
}

// add stores one file: its long name, its entry and its clusters in a row.
func (f *fat) add(file File) error {
	alias, err := f.alias(file.Name)
	if err != nil {
		return err
	}
	n := (len(file.Data) + fatSector - 1) / fatSector
	if f.next+n > fatClusters+2 {
		return fmt.Errorf("file %s: %d bytes are more than the %d KiB that are left", file.Name, len(file.Data), (fatClusters+2-f.next)/2)
	}
	if f.entries+3 > fatRoot*fatSector/32 {
		return fmt.Errorf("file %s: the root directory is full", file.Name)
	}
	first := 0
	if n > 0 {
		first = f.next
	}
	for i := range n {
		next := uint16(0xffff)
		if i < n-1 {
			next = uint16(f.next + 1)
		}
		f.setFAT(f.next, next)
		f.next++
	}
	if n > 0 {
		copy(f.img[(fatData+first-2)*fatSector:], file.Data)
	}
	f.longName(file.Name, alias)
	f.entry(alias, 0x20, first, len(file.Data)) // ATTR_ARCHIVE
	return nil
}

// alias makes the unique 8.3 name that must stand behind a long one.
func (f *fat) alias(name string) ([]byte, error) {
	if name == "" || len(name) > 26 || strings.ContainsAny(name, `/\:*?"<>|`) {
		return nil, fmt.Errorf("file %q: not a name that fits", name)
	}
	var base []byte
	for i := range len(name) {
		c := name[i]
		switch {
		case c < ' ' || c > '~':
			return nil, fmt.Errorf("file %q: not a name of plain ASCII", name)
		case 'a' <= c && c <= 'z':
			base = append(base, c-'a'+'A')
		case 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_':
			base = append(base, c)
		}
	}
	base = base[:min(len(base), 6)]
	f.aliases[string(base)]++
	n := f.aliases[string(base)]
	if n > 9 {
		return nil, fmt.Errorf("file %q: more than nine names begin like it", name)
	}
	return fmt.Appendf(nil, "%-8s   ", fmt.Sprintf("%s~%d", base, n)), nil
}

// longName writes the VFAT entries of a name, last part first ("FAT
// Specification", section 7).
func (f *fat) longName(name string, alias []byte) {
	var sum byte
	for _, c := range alias {
		sum = sum>>1 | sum<<7
		sum += c
	}
	units := utf16.Encode([]rune(name))
	parts := (len(units) + 12) / 13
	for p := parts; p >= 1; p-- {
		e := f.slot()
		e[0], e[11], e[13] = byte(p), 0x0f, sum
		if p == parts {
			e[0] |= 0x40
		}
		for i := range 13 {
			at := [...]int{1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30}[i]
			u, k := uint16(0xffff), (p-1)*13+i
			if k < len(units) {
				u = units[k]
			} else if k == len(units) {
				u = 0
			}
			binary.LittleEndian.PutUint16(e[at:], u)
		}
	}
}

// entry writes a short directory entry.
func (f *fat) entry(name []byte, attr byte, cluster, size int) {
	const date1980 = 0x0021
	e := f.slot()
	copy(e, bytes.ToUpper(name))
	e[11] = attr
	for _, at := range []int{16, 18, 24} { // created, accessed, written
		binary.LittleEndian.PutUint16(e[at:], date1980)
	}
	binary.LittleEndian.PutUint16(e[26:], uint16(cluster))
	binary.LittleEndian.PutUint32(e[28:], uint32(size))
}

func (f *fat) slot() []byte {
	at := (fatReserved+2*fatSize)*fatSector + 32*f.entries
	f.entries++
	return f.img[at:][:32]
}
