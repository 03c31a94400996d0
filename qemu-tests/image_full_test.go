package qemutests

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// smallDisk builds on a file system in memory that grows from try to try, in a
// mount namespace of its own that goes with the script. $1 is the mount point,
// $2 a directory to copy into it, $3 takes what is seen, $4 the sizes; the rest
// is the command.
const smallDisk = `
disk=$1 first=$2 seen=$3 sizes=$4; shift 4
mount -t tmpfs -o size=64G,mode=0755 trivet-test "$disk"
cp -a "$first/." "$disk/"
n=0
for size in $sizes; do
	n=$((n + 1))
	mount -o "remount,size=$size" "$disk"
	code=0
	"$@" >"$seen/$n.said" 2>&1 || code=$?
	echo $code >"$seen/$n.code"
	ls -A "$disk/out" >"$seen/$n.out" 2>&1 || true
done
if [ -d "$disk/out" ]; then cp -a "$disk/out" "$seen/out"; fi`

// diskFull lets the disk of the cache, and that of the artifacts, run full at
// several stages of the build, and then gives it room.
func (d *disturbance) diskFull(t *testing.T) {
	mayMount(t)
	grown := d.cacheSize - d.packagesSize
	t.Run("cache", func(t *testing.T) {
		out := filepath.Join(t.TempDir(), "out")
		first := t.TempDir()
		d.packages(t, filepath.Join(first, "cache"))
		s := d.smallDisk(t, first, func(disk string) []string { return []string{"--cache", filepath.Join(disk, "cache"), "--out", out} },
			d.packagesSize+grown/20, d.packagesSize+grown/4, d.packagesSize+grown*6/10, d.packagesSize+grown*9/10, 2*d.cacheSize)
		s.check(t, d, out)
	})
	t.Run("out", func(t *testing.T) {
		cache := filepath.Join(t.TempDir(), "cache")
		d.packages(t, cache)
		size := treeSize(t, d.oldDir)
		s := d.smallDisk(t, t.TempDir(), func(disk string) []string { return []string{"--cache", cache, "--out", filepath.Join(disk, "out")} },
			size/10, size/2, size*9/10, 2*size)
		s.check(t, d, filepath.Join(s.seen, "out"))
	})
}

// A seen is what smallDisk wrote down of each try.
type seen struct {
	seen  string // directory
	sizes []int64
}

// smallDisk runs a build for each size of the disk, in bytes, which at first
// has what is in the directory first.
func (d *disturbance) smallDisk(t *testing.T, first string, args func(disk string) []string, sizes ...int64) seen {
	t.Helper()
	dir := t.TempDir()
	disk, s := filepath.Join(dir, "disk"), seen{filepath.Join(dir, "seen"), sizes}
	for _, sub := range []string{disk, s.seen} {
		if err := os.Mkdir(sub, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), buildTime)
	defer cancel()
	words := []string{
		"--mount", "--propagation", "private", "sh", "-ec", smallDisk, "sh", disk, first, s.seen, strings.Trim(fmt.Sprint(sizes), "[]"),
		d.program, "build", "--source", d.source, "--locked", d.lock,
	}
	cmd := exec.CommandContext(ctx, "unshare", append(append(words, args(disk)...), failingRole)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build on a small disk: %v\n%s", err, out)
	}
	noTrace(t, cmd.Process.Pid, dir)
	return s
}

// check wants an error from each size but the last, and the right artifacts
// from that.
func (s seen) check(t *testing.T, d *disturbance, out string) {
	t.Helper()
	for n, size := range s.sizes {
		said, code := s.read(t, n, "said"), strings.TrimSpace(s.read(t, n, "code"))
		if n == len(s.sizes)-1 {
			if code != "0" {
				t.Fatalf("with %d MiB the build still ends with exit code %s:\n%s", size>>20, code, said)
			}
			continue
		}
		last := strings.TrimSpace(said[strings.LastIndex("\n"+said, "\ntrivet: "):])
		t.Logf("with %d MiB: exit code %s, %s", size>>20, code, last)
		if code != "1" || !strings.Contains(strings.ToLower(last), "no space left on device") {
			t.Errorf("with %d MiB the build ends with exit code %s and says\n%s\nwant 1 and that no space is left", size>>20, code, said)
		}
		if left := strings.Fields(s.read(t, n, "out")); len(left) > 0 && !strings.HasPrefix(left[0], "ls:") {
			t.Errorf("with %d MiB the build left %q in the output directory", size>>20, left)
		}
	}
	if diff := cmp.Diff(d.want, digests(t, out)); diff != "" {
		t.Errorf("artifacts by SHA-256 (-undisturbed +with room again):\n%s", diff)
	}
}

func (s seen) read(t *testing.T, n int, what string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(s.seen, fmt.Sprint(n+1, ".", what)))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// mayMount skips where not even root may mount, as in many containers.
func mayMount(t *testing.T) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "unshare", "--mount", "mount", "-t", "tmpfs", "trivet-test", t.TempDir()).CombinedOutput()
	if err != nil {
		t.Skipf("this test mounts, which this machine does not allow: %v: %s", err, out)
	}
}
