package seal

import (
	"bytes"
	"debug/pe"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// UKIInputs are the parts of a unified kernel image.
type UKIInputs struct {
	Stub      string // path of systemd's linuxx64.efi.stub or linuxaa64.efi.stub
	Kernel    string // path of the kernel, an EFI program
	Initrd    string // path of the initrd
	Cmdline   string // kernel command line
	OSRelease string // text of os-release(5); systemd-boot lists no UKI without it
	Uname     string // the kernel's release, as `uname -r` says it
}

// PE/COFF header fields that debug/pe reads but cannot write (Microsoft, PE
// Format): offsets from the PE signature.
const (
	peOffsetAt       = 0x3c // in the file: where the PE signature is
	peCountAt        = 6    // number of sections, 16 bits
	peOptionalSizeAt = 20   // size of the optional header, 16 bits
	peOptionalAt     = 24
	peInitSizeAt     = peOptionalAt + 8  // SizeOfInitializedData
	peImageSizeAt    = peOptionalAt + 56 // SizeOfImage
	peChecksumAt     = peOptionalAt + 64
	peDLLFlagsAt     = peOptionalAt + 70

	peNXCompat   = 0x0100
	peReadable   = 0x40000000
	peData       = 0x00000040
	peCode       = 0x00000020
	peSecurity   = 4 // data directory of the signature
	ukiMaxStub   = 4 << 20
	ukiMaxHeader = 1 << 20
)

// UKI writes the unified kernel image (UAPI Group, Unified Kernel Image
// specification) of in to out: the stub with sections appended, in the layout
// of systemd's ukify(1). Unsigned; the kernel's own .sbat is not merged in.
func UKI(in UKIInputs, out string) error {
	if err := replace(out, func(tmp string) error { return writeUKI(in, tmp) }); err != nil {
		return fmt.Errorf("make the unified kernel image %s: %w", filepath.Base(out), err)
	}
	return nil
}

// ukiSection is a section to append.
type ukiSection struct {
	name   string
	open   func() (io.ReadCloser, int64, error)
	flags  uint32
	size   int64
	offset int64
}

func text(s string) func() (io.ReadCloser, int64, error) {
	return func() (io.ReadCloser, int64, error) { return io.NopCloser(strings.NewReader(s)), int64(len(s)), nil }
}

func file(path string) func() (io.ReadCloser, int64, error) {
	return func() (io.ReadCloser, int64, error) {
		f, err := os.Open(path)
		if err != nil {
			return nil, 0, err
		}
		info, err := f.Stat()
		if err != nil {
			f.Close()
			return nil, 0, err
		}
		return f, info.Size(), nil
	}
}

func writeUKI(in UKIInputs, tmp string) error {
	stub, err := readStub(in.Stub)
	if err != nil {
		return err
	}
	nx, err := kernelNX(in.Kernel)
	if err != nil {
		return err
	}
	if !nx {
		stub.clearNX()
	}
	sections := []ukiSection{
		{name: ".osrel", open: text(in.OSRelease), flags: peReadable | peData},
		{name: ".cmdline", open: text(in.Cmdline), flags: peReadable | peData},
		{name: ".uname", open: text(in.Uname), flags: peReadable | peData},
		{name: ".linux", open: file(in.Kernel), flags: peReadable | peCode},
		{name: ".initrd", open: file(in.Initrd), flags: peReadable | peData},
	}
	w, err := os.Create(tmp)
	if err != nil {
		return err
	}
	defer w.Close()
	at := alignUp(int64(len(stub.raw)), stub.fileAlign)
	for i := range sections {
		s := &sections[i]
		s.offset = at
		if err := copySection(w, s); err != nil {
			return fmt.Errorf("write section %s: %w", s.name, err)
		}
		if err := stub.add(s); err != nil {
			return err
		}
		at += alignUp(s.size, stub.fileAlign)
	}
	if err := w.Truncate(at); err != nil {
		return err
	}
	if _, err := w.WriteAt(stub.raw, 0); err != nil {
		return err
	}
	return w.Close()
}

func copySection(w *os.File, s *ukiSection) error {
	r, size, err := s.open()
	if err != nil {
		return err
	}
	defer r.Close()
	if size == 0 {
		return errors.New("it is empty")
	}
	s.size = size
	if _, err := w.Seek(s.offset, io.SeekStart); err != nil {
		return err
	}
	_, err = io.CopyN(w, r, size)
	return err
}

func alignUp(n, to int64) int64 { return (n + to - 1) / to * to }

// peStub is the stub in memory with the places that grow.
type peStub struct {
	raw                     []byte
	base                    int // of the PE signature
	table                   int // where the next section header goes
	headers                 int // SizeOfHeaders: where the headers' room ends
	fileAlign, sectionAlign int64
	vaddr                   int64 // end of the last section in memory
}

func readStub(path string) (*peStub, error) {
	raw, err := readLimited(path, ukiMaxStub)
	if err != nil {
		return nil, fmt.Errorf("read the stub: %w", err)
	}
	f, err := pe.NewFile(bytes.NewReader(raw))
	if err != nil {
		return nil, fmt.Errorf("read the stub %s: %w", filepath.Base(path), err)
	}
	opt, ok := f.OptionalHeader.(*pe.OptionalHeader64)
	if !ok || len(f.Sections) == 0 || opt.FileAlignment == 0 || opt.SectionAlignment == 0 {
		return nil, fmt.Errorf("read the stub %s: not a 64-bit EFI program", filepath.Base(path))
	}
	if opt.DataDirectory[peSecurity].VirtualAddress != 0 {
		return nil, fmt.Errorf("read the stub %s: it is signed, sections cannot be added", filepath.Base(path))
	}
	base := int(binary.LittleEndian.Uint32(raw[peOffsetAt:]))
	s := &peStub{
		raw: raw, base: base, headers: int(opt.SizeOfHeaders),
		fileAlign: int64(opt.FileAlignment), sectionAlign: int64(opt.SectionAlignment),
	}
	s.table = base + peOptionalAt + int(f.SizeOfOptionalHeader) + 40*len(f.Sections)
	for _, sec := range f.Sections {
		s.vaddr = max(s.vaddr, int64(sec.VirtualAddress)+int64(sec.VirtualSize))
	}
	if s.headers > len(raw) || s.table > s.headers || opt.SizeOfHeaders > ukiMaxHeader {
		return nil, fmt.Errorf("read the stub %s: its headers do not fit", filepath.Base(path))
	}
	return s, nil
}

// add writes the section's header and moves on what the headers sum up.
func (p *peStub) add(s *ukiSection) error {
	if p.table+40 > p.headers {
		return fmt.Errorf("add section %s: the stub has no room for another header", s.name)
	}
	start := alignUp(p.vaddr, p.sectionAlign)
	p.vaddr = start + s.size
	if p.vaddr >= 1<<31 || s.offset+s.size >= 1<<31 {
		return fmt.Errorf("add section %s: the image would be larger than 2 GiB", s.name)
	}
	var b bytes.Buffer
	b.WriteString(s.name)
	b.Write(make([]byte, 8-len(s.name)))
	put(&b, uint32(s.size), uint32(start), uint32(alignUp(s.size, p.fileAlign)), uint32(s.offset))
	put(&b, uint32(0), uint32(0), uint32(0), s.flags) // no relocations, no line numbers
	copy(p.raw[p.table:], b.Bytes())
	p.table += 40

	le := binary.LittleEndian
	head := p.raw[p.base:]
	le.PutUint16(head[peCountAt:], le.Uint16(head[peCountAt:])+1)
	le.PutUint32(head[peInitSizeAt:], le.Uint32(head[peInitSizeAt:])+uint32(s.size))
	le.PutUint32(head[peImageSizeAt:], uint32(alignUp(p.vaddr, p.sectionAlign)))
	le.PutUint32(head[peChecksumAt:], 0)
	return nil
}

// clearNX takes the promise away that no memory is both writable and
// executable: the image must not promise more than its kernel does.
func (p *peStub) clearNX() {
	at := p.raw[p.base+peDLLFlagsAt:]
	binary.LittleEndian.PutUint16(at, binary.LittleEndian.Uint16(at)&^peNXCompat)
}

// kernelNX says whether the kernel is an EFI program that promises NX.
func kernelNX(path string) (bool, error) {
	f, err := pe.Open(path)
	if err != nil {
		return false, fmt.Errorf("read the kernel %s as an EFI program: %w", filepath.Base(path), err)
	}
	defer f.Close()
	opt, ok := f.OptionalHeader.(*pe.OptionalHeader64)
	return ok && opt.DllCharacteristics&peNXCompat != 0, nil
}

func readLimited(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(raw)) > limit {
		err = fmt.Errorf("%s is larger than %d bytes", filepath.Base(path), limit)
	}
	return raw, err
}
