package seal

import (
	"bytes"
	"debug/pe"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
)

// ukiMaxText bounds the text sections that are read into memory.
const ukiMaxText = 64 << 10

// ukiMaxSections is more than systemd's stub, its own sections and all that the
// UKI specification names.
const ukiMaxSections = 96

// UKIInfo is what a unified kernel image says of itself.
type UKIInfo struct {
	Sections  map[string]int64 // name → size in bytes
	Cmdline   string
	OSRelease string
	Uname     string
	RootHash  string // from roothash= on the command line; "" when there is none
}

// ReadUKI reads the file at path as a unified kernel image.
func ReadUKI(path string) (UKIInfo, error) {
	f, err := os.Open(path)
	if err != nil {
		return UKIInfo{}, fmt.Errorf("read the unified kernel image: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return UKIInfo{}, fmt.Errorf("read the unified kernel image: %w", err)
	}
	uki, err := ParseUKI(f, info.Size())
	if err != nil {
		return UKIInfo{}, fmt.Errorf("read %s: %w", filepath.Base(path), err)
	}
	return uki, nil
}

// ParseUKI reads a unified kernel image of size bytes.
func ParseUKI(r io.ReaderAt, size int64) (UKIInfo, error) {
	f, err := pe.NewFile(io.NewSectionReader(r, 0, size))
	if err != nil {
		return UKIInfo{}, fmt.Errorf("not an EFI program: %w", err)
	}
	if len(f.Sections) > ukiMaxSections {
		return UKIInfo{}, fmt.Errorf("not a unified kernel image: %d sections, at most %d", len(f.Sections), ukiMaxSections)
	}
	uki := UKIInfo{Sections: map[string]int64{}}
	for _, s := range f.Sections {
		if int64(s.Offset)+int64(s.Size) > size {
			return UKIInfo{}, fmt.Errorf("section %q lies outside of the file", s.Name)
		}
		uki.Sections[s.Name] = int64(min(s.VirtualSize, s.Size))
		var to *string
		switch s.Name {
		case ".cmdline":
			to = &uki.Cmdline
		case ".osrel":
			to = &uki.OSRelease
		case ".uname":
			to = &uki.Uname
		default:
			continue
		}
		n := min(s.VirtualSize, s.Size)
		if n > ukiMaxText {
			return UKIInfo{}, fmt.Errorf("section %s has %d bytes, at most %d", s.Name, n, ukiMaxText)
		}
		raw := make([]byte, n)
		if _, err := r.ReadAt(raw, int64(s.Offset)); err != nil {
			return UKIInfo{}, fmt.Errorf("read section %s: %w", s.Name, err)
		}
		*to = string(bytes.TrimRight(raw, "\x00"))
	}
	if uki.Sections[".linux"] == 0 {
		return UKIInfo{}, fmt.Errorf("not a unified kernel image: no .linux section")
	}
	uki.RootHash = rootHash(uki.Cmdline)
	return uki, nil
}

func rootHash(cmdline string) string {
	m := regexp.MustCompile(`(?:^|\s)roothash=([0-9a-f]{64})(?:\s|$)`).FindStringSubmatch(cmdline)
	if m == nil {
		return ""
	}
	return m[1]
}
