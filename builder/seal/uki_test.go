package seal

import (
	"bytes"
	"debug/pe"
	"encoding/binary"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// tinyPE is a 64-bit EFI program with one section and room for more headers.
func tinyPE(t testing.TB, dllFlags uint16) []byte {
	t.Helper()
	var b bytes.Buffer
	b.WriteString("MZ")
	b.Write(make([]byte, peOffsetAt-2))
	put(&b, uint32(0x40))
	b.WriteString("PE\x00\x00")
	opt := pe.OptionalHeader64{
		Magic: 0x20b, SectionAlignment: 4096, FileAlignment: 512, SizeOfHeaders: 1024, SizeOfImage: 8192,
		Subsystem: 10, DllCharacteristics: dllFlags, NumberOfRvaAndSizes: 16,
	}
	head := pe.FileHeader{Machine: pe.IMAGE_FILE_MACHINE_AMD64, NumberOfSections: 1, SizeOfOptionalHeader: uint16(binary.Size(opt))}
	sec := pe.SectionHeader32{VirtualSize: 5, VirtualAddress: 4096, SizeOfRawData: 512, PointerToRawData: 1024, Characteristics: 0x60000020}
	copy(sec.Name[:], ".text")
	for _, part := range []any{head, opt, sec} {
		if err := binary.Write(&b, binary.LittleEndian, part); err != nil {
			t.Fatal(err)
		}
	}
	b.Write(make([]byte, 1024-b.Len()))
	b.WriteString("hello")
	b.Write(make([]byte, 512-5))
	return b.Bytes()
}

func ukiInputs(t *testing.T, dir string) UKIInputs {
	t.Helper()
	write(t, dir+"/stub", string(tinyPE(t, 0x160)))
	write(t, dir+"/vmlinuz", string(tinyPE(t, 0)))
	write(t, dir+"/initrd", noise(5, 70_000))
	return UKIInputs{
		Stub: dir + "/stub", Kernel: dir + "/vmlinuz", Initrd: dir + "/initrd",
		Cmdline: "roothash=" + strings.Repeat("ab", 32) + " ro", OSRelease: "ID=trivet\nPRETTY_NAME=\"Trivet\"\n", Uname: "6.12.1-amd64",
	}
}

func TestUKIReadsBack(t *testing.T) {
	dir := t.TempDir()
	in := ukiInputs(t, dir)
	out := dir + "/out.efi"
	for range 2 {
		if err := UKI(in, out); err != nil {
			t.Fatal(err)
		}
	}
	got, err := ReadUKI(out)
	if err != nil {
		t.Fatal(err)
	}
	want := UKIInfo{
		Sections: map[string]int64{
			".text": 5, ".osrel": int64(len(in.OSRelease)), ".cmdline": int64(len(in.Cmdline)), ".uname": int64(len(in.Uname)),
			".linux": 1536, ".initrd": 70_000,
		},
		Cmdline: in.Cmdline, OSRelease: in.OSRelease, Uname: in.Uname, RootHash: strings.Repeat("ab", 32),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("what was read differs (-want +got):\n%s", diff)
	}
	f, err := pe.Open(out)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	initrd, err := f.Section(".initrd").Data()
	if err != nil || string(initrd[:70_000]) != noise(5, 70_000) {
		t.Errorf("the initrd in the image is not the one that went in (%v)", err)
	}
	if f.OptionalHeader.(*pe.OptionalHeader64).DllCharacteristics&peNXCompat != 0 {
		t.Error("the image promises NX, its kernel does not")
	}
	noLeftovers(t, dir, "stub", "vmlinuz", "initrd", "out.efi")
}

func TestUKIRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(dir string, in *UKIInputs)
		want  string
	}{
		"no room":       {func(dir string, _ *UKIInputs) { patch(t, dir+"/stub", 0x40+peOptionalAt+60, 512) }, "no room"},
		"signed stub":   {func(dir string, _ *UKIInputs) { patch(t, dir+"/stub", 0x40+peOptionalAt+112+8*peSecurity, 512) }, "signed"},
		"empty initrd":  {func(dir string, _ *UKIInputs) { write(t, dir+"/initrd", "") }, ".initrd"},
		"kernel no PE":  {func(dir string, _ *UKIInputs) { write(t, dir+"/vmlinuz", "gzip") }, "vmlinuz"},
		"stub no PE":    {func(dir string, _ *UKIInputs) { write(t, dir+"/stub", "text") }, "stub"},
		"stub missing":  {func(_ string, in *UKIInputs) { in.Stub += "x" }, "stubx"},
		"empty release": {func(_ string, in *UKIInputs) { in.OSRelease = "" }, ".osrel"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			in := ukiInputs(t, dir)
			c.spoil(dir, &in)
			err := UKI(in, dir+"/out.efi")
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want one with %q", err, c.want)
			}
			noLeftovers(t, dir, "stub", "vmlinuz", "initrd")
		})
	}
}

func patch(t *testing.T, path string, at int, v uint32) {
	t.Helper()
	raw := read(t, path)
	binary.LittleEndian.PutUint32(raw[at:], v)
	write(t, path, string(raw))
}

// TestUKIAgreesWithUkify builds with the real stub and kernel of a tools root
// and lets systemd's own program read the result.
func TestUKIAgreesWithUkify(t *testing.T) {
	root := toolsRoot()
	if root == "" {
		t.Skip("skipped: TRIVET_TEST_TOOLS names no Debian root with systemd-ukify, systemd-boot-efi and a kernel")
	}
	needTool(t, "ukify")
	kernels, _ := filepath.Glob(root + "/boot/vmlinuz-*")
	stub := root + "/usr/lib/systemd/boot/efi/linuxx64.efi.stub"
	if _, err := os.Stat(stub); err != nil || len(kernels) == 0 {
		t.Skipf("skipped: the tools root has no stub or no kernel (%v)", err)
	}
	dir := t.TempDir()
	in := ukiInputs(t, dir)
	in.Stub, in.Kernel = stub, kernels[0]
	if err := UKI(in, dir+"/out.efi"); err != nil {
		t.Fatal(err)
	}
	type section struct {
		Size         int64
		SHA256, Text string
	}
	inspect := func(name string) map[string]section {
		var out map[string]section
		text := output(t, dir, "ukify", "--json=short", "inspect", inDir+"/"+name)
		if err := json.Unmarshal([]byte(text), &out); err != nil {
			t.Fatalf("%v in %s", err, text)
		}
		return out
	}
	write(t, dir+"/vmlinuz", string(read(t, kernels[0])))
	write(t, dir+"/osrel", in.OSRelease)
	output(t, dir, "ukify", "--stub="+strings.TrimPrefix(stub, root), "--linux="+inDir+"/vmlinuz", "--initrd="+inDir+"/initrd",
		"--cmdline="+in.Cmdline, "--os-release=@"+inDir+"/osrel", "--uname="+in.Uname, "--output="+inDir+"/theirs.efi", "build")
	ours, theirs := inspect("out.efi"), inspect("theirs.efi")
	delete(ours, ".sbat") // ukify adds a line of its own
	delete(theirs, ".sbat")
	if diff := cmp.Diff(theirs, ours); diff != "" {
		t.Errorf("ukify inspect differs (-ukify's image +ours):\n%s", diff)
	}
	if len(ours) < 5 {
		t.Errorf("only %d sections: %v", len(ours), ours)
	}
	if a, b := len(read(t, dir+"/out.efi")), len(read(t, dir+"/theirs.efi")); a != b {
		t.Logf("our image has %d bytes, ukify's %d", a, b)
	}
}

// FuzzParseUKI reads any bytes as a unified kernel image.
func FuzzParseUKI(f *testing.F) {
	f.Add(tinyPE(f, 0))
	f.Add([]byte("MZ"))
	f.Fuzz(func(_ *testing.T, raw []byte) {
		_, _ = ParseUKI(bytes.NewReader(raw), int64(len(raw)))
	})
}
