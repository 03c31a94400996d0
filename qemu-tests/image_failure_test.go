package qemutests

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// failingRole is the role whose build is disturbed: the smallest.
const failingRole = "storage"

// TestImageAfterAFailure disturbs real builds from the outside: kill -9,
// Ctrl-C, a full disk, bad mirrors. Each must end with an error that says why,
// leave no process, no mount and nothing half-written, and the build after it
// must make the very artifacts that an undisturbed one makes.
func TestImageAfterAFailure(t *testing.T) {
	images(t)
	if os.Geteuid() != 0 {
		t.Skip("disturbed builds of an ordinary user leave files of its sub-ids, which only root can clear away, and a small disk to fill is root's to mount")
	}
	d := newDisturbance(t)
	t.Run("killed", d.killed)
	t.Run("disk full", d.diskFull)
	t.Run("mirror", d.mirror)
}

// A disturbance has what the tests of failing builds share.
type disturbance struct {
	program, source string
	lock            string            // "": the packages are chosen anew
	oldDir          string            // artifacts that an earlier build left
	want, old       map[string]string // the artifacts by digest: of an undisturbed build, and of oldDir
	took, late      time.Duration     // an undisturbed build with an empty cache, and its part that writes into --out
	cacheSize       int64             // in bytes, of the cache that it left
	packagesSize    int64             // in bytes, of the packages in it
}

// newDisturbance makes the artifacts that all others are compared with.
func newDisturbance(t *testing.T) *disturbance {
	t.Helper()
	dir, scratch := t.TempDir(), t.TempDir()
	d := &disturbance{
		program: trivet(t), source: filepath.Join(dir, "source"), oldDir: filepath.Join(dir, "old"), lock: filepath.Join(dir, failingRole+".lock"),
	}
	lock, err := os.ReadFile(filepath.Join(images(t), failingRole+".lock"))
	if err != nil {
		t.Skipf("the lock of the %s image is needed: %v", failingRole, err)
	}
	if err := os.WriteFile(d.lock, lock, 0o644); err != nil {
		t.Fatal(err)
	}
	d.copySource(t)
	cache, out := filepath.Join(scratch, "cache"), filepath.Join(scratch, "out")
	d.packages(t, cache)
	d.packagesSize = treeSize(t, cache)

	// The old artifacts are those of another overlay.
	extra := filepath.Join(d.source, "overlays", failingRole, "etc/trivet-test")
	if err := os.WriteFile(extra, []byte("yesterday\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	e := d.build(t, cache, d.oldDir, "--json")
	e.mustWork(t)
	d.took, d.old = e.took, digests(t, d.oldDir)
	d.late = e.stage(t, "disk") + e.stage(t, "publish")
	d.cacheSize = treeSize(t, cache)
	if err := os.Remove(extra); err != nil {
		t.Fatal(err)
	}
	d.build(t, cache, out).mustWork(t)
	d.want = digests(t, out)
	t.Logf("an undisturbed build with the packages at hand takes %.1f s, %.1f s of it writing artifacts; its cache has %d MiB, %d MiB of them packages",
		d.took.Seconds(), d.late.Seconds(), d.cacheSize>>20, d.packagesSize>>20)
	return d
}

// packages puts the packages of the lock into a new cache, those that the cache
// of whoever runs the test has.
func (d *disturbance) packages(t *testing.T, cache string) {
	t.Helper()
	for sum := range d.locked(t) {
		name := filepath.Join("debs", sum[:2], sum+".deb")
		to := filepath.Join(cache, name)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			t.Fatal(err)
		}
		from := filepath.Join(userCache(t), name)
		if err := os.Link(from, to); err == nil {
			continue
		}
		if text, err := os.ReadFile(from); err == nil { // what is not there comes from the mirror
			if err := os.WriteFile(to, text, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// locked maps the digests of the lock's packages to their names.
func (d *disturbance) locked(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile(d.lock)
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^package \S+ (\S+) \S+ \S+ \d+ ([0-9a-f]{64}) `).FindAllStringSubmatch(string(text), -1) {
		names[m[2]] = m[1]
	}
	if len(names) < 100 {
		t.Fatalf("%s names %d packages, want some hundred", d.lock, len(names))
	}
	return names
}

// treeSize is what the files of a tree use on the disk, in bytes.
func treeSize(t *testing.T, dir string) int64 {
	t.Helper()
	var size int64
	seen := map[uint64]bool{}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if st := info.Sys().(*syscall.Stat_t); err == nil && !seen[st.Ino] {
			seen[st.Ino] = true
			size += st.Blocks * 512
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return size
}

// A running is a build that was started, in a session of its own.
type running struct {
	cmd     *exec.Cmd
	cancel  context.CancelFunc
	started time.Time
	said    bytes.Buffer // standard error
	printed bytes.Buffer // standard output
	done    chan error
	scratch string // directory that all its files are in
}

// An ended is how a build ended.
type ended struct {
	code    int // -1 for a signal
	said    string
	printed []byte
	took    time.Duration
}

// start starts trivet build.
func (d *disturbance) start(t *testing.T, cache, out string, args ...string) *running {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), buildTime)
	args = append([]string{"build", "--source", d.source, "--cache", cache, "--out", out}, args...)
	r := &running{cmd: exec.CommandContext(ctx, d.program, append(args, failingRole)...), cancel: cancel, done: make(chan error, 1), scratch: filepath.Dir(out)}
	if d.lock != "" {
		r.cmd.Args = append(r.cmd.Args, "--locked", d.lock)
	}
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	r.cmd.Stdout, r.cmd.Stderr = &r.printed, &r.said
	r.cmd.WaitDelay = 20 * time.Second // for whoever outlives it and holds its output
	r.started = time.Now()
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { r.done <- r.cmd.Wait() }()
	return r
}

// end waits for the build and looks that nothing of it is left running or
// mounted.
func (r *running) end(t *testing.T) ended {
	t.Helper()
	err := <-r.done
	r.cancel()
	took := time.Since(r.started)
	if errors.Is(err, exec.ErrWaitDelay) {
		t.Errorf("something that the build started holds its output %v after its end", r.cmd.WaitDelay)
	}
	noTrace(t, r.cmd.Process.Pid, r.scratch)
	return ended{r.cmd.ProcessState.ExitCode(), r.said.String(), r.printed.Bytes(), took}
}

// build runs trivet build to its end.
func (d *disturbance) build(t *testing.T, cache, out string, args ...string) ended {
	t.Helper()
	return d.start(t, cache, out, args...).end(t)
}

func (e ended) mustWork(t *testing.T) {
	t.Helper()
	if e.code != 0 {
		t.Fatalf("the build ended with exit code %d:\n%s", e.code, e.said)
	}
}

// mustFail wants exit code and error message of a build that could not be.
func (e ended) mustFail(t *testing.T, code int, say ...string) {
	t.Helper()
	if e.code != code {
		t.Errorf("the build ended with exit code %d, want %d:\n%s", e.code, code, e.said)
	}
	last := e.said[strings.LastIndex(e.said, "trivet: ")+1:]
	for _, want := range say {
		if !regexp.MustCompile(want).MatchString(last) {
			t.Errorf("the build says\n%s\nwant %s in it", e.said, want)
		}
	}
}

// stage is the time of one stage of a build with --json.
func (e ended) stage(t *testing.T, name string) time.Duration {
	t.Helper()
	var reports []struct {
		Stages []struct {
			Name string        `json:"name"`
			Took time.Duration `json:"took_ns"`
		} `json:"stages"`
	}
	if err := json.Unmarshal(e.printed, &reports); err != nil || len(reports) != 1 {
		t.Fatalf("read the report of one build: %v\n%s", err, e.printed)
	}
	for _, s := range reports[0].Stages {
		if s.Name == name {
			return s.Took
		}
	}
	t.Fatalf("the report has no stage %s:\n%s", name, e.printed)
	return 0
}

// noTrace wants no process of the session and none that has to do with the
// scratch directory, nor a mount of it, in no namespace. Those that the kernel
// ends with their parent get some seconds for it.
func noTrace(t *testing.T, session int, scratch string) {
	t.Helper()
	var left []string
	for range 100 {
		if left = traces(session, scratch); len(left) == 0 {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Errorf("ten seconds after its end the build has left:\n%s", strings.Join(left, "\n"))
}

func traces(session int, scratch string) []string {
	var left []string
	all, _ := filepath.Glob("/proc/[0-9]*") // a constant pattern
	for _, p := range all {
		// A process that ends meanwhile has no files to read any more: it is none.
		stat, _ := os.ReadFile(p + "/stat")
		// proc(5): PID (NAME) STATE PPID PGRP SESSION …
		f := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
		if len(f) < 4 || f[0] == "Z" {
			continue
		}
		words, _ := os.ReadFile(p + "/cmdline")
		mounts, _ := os.ReadFile(p + "/mountinfo")
		own := filepath.Base(p) == fmt.Sprint(os.Getpid())
		switch {
		case f[3] == fmt.Sprint(session):
			left = append(left, fmt.Sprintf("process %s of its session: %q", filepath.Base(p), words))
		case bytes.Contains(words, []byte(scratch)) && !own:
			left = append(left, fmt.Sprintf("process %s: %q", filepath.Base(p), words))
		case bytes.Contains(mounts, []byte(scratch)):
			left = append(left, fmt.Sprintf("a mount that process %s sees: %q", filepath.Base(p), words))
		}
	}
	return left
}

// checkOut looks at the artifacts after a build that did not end well: those of
// a set with a manifest must all be right, for trivet too; without one, when it
// was ended while it replaced them, each must be whole.
func (d *disturbance) checkOut(t *testing.T, out string) {
	t.Helper()
	if _, err := os.Stat(filepath.Join(out, failingRole+".manifest.json")); err == nil {
		oracle(t, d.program, "verify", filepath.Join(out, failingRole+".raw"))
	}
	for _, e := range listDir(t, out) {
		if strings.HasPrefix(e, ".") {
			continue // scratch, for the next build to remove
		}
		if got := fileDigest(t, filepath.Join(out, e)); got != d.want[e] && got != d.old[e] {
			t.Errorf("%s was left half-written or wrong, with SHA-256 %s", e, got)
		}
	}
}

func listDir(t *testing.T, dir string) []string {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	var names []string
	for _, e := range list {
		names = append(names, e.Name())
	}
	return names
}

// mustBeRight runs the build after a failure. Its artifacts are those of an
// undisturbed build, and nothing else is left in out or half-made in the cache.
func (d *disturbance) mustBeRight(t *testing.T, cache, out string, args ...string) {
	t.Helper()
	d.build(t, cache, out, args...).mustWork(t)
	if diff := cmp.Diff(d.want, digests(t, out)); diff != "" {
		t.Errorf("artifacts by SHA-256 (-undisturbed +after the failure):\n%s", diff)
	}
	for _, e := range listDir(t, out) {
		if strings.HasPrefix(e, ".") {
			t.Errorf("%s is still there after the next build", e)
		}
	}
	if left := listDir(t, filepath.Join(cache, "tmp")); !slices.Equal(left, []string{"lock"}) {
		t.Errorf("the cache's tmp holds %q after the next build, want only its lock", left)
	}
}
