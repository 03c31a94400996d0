package qemutests

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf16"

	"trivet/qemu-tests/cluster"
)

// A part is a partition of a disk image, in bytes.
type part struct {
	offset, size int64
	kind, id     string // type and partition UUID, in small letters
	used         int64  // by a squashfs in it; else the size
}

// partitions reads a GUID partition table (UEFI Specification 2.10, section
// 5.3) by the names in it. The tests have a reader of their own, for the
// builder's might share the builder's mistakes.
func partitions(t testing.TB, raw string) map[string]part {
	t.Helper()
	f, err := os.Open(raw)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	sector, header := gptHeader(t, f)
	le := binary.LittleEndian
	count, size := int64(le.Uint32(header[80:])), int64(le.Uint32(header[84:]))
	if count > 1024 || size < 128 || size > 4096 {
		t.Fatalf("read the partitions of %s: %d entries of %d bytes", raw, count, size)
	}
	table := make([]byte, count*size)
	if _, err := f.ReadAt(table, int64(le.Uint64(header[72:]))*sector); err != nil {
		t.Fatalf("read the partitions of %s: %v", raw, err)
	}
	found := map[string]part{}
	for e := range bytesOf(table, int(size)) {
		if bytes.Equal(e[:16], make([]byte, 16)) {
			continue
		}
		first, last := int64(le.Uint64(e[32:])), int64(le.Uint64(e[40:]))
		units := make([]uint16, 36)
		for i := range units {
			units[i] = le.Uint16(e[56+2*i:])
		}
		p := part{offset: first * sector, size: (last - first + 1) * sector, kind: guid(e[:16]), id: guid(e[16:32])}
		p.used = usedBy(f, p)
		found[strings.TrimRight(string(utf16.Decode(units)), "\x00")] = p
	}
	return found
}

func bytesOf(table []byte, size int) func(func([]byte) bool) {
	return func(yield func([]byte) bool) {
		for ; len(table) >= size; table = table[size:] {
			if !yield(table[:size]) {
				return
			}
		}
	}
}

// gptHeader finds the header, which lies in the second sector: that tells the
// sectors' size.
func gptHeader(t testing.TB, f *os.File) (sector int64, header []byte) {
	t.Helper()
	for _, sector := range []int64{512, 4096} {
		header := make([]byte, 92)
		if _, err := f.ReadAt(header, sector); err == nil && string(header[:8]) == "EFI PART" {
			return sector, header
		}
	}
	t.Fatalf("read the partitions of %s: no GUID partition table", f.Name())
	return 0, nil
}

// guid prints a GUID as it lies on disk: the first three fields are little
// endian.
func guid(b []byte) string {
	le := binary.LittleEndian
	return fmt.Sprintf("%08x-%04x-%04x-%x-%x", le.Uint32(b), le.Uint16(b[4:]), le.Uint16(b[6:]), b[8:10], b[10:16])
}

// usedBy is the length of the squashfs in a partition (superblock: magic at 0,
// bytes_used at 40), or the partition's.
func usedBy(f io.ReaderAt, p part) int64 {
	super := make([]byte, 96)
	if _, err := f.ReadAt(super, p.offset); err != nil || string(super[:4]) != "hsqs" {
		return p.size
	}
	return min(p.size, int64(binary.LittleEndian.Uint64(super[40:])))
}

func partition(t testing.TB, raw, name string) part {
	t.Helper()
	all := partitions(t, raw)
	p, ok := all[name]
	if !ok {
		t.Fatalf("find partition %s of %s: there are %v", name, raw, all)
	}
	return p
}

// extract copies a partition to a file of its own, sparsely.
func extract(t testing.TB, raw string, p part) string {
	t.Helper()
	in, err := os.Open(raw)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.Create(filepath.Join(t.TempDir(), "partition"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	buf, zero := make([]byte, 1<<20), make([]byte, 1<<20)
	for at := int64(0); at < p.size; at += int64(len(buf)) {
		n := min(int64(len(buf)), p.size-at)
		if _, err := in.ReadAt(buf[:n], p.offset+at); err != nil {
			t.Fatalf("read %s: %v", raw, err)
		}
		if bytes.Equal(buf[:n], zero[:n]) {
			continue
		}
		if _, err := out.WriteAt(buf[:n], at); err != nil {
			t.Fatal(err)
		}
	}
	if err := out.Truncate(p.size); err != nil {
		t.Fatal(err)
	}
	return out.Name()
}

// unpackDisk makes a raw, sparse copy of the disk of a machine that is off.
func unpackDisk(t testing.TB, n *cluster.Node) string {
	t.Helper()
	path, format := n.Disk()
	raw := filepath.Join(t.TempDir(), "disk.raw")
	oracle(t, "qemu-img", "convert", "-f", format, "-O", "raw", path, raw)
	return raw
}

// ext4Files lists a folder of an ext4 file system in a partition; what is not
// there is empty.
func ext4Files(t testing.TB, raw, name, folder string) []string {
	t.Helper()
	need(t, "debugfs")
	p := partition(t, raw, name)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, "debugfs", "-R", "ls -p "+folder, fmt.Sprintf("%s?offset=%d", raw, p.offset)).CombinedOutput()
	if err != nil || strings.Contains(string(out), "Bad magic number") {
		t.Fatalf("list %s of partition %s: %v: %s", folder, name, err, out)
	}
	var names []string
	for line := range strings.Lines(string(out)) {
		// /inode/mode/uid/gid/name/size/
		if f := strings.Split(line, "/"); len(f) >= 7 && f[5] != "." && f[5] != ".." {
			names = append(names, f[5])
		}
	}
	return names
}
