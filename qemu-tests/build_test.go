package qemutests

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// buildTime bounds one run of trivet build with an empty cache.
const buildTime = 30 * time.Minute

// trivet returns the program to build with, or skips.
func trivet(t testing.TB) string {
	t.Helper()
	path := *trivetFlag
	if path == "" {
		path = filepath.Join(repository, "bin", "trivet")
	}
	path, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Skipf("this test builds an image, and there is no trivet to do it: %v (`make bin` makes it, -trivet names another)", err)
	}
	return path
}

// build runs trivet build with the repository's roles and overlays, and the
// cache of whoever runs the test.
func build(t testing.TB, out string, args ...string) {
	t.Helper()
	program := trivet(t)
	source, err := filepath.Abs(repository)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), buildTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, append([]string{"build", "--source", source, "--out", out}, args...)...)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v: %v\n%s", cmd.Args, err, said.Bytes())
	}
}
