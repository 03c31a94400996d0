package boot

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/diskfs/go-diskfs/partition/gpt"
	"github.com/google/go-cmp/cmp"
)

// onDisk is the inverse of guidOnDisk, which is its own.
func onDisk(g GUID) []byte { h := guidOnDisk(g[:]); return h[:] }

// writeGPT writes primary and backup table of a disk of size bytes into image,
// which may be shorter than the disk by nothing but is not read.
func writeGPT(t *testing.T, image interface {
	WriteAt([]byte, int64) (int, error)
}, size int64, sector int, parts []Partition,
) {
	t.Helper()
	le := binary.LittleEndian
	entries := make([]byte, 128*gptEntrySize)
	for _, p := range parts {
		e := entries[(p.Number-1)*gptEntrySize:]
		copy(e, onDisk(p.Type))
		copy(e[16:], onDisk(p.UUID))
		le.PutUint64(e[32:], p.First)
		le.PutUint64(e[40:], p.Last)
		for i, u := range utf16.Encode([]rune(p.Label)) {
			le.PutUint16(e[56+2*i:], u)
		}
	}
	last := uint64(size)/uint64(sector) - 1
	table := uint64(len(entries)) / uint64(sector)
	put := func(b []byte, lba uint64) {
		if _, err := image.WriteAt(b, int64(lba)*int64(sector)); err != nil {
			t.Fatal(err)
		}
	}
	header := func(own, other, at uint64) {
		h := make([]byte, sector)
		copy(h, gptSignature)
		le.PutUint32(h[8:], 0x00010000)
		le.PutUint32(h[12:], gptHeaderSize)
		le.PutUint64(h[24:], own)
		le.PutUint64(h[32:], other)
		le.PutUint64(h[72:], at)
		le.PutUint32(h[80:], 128)
		le.PutUint32(h[84:], gptEntrySize)
		le.PutUint32(h[88:], crc32.ChecksumIEEE(entries))
		le.PutUint32(h[16:], crc32.ChecksumIEEE(h[:gptHeaderSize]))
		put(h, own)
		put(entries, at)
	}
	header(1, last, 2)
	header(last, 1, last-table)
}

// memory is an image in memory.
type memory []byte

func (m memory) WriteAt(b []byte, at int64) (int, error) { return copy(m[at:], b), nil }

var testParts = []Partition{
	{Number: 1, Type: GUID{1}, UUID: GUID{0xaa, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}, First: 40, Last: 50, Label: "ESP"},
	{Number: 3, Type: GUID{2}, UUID: GUID{0xbb}, First: 51, Last: 51, Label: "größer\x1b[2J"},
}

const testSize = 1 << 20

func testImage(t *testing.T, sector int) memory {
	m := make(memory, testSize)
	writeGPT(t, m, testSize, sector, testParts)
	return m
}

func TestReadGPT(t *testing.T) {
	want := []Partition{testParts[0], testParts[1]}
	want[1].Label = "größer?[2J" // nothing that moves a cursor
	for _, sector := range []int{512, 4096} {
		m := testImage(t, sector)
		got, err := ReadGPT(bytes.NewReader(m), testSize, sector)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(Table{SectorSize: sector, Partitions: want}, got); diff != "" {
			t.Errorf("%d-byte sectors (-want +got):\n%s", sector, diff)
		}
		m[sector+100] ^= 1 // behind the header: not covered by its checksum
		m[2*sector+5] ^= 1 // an entry: covered
		got, err = ReadGPT(bytes.NewReader(m), testSize, sector)
		if err != nil || !got.Backup || len(got.Partitions) != 2 {
			t.Errorf("with a broken primary: %+v, %v", got, err)
		}
		m[testSize-sector+57] ^= 1 // disk GUID of the backup's header
		if _, err = ReadGPT(bytes.NewReader(m), testSize, sector); err == nil || !strings.Contains(err.Error(), "backup") {
			t.Errorf("with both broken: %v", err)
		}
	}
}

func TestReadGPTRefuses(t *testing.T) {
	fix := func(h []byte) { // make the header's checksum right again
		binary.LittleEndian.PutUint32(h[16:], 0)
		binary.LittleEndian.PutUint32(h[16:], crc32.ChecksumIEEE(h[:gptHeaderSize]))
	}
	for name, c := range map[string]struct {
		change func(h []byte)
		want   string
	}{
		"many entries":   {func(h []byte) { binary.LittleEndian.PutUint32(h[80:], 1<<31) }, "more than"},
		"small entries":  {func(h []byte) { binary.LittleEndian.PutUint32(h[84:], 64) }, "entries of 64 bytes"},
		"no header size": {func(h []byte) { binary.LittleEndian.PutUint32(h[12:], 1<<30) }, "header of"},
		"far entries":    {func(h []byte) { binary.LittleEndian.PutUint64(h[72:], 1<<60) }, "entries in sector"},
		"elsewhere":      {func(h []byte) { binary.LittleEndian.PutUint64(h[24:], 7) }, "lies in sector 1"},
	} {
		t.Run(name, func(t *testing.T) {
			m := testImage(t, 512)
			clear(m[testSize-512:])
			c.change(m[512:])
			if c.want != "header of" {
				fix(m[512:1024])
			}
			if _, err := ReadGPT(bytes.NewReader(m), testSize, 512); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want an error with %q", err, c.want)
			}
		})
	}
	m := testImage(t, 512)
	binary.LittleEndian.PutUint64(m[1024+40:], testSize) // the last sector of a partition
	binary.LittleEndian.PutUint32(m[512+88:], crc32.ChecksumIEEE(m[1024:1024+128*128]))
	fix(m[512:1024])
	clear(m[testSize-512:])
	if _, err := ReadGPT(bytes.NewReader(m), testSize, 512); err == nil || !strings.Contains(err.Error(), "partition 1") {
		t.Errorf("a partition beyond the disk: %v", err)
	}
	for _, size := range []int64{-1, 0, 511, 512, 1024} {
		if _, err := ReadGPT(bytes.NewReader(nil), size, 512); !errors.Is(err, ErrNoTable) {
			t.Errorf("a disk of %d bytes: %v", size, err)
		}
	}
	if _, err := ReadGPT(bytes.NewReader(make([]byte, 4096)), 4096, 512); !errors.Is(err, ErrNoTable) {
		t.Errorf("an empty disk: %v", err)
	}
}

// TestGPTOracle reads what another library wrote.
func TestGPTOracle(t *testing.T) {
	for _, sector := range []int{512, 4096} {
		const size = 64 << 20
		path := filepath.Join(t.TempDir(), "disk")
		put(t, path, "")
		if err := os.Truncate(path, size); err != nil {
			t.Fatal(err)
		}
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		table := &gpt.Table{
			LogicalSectorSize: sector, PhysicalSectorSize: sector, ProtectiveMBR: true, GUID: "5CA3360B-57D8-4C5C-9D8E-0E1A1A6B7C01",
			Partitions: []*gpt.Partition{
				{Index: 1, Start: 2048, End: 4095, Type: gpt.EFISystemPartition, Name: "ESP", GUID: "00A478C4-C490-BD57-0CD5-F09819B828B5"},
				{Index: 2, Start: 4096, End: 5000, Type: gpt.LinuxFilesystem, Name: "root-a", GUID: "90EAB3F6-492E-508F-268B-3B6B7965B02D"},
			},
		}
		if err := table.Write(f, size); err != nil {
			t.Fatal(err)
		}
		got, err := ReadGPT(f, size, sector)
		if err != nil {
			t.Fatal(err)
		}
		if got.Disk.String() != "5ca3360b-57d8-4c5c-9d8e-0e1a1a6b7c01" || len(got.Partitions) != 2 {
			t.Fatalf("got %+v", got)
		}
		p, ok := got.ByUUID(mustHash(t).Tree())
		if !ok || p.Label != "root-a" || p.First != 4096 || got.Size(p) != 905*int64(sector) || p.Number != 2 {
			t.Errorf("got %+v, %v", p, ok)
		}
	}
}

func mustHash(t *testing.T) RootHash {
	t.Helper()
	h, err := parseRootHash(hashText)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func FuzzReadGPT(f *testing.F) {
	m := make(memory, 64<<10)
	le := binary.LittleEndian
	copy(m[512:], gptSignature)
	le.PutUint32(m[512+12:], gptHeaderSize)
	le.PutUint64(m[512+24:], 1)
	le.PutUint64(m[512+72:], 2)
	le.PutUint32(m[512+80:], 4)
	le.PutUint32(m[512+84:], gptEntrySize)
	f.Add([]byte(m[512:1024]), []byte(m[1024:1536]), uint16(512))
	// Checksums are made right, or no input would get past them.
	f.Fuzz(func(t *testing.T, header, entries []byte, sector uint16) {
		m := make(memory, 64<<10)
		s := int(sector)
		if s < 512 || s > 4096 {
			s = 512
		}
		copy(m[s:2*s], header)
		copy(m[2*s:], entries)
		length := int(le.Uint32(m[s+12:]))
		total := int(le.Uint32(m[s+80:])) * int(le.Uint32(m[s+84:]))
		if total >= 0 && 2*s+total <= len(m) {
			le.PutUint32(m[s+88:], crc32.ChecksumIEEE(m[2*s:2*s+total]))
		}
		le.PutUint32(m[s+16:], 0)
		if length >= gptHeaderSize && length <= s {
			le.PutUint32(m[s+16:], crc32.ChecksumIEEE(m[s:s+length]))
		}
		table, err := ReadGPT(bytes.NewReader(m), int64(len(m)), s)
		if err != nil {
			return
		}
		for _, p := range table.Partitions {
			if table.Size(p) <= 0 || int64(p.Last) >= int64(len(m)/s) {
				t.Errorf("partition %+v does not lie on the disk", p)
			}
		}
	})
}
