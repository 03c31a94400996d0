package seal

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"trivet/builder/host"
)

func TestMain(m *testing.M) {
	host.Main(nil)
	os.Exit(m.Run())
}

// toolsRoot names a Debian root directory whose programs the tests run in a
// sandbox, as a build does. Without it they run the host's.
func toolsRoot() string { return os.Getenv("TRIVET_TEST_TOOLS") }

// needTool skips the test where the program name is to be had from neither.
func needTool(t *testing.T, name string) {
	t.Helper()
	if root := toolsRoot(); root != "" {
		for _, dir := range []string{"usr/bin", "usr/sbin"} {
			if _, err := os.Stat(filepath.Join(root, dir, name)); err == nil {
				return
			}
		}
		t.Skipf("skipped: the tools root has no %s", name)
	}
	if _, err := host.Look(name); err != nil {
		t.Skipf("skipped: %s is not installed", name)
	}
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("skipped: making whiteouts and other owners' files needs root")
	}
}

// testTool runs a program of the tools root, or one of the host with the
// mounts' targets replaced by their directories.
func testTool(ctx context.Context, mounts []host.Mount, args ...string) error {
	return toolOutput(ctx, nil, mounts, args...)
}

func toolOutput(ctx context.Context, out *bytes.Buffer, mounts []host.Mount, args ...string) error {
	c := host.Command{Args: append([]string(nil), args...)}
	if out != nil {
		c.Stdout = out
	}
	if root := toolsRoot(); root != "" {
		box := host.Sandbox{Mounts: append([]host.Mount{{Target: "/", Layers: []string{root}}}, mounts...)}
		return box.Run(ctx, c)
	}
	overlay := ""
	for _, m := range mounts {
		dir := m.Layers[0]
		if len(m.Layers) > 1 { // needs root: a mount namespace of its own
			var lower []string
			for _, l := range m.Layers {
				lower = append([]string{l}, lower...)
			}
			overlay, dir = strings.Join(lower, ":"), "/mnt"
		}
		for i, a := range c.Args {
			c.Args[i] = strings.ReplaceAll(a, m.Target, dir)
		}
	}
	if overlay != "" {
		script := `mount -t overlay -o "lowerdir=$1" overlay /mnt; shift; exec "$@"`
		c.Args = append([]string{"unshare", "-m", "sh", "-ec", script, "sh", overlay}, c.Args...)
	}
	return host.Exec(ctx, c)
}

// output runs a program with files that lie below dir, which it sees as inDir.
func output(t *testing.T, dir string, args ...string) string {
	t.Helper()
	var out bytes.Buffer
	mounts := []host.Mount{{Target: inDir, Layers: []string{dir}, Writable: true}}
	if err := toolOutput(t.Context(), &out, mounts, args...); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func noLeftovers(t *testing.T, dir string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != len(want) {
		t.Errorf("%d entries are in the directory, want %v: %v", len(entries), want, entries)
	}
}
