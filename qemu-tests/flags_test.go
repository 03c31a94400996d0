package qemutests

import (
	"context"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"trivet/qemu-tests/cluster"
)

var (
	imagesFlag = flag.String("images", "", "test the artifacts in this `directory`")
	qemuFlag   = flag.Bool("qemu", false, "boot the images in QEMU")
	trivetFlag = flag.String("trivet", "", "the trivet `program` to build with; the default is bin/trivet of the repository")
	logsFlag   = flag.String("logs", "", "keep the logs of failed machines in this `directory`")
)

// repository is where this module's root is seen from a running test.
const repository = ".."

// images returns the directory of the artifacts, or skips. A relative path is
// looked for from where `go test` was called, too.
func images(t testing.TB) string {
	t.Helper()
	if *imagesFlag == "" {
		t.Skip("image tests need built images: run `make images`, then `go test ./qemu-tests -images out`")
	}
	for _, dir := range []string{*imagesFlag, filepath.Join(repository, *imagesFlag)} {
		if st, err := os.Stat(dir); err == nil && st.IsDir() {
			abs, err := filepath.Abs(dir)
			if err != nil {
				t.Fatal(err)
			}
			return abs
		}
	}
	t.Fatalf("find the images: no directory %s", *imagesFlag)
	return ""
}

// accel finds out once for all tests how guests run here.
var accel = sync.OnceValues(func() (cluster.Accel, error) {
	fw, err := cluster.FindFirmware()
	if err != nil {
		return cluster.Accel{}, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	dir := *imagesFlag
	if !filepath.IsAbs(dir) {
		dir = filepath.Join(repository, dir)
	}
	return cluster.Probe(ctx, fw, dir)
})

// wantsQEMU skips a boot test, or the table of several, unless asked for.
func wantsQEMU(t *testing.T) {
	t.Helper()
	if !*qemuFlag {
		t.Skip("boot tests need -qemu: run `make images`, then `go test ./qemu-tests -qemu -images out`")
	}
}

// machines returns an empty cluster for machines of a role, or skips. Boot tests
// run one after the other: two emulated machines at a time are slower than one
// twice.
func machines(t *testing.T, role string) *cluster.Cluster {
	t.Helper()
	wantsQEMU(t)
	dir := images(t)
	if _, err := os.Stat(filepath.Join(dir, role+".raw")); err != nil {
		t.Skipf("there is no image of a %s to boot: %v", role, err)
	}
	if err := cluster.Requirements(); err != nil {
		t.Fatal(err) // -qemu was asked for
	}
	a, err := accel()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("guests run by %v", a)
	return cluster.New(t, cluster.Options{Images: dir, Accel: a, Logs: *logsFlag})
}

// need skips a test whose oracle is not installed, and says so.
func need(t testing.TB, tool string) {
	t.Helper()
	if _, err := exec.LookPath(tool); err != nil {
		t.Skipf("no %s on this machine to ask (`.ci/install test` installs it)", tool)
	}
}

// oracle runs a tool to its end and returns what it said; a tool that exits
// with an error fails the test.
func oracle(t testing.TB, args ...string) string {
	t.Helper()
	need(t, args[0])
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}
