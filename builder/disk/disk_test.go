package disk

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"trivet/builder/host"
)

const testHash = "00112233445566778899aabbccddeeff0123456789abcdeffedcba9876543210"

var espTools = []string{"mkfs.vfat", "mmd", "mcopy"}

func testLayout(sector int) Layout {
	l := Layout{ESP: 40 * mib, Root: 12 * mib, Verity: 2 * mib, SectorSize: sector}
	if sector == 4096 {
		l.ESP = 264 * mib
	}
	return l
}

// testContents writes parts of odd sizes, the UKI a PE file with a command line.
func testContents(t *testing.T, dir string) Contents {
	t.Helper()
	c := Contents{
		Loader: dir + "/loader", UKI: dir + "/uki", Root: dir + "/root", Verity: dir + "/verity",
		RootHash: testHash, Version: "7", Epoch: time.Unix(1_700_000_000, 0),
	}
	for path, raw := range map[string][]byte{
		c.Loader: bytes.Repeat([]byte("loader"), 20_000),
		c.UKI:    tinyUKI("roothash="+testHash+" ro quiet", 3_000_000),
		c.Root:   bytes.Repeat([]byte("hsqs"), 9*mib/4),
		c.Verity: bytes.Repeat([]byte("verity"), 4096),
	} {
		if err := os.WriteFile(path, raw, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// assembled makes a disk image in a directory of its own.
func assembled(t *testing.T, sector int) (dir string, c Contents) {
	t.Helper()
	needTools(t, espTools...)
	dir = t.TempDir()
	c = testContents(t, dir)
	out := filepath.Join(dir, "out")
	if err := os.Mkdir(out, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := Assemble(t.Context(), testTool, testLayout(sector), c, out+"/disk.raw"); err != nil {
		t.Fatal(err)
	}
	return out, c
}

func TestInspectSeesWhatWasAssembled(t *testing.T) {
	for _, sector := range []int{512, 4096} {
		t.Run(fmt.Sprint(sector), func(t *testing.T) {
			dir, c := assembled(t, sector)
			got, err := Inspect(dir + "/disk.raw")
			if err != nil {
				t.Fatal(err)
			}
			l := testLayout(sector)
			want := Info{
				Size: l.ESP + l.Root + l.Verity + 2*mib, SectorSize: sector, GUID: got.GUID,
				Partitions: []Partition{
					{1, "esp", typeESP, got.Partitions[0].UUID, "ESP", mib, l.ESP, 0},
					{2, "root-x86-64", "4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709", "00112233-4455-6677-8899-AABBCCDDEEFF", "root-a", mib + l.ESP, l.Root, readOnly},
					{3, "root-x86-64-verity", "2C7357ED-EBD2-46D9-AEC1-23D437EC2BF5", "01234567-89AB-CDEF-FEDC-BA9876543210", "verity-a", mib + l.ESP + l.Root, l.Verity, readOnly},
				},
				UKI: "EFI/Linux/trivet-7.efi", Cmdline: "roothash=" + testHash + " ro quiet", RootHash: testHash,
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("the image is not what was asked for (-want +got):\n%s", diff)
			}
			for label, path := range map[string]string{"root-a": c.Root, "verity-a": c.Verity} {
				p, _ := got.Partition(label)
				checkPartition(t, dir+"/disk.raw", p, path)
			}
		})
	}
}

// checkPartition compares a partition's beginning with the file and its rest
// with zeroes.
func checkPartition(t *testing.T, disk string, p Partition, path string) {
	t.Helper()
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(disk)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	got, err := io.ReadAll(io.NewSectionReader(f, p.Offset, p.Size))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, append(want, make([]byte, int(p.Size)-len(want))...)) {
		t.Errorf("partition %s does not hold its file", p.Label)
	}
}

func TestToolsAgreeWithTheDisk(t *testing.T) {
	for _, sector := range []int{512, 4096} {
		t.Run(fmt.Sprint(sector), func(t *testing.T) {
			dir, c := assembled(t, sector)
			espOffset, espSize := int64(mib), testLayout(sector).ESP
			esp := cut(t, dir+"/disk.raw", espOffset, espSize)
			if err := os.WriteFile(dir+"/esp.img", esp, 0o644); err != nil {
				t.Fatal(err)
			}
			needTools(t, "fsck.fat", "mtype", "sgdisk")
			output(t, dir, "fsck.fat", "-n", workAt+"/esp.img")
			for name, path := range map[string]string{"EFI/BOOT/BOOTX64.EFI": c.Loader, "EFI/systemd/systemd-bootx64.efi": c.Loader, "EFI/Linux/trivet-7.efi": c.UKI} {
				want, _ := os.ReadFile(path)
				if got := output(t, dir, "mtype", "-i", workAt+"/esp.img", "::/"+name); got != string(want) {
					t.Errorf("%s has %d bytes in the image, %d went in, or they differ", name, len(got), len(want))
				}
			}
			if got := output(t, dir, "mtype", "-i", workAt+"/esp.img", "::/loader/loader.conf"); got != loaderConf {
				t.Errorf("loader.conf is %q", got)
			}
			if sector == 512 { // sgdisk takes a file to have sectors of 512 bytes
				if out := output(t, dir, "sgdisk", "-v", workAt+"/disk.raw"); !strings.Contains(out, "No problems found") {
					t.Errorf("sgdisk -v:\n%s", out)
				}
			}
		})
	}
}

func cut(t *testing.T, path string, at, n int64) []byte {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	raw := make([]byte, n)
	if _, err := f.ReadAt(raw, at); err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestAssembleIsReproducibleAndSparse(t *testing.T) {
	var sums []string
	for range 2 {
		dir, _ := assembled(t, 512)
		raw, err := os.ReadFile(dir + "/disk.raw")
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(raw)
		sums = append(sums, hex.EncodeToString(sum[:]))
		var st unix.Stat_t
		if err := unix.Stat(dir+"/disk.raw", &st); err != nil {
			t.Fatal(err)
		}
		if st.Blocks*512 > 18*mib { // 13 MiB of contents, the FAT's tables
			t.Errorf("the image of %d bytes takes %d on disk", len(raw), st.Blocks*512)
		}
		if entries, _ := os.ReadDir(dir); len(entries) != 1 {
			t.Errorf("beside the image there is %v", entries)
		}
		time.Sleep(1100 * time.Millisecond) // longer than a time stamp's grain
	}
	if sums[0] != sums[1] {
		t.Error("two runs made different bytes")
	}
}

func TestAssembleRefuses(t *testing.T) {
	never := func(context.Context, []host.Mount, ...string) error { return errors.New("the tool was run") }
	dir := t.TempDir()
	good := testContents(t, dir)
	for name, c := range map[string]struct {
		layout func(*Layout)
		parts  func(*Contents)
		want   []string
	}{
		"root too small":   {layout: func(l *Layout) { l.Root = 8 * mib }, want: []string{"disk.root", "9 MiB", "8 MiB"}},
		"verity too small": {parts: func(c *Contents) { c.Verity = c.Root }, want: []string{"disk.verity", "9 MiB", "2 MiB"}},
		"esp too small":    {parts: func(c *Contents) { c.UKI = c.Root; c.Loader = c.Root }, layout: func(l *Layout) { l.ESP = 36 * mib }, want: []string{"disk.esp", "36 MiB"}},
		"esp for 4096":     {layout: func(l *Layout) { l.SectorSize = 4096; l.ESP = 64 * mib }, want: []string{"disk.esp", "260 MiB"}},
		"sector size":      {layout: func(l *Layout) { l.SectorSize = 520 }, want: []string{"520"}},
		"odd size":         {layout: func(l *Layout) { l.Root = mib + 1 }, want: []string{"disk.root", "multiple of 1 MiB"}},
		"architecture":     {layout: func(l *Layout) { l.Arch = "m68k" }, want: []string{"m68k"}},
		"root hash":        {parts: func(c *Contents) { c.RootHash = "abc" }, want: []string{`"abc"`}},
		"missing file":     {parts: func(c *Contents) { c.Loader = dir + "/none" }, want: []string{"none"}},
		"tool fails":       {want: []string{"the tool was run"}},
	} {
		t.Run(name, func(t *testing.T) {
			l, parts := testLayout(512), good
			if c.layout != nil {
				c.layout(&l)
			}
			if c.parts != nil {
				c.parts(&parts)
			}
			out := t.TempDir()
			err := Assemble(t.Context(), never, l, parts, out+"/disk.raw")
			for _, want := range c.want {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("error %v, want one with %q", err, want)
				}
			}
			if entries, _ := os.ReadDir(out); len(entries) != 0 {
				t.Errorf("%v was left behind", entries)
			}
		})
	}
}
