package disk

import (
	"encoding/binary"
	"fmt"
	"io"
	"io/fs"
	"sort"

	"github.com/diskfs/go-diskfs/partition/gpt"
)

// gptMaxEntries bounds the partition table that is read; 128 is usual, and
// nothing in use makes more than 1024.
const gptMaxEntries = 1024

// readGPT reads the partition table, of which the sector size is found by where
// the header is (UEFI Specification 2.10, 5.3: in the second sector).
func readGPT(r io.ReaderAt, size int64) (Info, error) {
	for _, sector := range []int{512, 4096} {
		head := make([]byte, 92)
		if _, err := r.ReadAt(head, int64(sector)); err != nil || string(head[:8]) != "EFI PART" {
			continue
		}
		if err := checkHeader(head, sector, size); err != nil {
			return Info{}, err
		}
		table, err := gpt.Read(readerFile{io.NewSectionReader(r, 0, size)}, sector, sector)
		if err != nil {
			return Info{}, fmt.Errorf("read the partition table (sgdisk --verify says whether the backup is good): %w", err)
		}
		return tableInfo(table, sector, size)
	}
	return Info{}, fmt.Errorf("no GUID partition table was found (looked for sectors of 512 and 4096 bytes)")
}

// checkHeader bounds the numbers that go-diskfs takes as they are.
func checkHeader(head []byte, sector int, size int64) error {
	le := binary.LittleEndian
	entries, count, each := le.Uint64(head[72:]), le.Uint32(head[80:]), le.Uint32(head[84:])
	if count > gptMaxEntries || each != 128 || entries > uint64(size)/uint64(sector) {
		return fmt.Errorf("read the partition table: %d entries of %d bytes at sector %d, at most %d of 128 are read", count, each, entries, gptMaxEntries)
	}
	return nil
}

func tableInfo(table *gpt.Table, sector int, size int64) (Info, error) {
	info := Info{Size: size, SectorSize: sector, GUID: table.GUID}
	for _, p := range table.Partitions {
		start, end := int64(p.Start), int64(p.End)
		if start <= 0 || end < start || end >= size/int64(sector) {
			return Info{}, fmt.Errorf("read the partition table: partition %d goes from sector %d to %d of %d", p.Index, p.Start, p.End, size/int64(sector))
		}
		info.Partitions = append(info.Partitions, Partition{
			Number: p.Index, Type: typeName(string(p.Type)), TypeGUID: string(p.Type), UUID: p.GUID, Label: p.Name,
			Offset: start * int64(sector), Size: (end - start + 1) * int64(sector), Flags: p.Attributes,
		})
	}
	sort.Slice(info.Partitions, func(i, j int) bool { return info.Partitions[i].Number < info.Partitions[j].Number })
	return info, nil
}

// typeName is systemd's name of a partition type that an image has.
func typeName(guid string) string {
	switch guid {
	case typeESP:
		return "esp"
	case typeVar:
		return "var"
	}
	for _, name := range []string{"amd64", "arm64"} {
		a, _ := archOf(name)
		switch guid {
		case a.root:
			return "root-" + a.name
		case a.verity:
			return "root-" + a.name + "-verity"
		}
	}
	return ""
}

// readerFile makes bytes the file that go-diskfs reads. It does not tell its
// end, where go-diskfs would take a backup table whose numbers nobody checked.
type readerFile struct{ io.ReaderAt }

func (readerFile) Stat() (fs.FileInfo, error)     { return nil, fs.ErrInvalid }
func (readerFile) Read([]byte) (int, error)       { return 0, fs.ErrInvalid }
func (readerFile) Seek(int64, int) (int64, error) { return 0, fs.ErrInvalid }
func (readerFile) Close() error                   { return nil }
