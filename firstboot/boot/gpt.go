package boot

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strings"
	"unicode/utf16"
)

// Bounds of a partition table (UEFI 2.10 §5.3). A table has 128 entries of 128
// bytes as a rule; Linux reads no more than 256 partitions of a disk.
const (
	gptSignature    = "EFI PART"
	gptHeaderSize   = 92
	gptEntrySize    = 128
	maxGPTEntrySize = 4096
	maxGPTTable     = 1 << 20
)

// ErrNoTable says that a disk has no GPT at all, not even a broken one.
var ErrNoTable = errors.New("no GUID partition table")

// A Table is the partition table of a disk.
type Table struct {
	Disk       GUID
	SectorSize int  // bytes
	Backup     bool // it was read from the end of the disk, since the one at the start is broken
	Partitions []Partition
}

// A Partition is a used entry of a Table.
type Partition struct {
	Number      int // from 1
	Type, UUID  GUID
	First, Last uint64 // sectors, both inclusive
	Label       string
}

// Size is the partition's length in bytes.
func (t Table) Size(p Partition) int64 { return int64(p.Last-p.First+1) * int64(t.SectorSize) }

// ByUUID returns the partition with a UUID.
func (t Table) ByUUID(id GUID) (Partition, bool) {
	for _, p := range t.Partitions {
		if p.UUID == id {
			return p, true
		}
	}
	return Partition{}, false
}

// ReadGPT reads the partition table of a disk of size bytes with sectors of sector
// bytes: the primary, or, if that is broken, the backup in the last sector. Without
// any it returns ErrNoTable.
func ReadGPT(r io.ReaderAt, size int64, sector int) (Table, error) {
	if sector < 512 || sector > 64<<10 || sector&(sector-1) != 0 {
		return Table{}, fmt.Errorf("read the partition table: sectors of %d bytes", sector)
	}
	sectors := uint64(size) / uint64(sector)
	if size < 0 || sectors < 3 {
		return Table{}, ErrNoTable
	}
	t, err := readTable(r, sectors, sector, 1)
	if err == nil {
		return t, nil
	}
	t, backupErr := readTable(r, sectors, sector, sectors-1)
	if backupErr == nil {
		t.Backup = true
		return t, nil
	}
	if errors.Is(err, ErrNoTable) && errors.Is(backupErr, ErrNoTable) {
		return Table{}, ErrNoTable
	}
	return Table{}, fmt.Errorf("read the partition table: %w; its backup: %w", err, backupErr)
}

// readTable reads the table whose header lies in sector lba.
func readTable(r io.ReaderAt, sectors uint64, sector int, lba uint64) (Table, error) {
	header := make([]byte, sector)
	if err := readFull(r, header, int64(lba)*int64(sector)); err != nil {
		return Table{}, err
	}
	if string(header[:8]) != gptSignature {
		return Table{}, ErrNoTable
	}
	le := binary.LittleEndian
	length := le.Uint32(header[12:])
	if length < gptHeaderSize || int(length) > sector {
		return Table{}, fmt.Errorf("header of %d bytes", length)
	}
	sum := le.Uint32(header[16:])
	le.PutUint32(header[16:], 0)
	if got := crc32.ChecksumIEEE(header[:length]); got != sum {
		return Table{}, fmt.Errorf("header has checksum %08x, want %08x", got, sum)
	}
	if own := le.Uint64(header[24:]); own != lba {
		return Table{}, fmt.Errorf("header of sector %d lies in sector %d", own, lba)
	}
	t := Table{Disk: guidOnDisk(header[56:72]), SectorSize: sector}
	entries, err := readEntries(r, header, sectors, sector)
	if err != nil {
		return Table{}, err
	}
	size := int(le.Uint32(header[84:]))
	for i := 0; (i+1)*size <= len(entries); i++ {
		p, used, err := parseEntry(entries[i*size:(i+1)*size], sectors)
		if err != nil {
			return Table{}, fmt.Errorf("partition %d: %w", i+1, err)
		}
		if used {
			p.Number = i + 1
			t.Partitions = append(t.Partitions, p)
		}
	}
	return t, nil
}

// readEntries reads and checks the array of entries that a header points to.
func readEntries(r io.ReaderAt, header []byte, sectors uint64, sector int) ([]byte, error) {
	le := binary.LittleEndian
	start, count, size := le.Uint64(header[72:]), le.Uint32(header[80:]), le.Uint32(header[84:])
	if size < gptEntrySize || size > maxGPTEntrySize || size%8 != 0 {
		return nil, fmt.Errorf("entries of %d bytes", size)
	}
	total := int64(count) * int64(size)
	if total > maxGPTTable {
		return nil, fmt.Errorf("%d entries of %d bytes, more than %d bytes in all", count, size, maxGPTTable)
	}
	if start < 2 || start >= sectors {
		return nil, fmt.Errorf("entries in sector %d of %d", start, sectors)
	}
	entries := make([]byte, total)
	if err := readFull(r, entries, int64(start)*int64(sector)); err != nil {
		return nil, err
	}
	if got, want := crc32.ChecksumIEEE(entries), le.Uint32(header[88:]); got != want {
		return nil, fmt.Errorf("entries have checksum %08x, want %08x", got, want)
	}
	return entries, nil
}

// parseEntry reads one entry; one with a type of zeros is not used.
func parseEntry(b []byte, sectors uint64) (p Partition, used bool, err error) {
	le := binary.LittleEndian
	p = Partition{Type: guidOnDisk(b[0:16]), UUID: guidOnDisk(b[16:32]), First: le.Uint64(b[32:]), Last: le.Uint64(b[40:])}
	if p.Type == (GUID{}) {
		return Partition{}, false, nil
	}
	if p.First > p.Last || p.Last >= sectors {
		return Partition{}, false, fmt.Errorf("sectors %d to %d of a disk with %d", p.First, p.Last, sectors)
	}
	p.Label = entryLabel(b[56:gptEntrySize])
	return p, true, nil
}

// entryLabel reads 36 UTF-16 units, ended by a zero. What would not print is
// replaced, since labels end up on a console.
func entryLabel(b []byte) string {
	units := make([]uint16, 0, len(b)/2)
	for i := 0; i+1 < len(b); i += 2 {
		u := binary.LittleEndian.Uint16(b[i:])
		if u == 0 {
			break
		}
		units = append(units, u)
	}
	return strings.Map(func(c rune) rune {
		if c < ' ' || c == 0x7f || c >= 0x80 && c < 0xa0 {
			return '?'
		}
		return c
	}, string(utf16.Decode(units)))
}

func readFull(r io.ReaderAt, b []byte, at int64) error {
	n, err := r.ReadAt(b, at)
	if n == len(b) {
		return nil
	}
	if err == nil || err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("read %d bytes at %d: %w", len(b), at, err)
}

// hasTable reports whether something that begins like a GPT lies in the second
// sector, if sectors had this many bytes.
func hasTable(r io.ReaderAt, sector int) bool {
	b := make([]byte, len(gptSignature))
	return readFull(r, b, int64(sector)) == nil && bytes.Equal(b, []byte(gptSignature))
}
