package seal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"trivet/builder/host"
)

var epoch = time.Unix(1_700_000_000, 0)

// noise is text that does not compress to nothing, the same for the same seed.
func noise(seed uint64, n int) string {
	r := rand.New(rand.NewPCG(seed, 0))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte('a' + r.IntN(16))
	}
	return string(b)
}

// clamp gives every file below dir a time of its own that all runs agree on.
func clamp(t *testing.T, dir string) {
	t.Helper()
	var paths []string
	err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		paths = append(paths, path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for i, path := range paths {
		at := unix.NsecToTimespec(time.Unix(1_600_000_000+int64(i), 0).UnixNano())
		if err := unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{at, at}, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			t.Fatal(err)
		}
	}
}

// lowerLayer is a tree with all that a layer may hold.
func lowerLayer(t *testing.T, dir string) string {
	t.Helper()
	write(t, dir+"/etc/fstab", "lower\n")
	write(t, dir+"/etc/motd", "lower motd\n")
	write(t, dir+"/usr/bin/tool", noise(1, 300_000))
	write(t, dir+"/usr/bin/same", noise(1, 300_000))
	write(t, dir+"/usr/lib/big", noise(2, 3*squashBlock+5))
	write(t, dir+"/usr/lib/exact", noise(3, 2*squashBlock))
	write(t, dir+"/usr/lib/empty", "")
	write(t, dir+"/usr/share/doc/old", noise(4, 700_000))
	write(t, dir+"/usr/share/doc/deep/er/old", "gone too")
	for i := range 2000 { // a listing of several metadata blocks
		write(t, fmt.Sprintf("%s/many/a-rather-long-name-for-a-file-%05d.py", dir, i*7919%2000), fmt.Sprint(i))
	}
	if err := os.Link(dir+"/usr/bin/tool", dir+"/usr/lib/tool-link"); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("../bin/tool", dir+"/usr/lib/sym"); err != nil {
		t.Fatal(err)
	}
	sparse, err := os.Create(dir + "/usr/lib/sparse")
	if err != nil {
		t.Fatal(err)
	}
	defer sparse.Close()
	if _, err := sparse.WriteAt([]byte("end"), 5*squashBlock); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestSquashfsKeepsFileTimesAndIsReproducible(t *testing.T) {
	needTool(t, "mksquashfs")
	dir := t.TempDir()
	tree := lowerLayer(t, filepath.Join(dir, "tree"))
	clamp(t, tree)
	outs := filepath.Join(dir, "out")
	if err := os.Mkdir(outs, 0o755); err != nil {
		t.Fatal(err)
	}
	a, b := filepath.Join(outs, "a.squashfs"), filepath.Join(outs, "b.squashfs")
	for _, out := range []string{a, b} {
		if err := Squashfs(t.Context(), testTool, []string{tree}, out, epoch); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(read(t, a), read(t, b)) {
		t.Error("two runs made different bytes")
	}
	noLeftovers(t, outs, "a", "b")
	img := load(t, a)
	if got := int64(img.super.MkfsTime); got != epoch.Unix() {
		t.Errorf("the image's time is %d, want %d", got, epoch.Unix())
	}
	info, err := os.Stat(tree + "/usr/lib/big")
	if err != nil {
		t.Fatal(err)
	}
	if got := int64(img.root.children["usr"].children["lib"].children["big"].mtime); got != info.ModTime().Unix() {
		t.Errorf("a file's time is %d, want %d", got, info.ModTime().Unix())
	}
}

func load(t *testing.T, path string) *sqImage {
	t.Helper()
	raw := read(t, path)
	img, err := loadSquashfs(bytes.NewReader(raw), int64(len(raw)), 0)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func TestMergeShowsWhatTheOverlayShows(t *testing.T) {
	needRoot(t)
	needTool(t, "mksquashfs")
	needTool(t, "unsquashfs")
	dir := t.TempDir()
	low := lowerLayer(t, filepath.Join(dir, "low"))
	up := upperLayer(t, filepath.Join(dir, "up"))
	clamp(t, low)
	clamp(t, up)
	if err := Squashfs(t.Context(), testTool, []string{low, up}, dir+"/whole", epoch); err != nil {
		t.Skipf("skipped: this host mounts no overlay: %v", err)
	}
	merged := pack(t, dir, low, up)
	want, got := unpack(t, dir, "whole"), unpack(t, dir, merged)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the merged tree differs from the overlay's (-overlay +merged):\n%s", diff)
	}
	if size := len(read(t, dir+"/"+merged)); size > len(read(t, dir+"/whole"))+64<<10 {
		t.Errorf("the merged image has %d bytes: data of deleted files are in it", size)
	}
	checkDirIndex(t, dir+"/"+merged)
}

// upperLayer changes, deletes and hides files of lowerLayer.
func upperLayer(t *testing.T, dir string) string {
	t.Helper()
	write(t, dir+"/etc/motd", "upper motd\n")
	write(t, dir+"/usr/share/doc/new", "the only one\n")
	write(t, dir+"/usr/lib/new-big", noise(9, squashBlock+17))
	write(t, dir+"/many/zz-new.py", "new")
	steps := []error{
		os.Link(dir+"/etc/motd", dir+"/etc/motd.link"),
		unix.Mknod(dir+"/etc/fstab", unix.S_IFCHR, 0),
		unix.Mknod(dir+"/many/a-rather-long-name-for-a-file-00017.py", unix.S_IFCHR, 0),
		unix.Mknod(dir+"/etc/pipe", unix.S_IFIFO|0o600, 0),
		unix.Setxattr(dir+"/usr/share/doc", "trusted.overlay.opaque", []byte("y"), 0),
		os.Lchown(dir+"/usr/lib/new-big", 3_000_000, 42),
		os.Chmod(dir+"/usr/lib/new-big", os.ModeSetuid|0o755),
		unix.Setxattr(dir+"/usr/lib/new-big", "security.capability", []byte("\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"), 0),
	}
	if err := errors.Join(steps...); err != nil {
		t.Skipf("skipped: this file system or container takes no overlay marks: %v", err)
	}
	return dir
}

// pack packs the layers, merges them and returns the merged image's name in dir.
func pack(t *testing.T, dir string, layers ...string) string {
	t.Helper()
	var packed []string
	for i, l := range layers {
		packed = append(packed, fmt.Sprintf("%s/layer%d", dir, i))
		if err := PackLayer(t.Context(), testTool, l, packed[i], epoch); err != nil {
			t.Fatal(err)
		}
	}
	if err := MergeSquashfs(t.Context(), packed, dir+"/merged", epoch); err != nil {
		t.Fatal(err)
	}
	return "merged"
}

// unpack unpacks the image name of dir with unsquashfs and describes the tree.
func unpack(t *testing.T, dir, name string) map[string]string {
	t.Helper()
	output(t, dir, "unsquashfs", "-quiet", "-no-progress", "-d", inDir+"/un-"+name, inDir+"/"+name)
	root := filepath.Join(dir, "un-"+name)
	out := map[string]string{}
	err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		links := uint64(st.Nlink)
		if d.IsDir() {
			links = 0
		}
		desc := fmt.Sprintf("mode %o owner %d:%d time %d links %d size %d", st.Mode, st.Uid, st.Gid, st.Mtim.Sec, links, st.Size*int64(b2i(d.Type().IsRegular())))
		switch {
		case d.Type().IsRegular():
			raw, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			desc += fmt.Sprintf(" sum %x", raw[:min(len(raw), 20)]) + fmt.Sprint(sumOf(raw))
		case d.Type()&os.ModeSymlink != 0:
			target, _ := os.Readlink(path)
			desc += " to " + target
		}
		value := make([]byte, 64)
		if n, err := unix.Lgetxattr(path, "security.capability", value); err == nil {
			desc += fmt.Sprintf(" caps %x", value[:n])
		}
		out[strings.TrimPrefix(path, root)] = desc
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

func sumOf(raw []byte) (sum uint64) {
	for i, b := range raw {
		sum = sum*31 + uint64(b) + uint64(i)
	}
	return sum
}

// checkDirIndex reads the index of the directory with many names, which
// unsquashfs does not use but the kernel does: each entry must lead to a header
// whose first name is the entry's.
func checkDirIndex(t *testing.T, path string) {
	t.Helper()
	raw := read(t, path)
	r, err := newSQReader(bytes.NewReader(raw), int64(len(raw)))
	if err != nil {
		t.Fatal(err)
	}
	defer r.close()
	found := 0
	for rel := int64(0); int64(r.super.InodeTable)+rel < int64(r.super.DirTable); {
		b, err := r.block(int64(r.super.InodeTable) + rel)
		if err != nil {
			t.Fatal(err)
		}
		for off := 0; off+40 < len(b.data); off++ {
			// The extended directory inode with the most links wins: look for type 8.
			c := r.cursor(r.super.InodeTable, rel, int64(off))
			if c.u16() != sqDir+sqExtend || c.u16() != 0o755 {
				continue
			}
			c.bytes(12) // owner, time, number
			c.u32()
			size, start := c.u32(), c.u32()
			c.u32()
			count, offset := c.u16(), c.u16()
			if size < 50_000 || size > 500_000 || count == 0 || count > 100 {
				continue
			}
			c.u32() // xattrs
			for range count {
				at, block, name := int64(c.u32()), c.u32(), string(c.bytes(int(c.u32())+1))
				d := r.cursor(r.super.DirTable, int64(block), (int64(offset)+at)%sqMetaSize)
				d.bytes(12 + 6)
				if got := string(d.bytes(int(d.u16()) + 1)); got != name || d.err != nil {
					t.Fatalf("index entry %q leads to %q (%v)", name, got, d.err)
				}
				found++
			}
			_ = start
		}
		rel = b.next - int64(r.super.InodeTable)
	}
	if found < 5 {
		t.Errorf("%d index entries of the large directory were found, want at least 5", found)
	}
}

func TestMergeIsReproducibleAndLeavesNothingOnCancel(t *testing.T) {
	needTool(t, "mksquashfs")
	dir := t.TempDir()
	low, up := filepath.Join(dir, "low"), filepath.Join(dir, "up")
	write(t, low+"/a", noise(1, 1000))
	write(t, low+"/b", "under")
	write(t, up+"/b", "over")
	a := read(t, filepath.Join(dir, pack(t, dir, low, up)))
	b := read(t, filepath.Join(dir, pack(t, dir, low, up)))
	if !bytes.Equal(a, b) {
		t.Error("two runs made different bytes")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	out := filepath.Join(dir, "out")
	if err := os.Mkdir(out, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := MergeSquashfs(ctx, []string{dir + "/layer0", dir + "/layer1"}, out+"/x", epoch); !errors.Is(err, context.Canceled) {
		t.Errorf("merge after cancel: %v", err)
	}
	noLeftovers(t, out)
}

func TestToolFailureLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	fail := func(_ context.Context, mounts []host.Mount, _ ...string) error {
		_ = os.WriteFile(filepath.Join(mounts[1].Layers[0], "half"), []byte("x"), 0o600)
		return errors.New("no space")
	}
	for name, make := range map[string]func(context.Context, Tool, []string, string, time.Time) error{"squashfs": Squashfs, "erofs": Erofs} {
		err := make(t.Context(), fail, []string{dir}, filepath.Join(dir, "root"), epoch)
		if err == nil || !strings.Contains(err.Error(), "no space") {
			t.Errorf("%s: error %v, want the tool's", name, err)
		}
		noLeftovers(t, dir)
	}
}

func TestErofsKeepsFileTimesAndIsReproducible(t *testing.T) {
	needTool(t, "mkfs.erofs")
	dir := t.TempDir()
	tree := lowerLayer(t, filepath.Join(dir, "tree"))
	clamp(t, tree)
	for _, out := range []string{"a", "b"} {
		err := Erofs(t.Context(), testTool, []string{tree}, filepath.Join(dir, out), epoch)
		if err != nil && strings.Contains(err.Error(), "Available compressors") { // it printed its usage
			t.Skip("skipped: the host's mkfs.erofs is too old for --workers and --mkfs-time")
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(read(t, dir+"/a"), read(t, dir+"/b")) {
		t.Error("two runs made different bytes")
	}
	info, err := os.Stat(tree + "/usr/lib/big")
	if err != nil {
		t.Fatal(err)
	}
	got := output(t, dir, "dump.erofs", "--path=/usr/lib/big", inDir+"/a")
	if want := info.ModTime().UTC().Format("2006-01-02 15:04:05"); !strings.Contains(got, want) {
		t.Errorf("the file's time %s is not in:\n%s", want, got)
	}
}
