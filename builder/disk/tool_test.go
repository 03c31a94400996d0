package disk

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

// needTools skips the test where one of the programs is to be had from neither.
func needTools(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		if root := toolsRoot(); root != "" {
			bin, _ := filepath.Glob(filepath.Join(root, "usr/*bin", name))
			if len(bin) == 0 {
				t.Skipf("skipped: the tools root has no %s", name)
			}
		} else if _, err := host.Look(name); err != nil {
			t.Skipf("skipped: %s is not installed", name)
		}
	}
}

// testTool runs a program of the tools root, or one of the host with the
// mounts' targets replaced by the host's paths.
func testTool(ctx context.Context, mounts []host.Mount, args ...string) error {
	return toolOutput(ctx, nil, mounts, args...)
}

func toolOutput(ctx context.Context, out *bytes.Buffer, mounts []host.Mount, args ...string) error {
	c := host.Command{Args: append([]string(nil), args...)}
	if out != nil {
		c.Stdout = out
	}
	if root := toolsRoot(); root != "" {
		return host.Sandbox{Mounts: append([]host.Mount{{Target: "/", Layers: []string{root}}}, mounts...)}.Run(ctx, c)
	}
	for _, m := range mounts {
		for i, a := range c.Args {
			c.Args[i] = strings.ReplaceAll(a, m.Target, m.Layers[0])
		}
	}
	return host.Exec(ctx, c)
}

const workAt = "/tmp/trivet-work"

// output runs a program with the files of dir, which it sees at workAt.
func output(t *testing.T, dir string, args ...string) string {
	t.Helper()
	var out bytes.Buffer
	mounts := []host.Mount{{Target: workAt, Layers: []string{dir}, Writable: true}}
	if err := toolOutput(t.Context(), &out, mounts, args...); err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	return out.String()
}
