package host

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	Main(map[string]Func{
		"upper": func(_ context.Context, in io.Reader, out io.Writer) error {
			text, err := io.ReadAll(in)
			if err != nil {
				return err
			}
			if err := os.WriteFile("/written", text, 0o640); err != nil {
				return err
			}
			_, err = out.Write(bytes.ToUpper(text))
			return err
		},
		"names": func(_ context.Context, _ io.Reader, out io.Writer) error {
			entries, err := os.ReadDir("/")
			for _, e := range entries {
				_, _ = io.WriteString(out, e.Name()+" ")
			}
			return err
		},
		"sleep": func(context.Context, io.Reader, io.Writer) error { time.Sleep(time.Minute); return nil },
		"error": func(context.Context, io.Reader, io.Writer) error { return errors.New("no luck in here") },
		"sysctl": func(context.Context, io.Reader, io.Writer) error {
			return os.WriteFile("/proc/sys/kernel/hostname", []byte("x"), 0o644)
		},
	})
	os.Exit(m.Run())
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("skipped: a sandbox needs root or a user namespace, and this test runs as an ordinary user")
	}
}

// layers makes two lower directories and an upper one.
func layers(t *testing.T) (Sandbox, string) {
	t.Helper()
	needRoot(t)
	dir := t.TempDir()
	for name, text := range map[string]string{"a/one": "1", "a/both": "low", "b/both": "high"} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	upper := filepath.Join(dir, "up")
	return Sandbox{Mounts: []Mount{{
		Target: "/", Layers: []string{filepath.Join(dir, "a"), filepath.Join(dir, "b")}, Upper: upper, Work: filepath.Join(dir, "work"),
	}}}, upper
}

func TestSandboxWritesGoToTheUpperLayerOnly(t *testing.T) {
	box, upper := layers(t)
	var out bytes.Buffer
	for range 2 { // a second mount over the same upper must work too
		out.Reset()
		if err := box.Run(context.Background(), Command{Func: "upper", Stdin: strings.NewReader("text"), Stdout: &out}); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(filepath.Join(upper, "written"))
	if err != nil || string(got) != "text" || out.String() != "TEXT" {
		t.Errorf("upper holds %q (%v), answer %q; want text and TEXT", got, err, out.String())
	}
	if _, err := os.Stat(filepath.Join(box.Mounts[0].Layers[0], "written")); err == nil {
		t.Error("a lower layer was written to")
	}
}

func TestSandboxSeesOnlyItsRoot(t *testing.T) {
	box, _ := layers(t)
	var out bytes.Buffer
	if err := box.Run(context.Background(), Command{Func: "names", Stdout: &out}); err != nil {
		t.Fatal(err)
	}
	if got, want := out.String(), "both dev one proc run sys tmp "; got != want {
		t.Errorf("names in the sandbox = %q; want %q", got, want)
	}
}

func TestSandboxErrorCarriesStandardError(t *testing.T) {
	box, _ := layers(t)
	err := box.Run(context.Background(), Command{Func: "error"})
	var exit *ExitError
	if !errors.As(err, &exit) || exit.Code != 1 || !strings.Contains(err.Error(), "no luck in here") {
		t.Errorf("error = %v; want exit code 1 with the message", err)
	}
}

func TestSandboxEndsWithItsContext(t *testing.T) {
	box, _ := layers(t)
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	start := time.Now()
	err := box.Run(ctx, Command{Func: "sleep"})
	if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) > 10*time.Second {
		t.Errorf("error = %v after %v; want deadline exceeded at once", err, time.Since(start))
	}
}

func TestSandboxCannotChangeTheHostsKernel(t *testing.T) {
	box, _ := layers(t)
	if err := box.Run(context.Background(), Command{Func: "sysctl"}); err == nil {
		t.Error("a write below /proc/sys went through")
	}
}

func TestSandboxLeavesNoMount(t *testing.T) {
	box, upper := layers(t)
	if err := box.Run(context.Background(), Command{Func: "names"}); err != nil {
		t.Fatal(err)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(mounts), upper) {
		t.Errorf("%s is still mounted", upper)
	}
}

func TestReadOnlyRootRefusesWrites(t *testing.T) {
	box, _ := layers(t)
	m := &box.Mounts[0]
	for _, l := range m.Layers { // a read-only root must bring its mount points
		for _, d := range kernelDirs {
			if err := os.MkdirAll(filepath.Join(l, d.name), 0o755); err != nil {
				t.Fatal(err)
			}
		}
	}
	m.Upper, m.Work = "", ""
	if err := box.Run(context.Background(), Command{Func: "upper", Stdin: strings.NewReader("x")}); err == nil || !strings.Contains(err.Error(), "read-only") {
		t.Errorf("error = %v; want a read-only file system", err)
	}
}

func TestExecReportsTheExitCode(t *testing.T) {
	err := Exec(context.Background(), Command{Args: []string{"sh", "-c", "echo why >&2; exit 7"}})
	var exit *ExitError
	if !errors.As(err, &exit) || exit.Code != 7 || exit.Tail != "why" {
		t.Errorf("error = %#v; want code 7 and tail %q", err, "why")
	}
}
