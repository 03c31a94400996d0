package disk

import (
	"bytes"
	"debug/pe"
	"encoding/binary"
	"os"
	"strings"
	"testing"
)

// tinyUKI is a 64-bit EFI program with a .cmdline section, of size bytes.
func tinyUKI(cmdline string, size int) []byte {
	var b bytes.Buffer
	b.WriteString("MZ")
	b.Write(make([]byte, 0x3a))
	b.Write([]byte{0x40, 0, 0, 0, 'P', 'E', 0, 0})
	opt := pe.OptionalHeader64{Magic: 0x20b, NumberOfRvaAndSizes: 16}
	sec := pe.SectionHeader32{VirtualSize: uint32(len(cmdline)), SizeOfRawData: uint32(len(cmdline)), PointerToRawData: 1024}
	copy(sec.Name[:], ".cmdline")
	for _, part := range []any{pe.FileHeader{Machine: pe.IMAGE_FILE_MACHINE_AMD64, NumberOfSections: 1, SizeOfOptionalHeader: uint16(binary.Size(opt))}, opt, sec} {
		_ = binary.Write(&b, binary.LittleEndian, part) // to memory, of fixed-size types
	}
	b.Write(make([]byte, 1024-b.Len()))
	b.WriteString(cmdline)
	b.Write(make([]byte, max(0, size-b.Len())))
	return b.Bytes()
}

func TestInspectRefuses(t *testing.T) {
	dir, _ := assembled(t, 512)
	raw := cut(t, dir+"/disk.raw", 0, 54*mib+2*mib)
	for name, c := range map[string]struct {
		at   int
		text string
		want string
	}{
		"no table":          {512, "NOTAGPT!", "no GUID partition table"},
		"header changed":    {512 + 40, "\xff", "sgdisk --verify"},
		"entries changed":   {1024 + 56, "X", "sgdisk --verify"},
		"number of entries": {512 + 80, "\xff\xff\xff\x7f", "2147483647 entries"},
		"FAT gone":          {mib + 510, "\x00\x00", "FAT32"},
	} {
		t.Run(name, func(t *testing.T) {
			bad := bytes.Clone(raw)
			copy(bad[c.at:], c.text)
			if _, err := inspect(bytes.NewReader(bad), int64(len(bad))); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want one with %q", err, c.want)
			}
		})
	}
	if _, err := inspect(bytes.NewReader(raw[:20*mib]), 20*mib); err == nil {
		t.Error("an image that was cut off passed")
	}
	if _, err := Inspect(dir + "/none"); err == nil || !strings.Contains(err.Error(), "none") {
		t.Errorf("a missing file: %v", err)
	}
}

// FuzzGPT reads any bytes as a partition table.
func FuzzGPT(f *testing.F) {
	path := f.TempDir() + "/disk"
	if err := os.WriteFile(path+".part", []byte("x"), 0o600); err != nil {
		f.Fatal(err)
	}
	parts := []part{{kind: typeVar, uuid: "00112233-4455-6677-8899-AABBCCDDEEFF", label: "var", size: mib, file: path + ".part"}}
	made := make(chan struct{})
	close(made)
	if err := writeDisk(f.Context(), path, 512, "00112233-4455-6677-8899-AABBCCDDEEFE", parts, made); err != nil {
		f.Fatal(err)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw[:64<<10])
	f.Fuzz(func(t *testing.T, head []byte) {
		r := bytes.NewReader(append(bytes.Clone(head), make([]byte, 4096)...))
		info, err := readGPT(r, r.Size())
		for _, p := range info.Partitions {
			if err == nil && (p.Offset < 0 || p.Size <= 0 || p.Offset+p.Size > r.Size()) {
				t.Errorf("a partition outside of the disk: %+v", p)
			}
		}
	})
}

// tinyFAT is a FAT32 file system by hand: one sector a cluster, /EFI/Linux/A.EFI.
func tinyFAT(uki []byte) []byte {
	raw := make([]byte, 64<<10)
	le := binary.LittleEndian
	le.PutUint16(raw[11:], 512) // bytes a sector
	raw[13], raw[16] = 1, 1     // sectors a cluster, tables
	le.PutUint16(raw[14:], 1)   // reserved sectors
	le.PutUint32(raw[32:], 128) // sectors
	le.PutUint32(raw[36:], 1)   // sectors a table
	le.PutUint32(raw[44:], 2)   // root directory
	le.PutUint16(raw[510:], 0xaa55)
	fat, data := raw[512:], raw[1024:]
	entry := func(cluster int, name string, attr byte, first uint16, size int) {
		e := data[(cluster-2)*512:]
		copy(e, name)
		e[11] = attr
		le.PutUint16(e[26:], first)
		le.PutUint32(e[28:], uint32(size))
	}
	entry(2, "EFI        ", fatAttrDir, 3, 0)
	entry(3, "LINUX      ", fatAttrDir, 4, 0)
	entry(4, "A       EFI", 0, 5, len(uki))
	for c := 2; c < 5; c++ {
		le.PutUint32(fat[4*c:], fatEnd)
	}
	copy(data[3*512:], uki)
	last := 5 + (len(uki)-1)/512
	for c := 5; c < last; c++ {
		le.PutUint32(fat[4*c:], uint32(c+1))
	}
	le.PutUint32(fat[4*last:], fatEnd)
	return raw
}

func TestFATLoopEnds(t *testing.T) {
	raw := tinyFAT(tinyUKI("x", 2048))
	var info Info
	if err := info.readESP(bytes.NewReader(raw)); err != nil || info.Cmdline != "x" || info.UKI != "EFI/Linux/A.EFI" {
		t.Fatalf("%+v, %v", info, err)
	}
	binary.LittleEndian.PutUint32(raw[512+4*6:], 5) // the file's second cluster leads back to the first
	if err := info.readESP(bytes.NewReader(raw)); err == nil || !strings.Contains(err.Error(), "loop") {
		t.Errorf("error %v, want one that tells of a loop", err)
	}
}

// FuzzESP reads any bytes as an EFI system partition.
func FuzzESP(f *testing.F) {
	f.Add(tinyFAT(tinyUKI("roothash="+testHash, 2048)))
	f.Fuzz(func(_ *testing.T, raw []byte) {
		var info Info
		_ = info.readESP(bytes.NewReader(raw))
	})
}
