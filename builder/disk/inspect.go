package disk

import (
	"debug/pe"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// Info is what a disk image says of itself.
type Info struct {
	Size       int64 // bytes
	SectorSize int   // logical, of the partition table
	GUID       string
	Partitions []Partition
	UKI        string // path on the EFI system partition, "" when there is none
	Cmdline    string // the UKI's kernel command line
	RootHash   string // from roothash= on it; "" when there is none
}

// A Partition is one entry of the table.
type Partition struct {
	Number   int
	Type     string // systemd's name (root-x86-64), or "" for a type that is not one of an image's
	TypeGUID string // upper case, as UUID
	UUID     string
	Label    string
	Offset   int64 // bytes
	Size     int64 // bytes
	Flags    uint64
}

// Partition returns the first partition with that label.
func (i Info) Partition(label string) (Partition, bool) {
	for _, p := range i.Partitions {
		if p.Label == label {
			return p, true
		}
	}
	return Partition{}, false
}

// maxCmdline bounds the command line that is read (the kernel's own limit on
// x86 is 2048 bytes).
const maxCmdline = 16 << 10

// Inspect reads the disk image (or disk) at path: its partitions, and the
// command line of the unified kernel image on its EFI system partition.
func Inspect(path string) (Info, error) {
	f, err := os.Open(path)
	if err != nil {
		return Info{}, fmt.Errorf("inspect a disk image: %w", err)
	}
	defer f.Close()
	size, err := f.Seek(0, io.SeekEnd) // also right for a block device
	if err != nil {
		return Info{}, fmt.Errorf("inspect a disk image: %w", err)
	}
	info, err := inspect(f, size)
	if err != nil {
		return Info{}, fmt.Errorf("inspect %s: %w", filepath.Base(path), err)
	}
	return info, nil
}

func inspect(r io.ReaderAt, size int64) (Info, error) {
	info, err := readGPT(r, size)
	if err != nil {
		return Info{}, err
	}
	for _, p := range info.Partitions {
		if p.TypeGUID != typeESP {
			continue
		}
		if err := info.readESP(io.NewSectionReader(r, p.Offset, p.Size)); err != nil {
			return Info{}, fmt.Errorf("read the EFI system partition: %w", err)
		}
		break
	}
	return info, nil
}

// readESP finds the UKI (UAPI Group, Boot Loader Specification, type 2: *.efi in
// \EFI\Linux). Of several the last by name is the one that is booted.
func (i *Info) readESP(r io.ReaderAt) error {
	fs, err := openFAT(r)
	if err != nil {
		return err
	}
	dir, err := fs.find("EFI", "Linux")
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var uki fatEntry
	for _, e := range dir {
		if strings.HasSuffix(strings.ToLower(e.name), ".efi") && !e.dir && e.name > uki.name {
			uki = e
		}
	}
	if uki.name == "" {
		return nil
	}
	i.UKI = "EFI/Linux/" + uki.name
	file, err := fs.open(uki)
	if err != nil {
		return err
	}
	if i.Cmdline, err = cmdline(file); err != nil {
		return fmt.Errorf("read %s: %w", i.UKI, err)
	}
	if m := regexp.MustCompile(`(?:^|\s)roothash=([0-9a-f]{64})(?:\s|$)`).FindStringSubmatch(i.Cmdline); m != nil {
		i.RootHash = m[1]
	}
	return nil
}

// cmdline returns the text of the .cmdline section.
func cmdline(r io.ReaderAt) (string, error) {
	f, err := pe.NewFile(r)
	if err != nil {
		return "", fmt.Errorf("not an EFI program: %w", err)
	}
	s := f.Section(".cmdline")
	if s == nil {
		return "", nil
	}
	n := min(s.VirtualSize, s.Size)
	if n > maxCmdline {
		return "", fmt.Errorf("a command line of %d bytes, at most %d", n, maxCmdline)
	}
	raw := make([]byte, n)
	if _, err := r.ReadAt(raw, int64(s.Offset)); err != nil {
		return "", fmt.Errorf("section .cmdline: %w", err)
	}
	return strings.TrimRight(string(raw), "\x00"), nil
}
