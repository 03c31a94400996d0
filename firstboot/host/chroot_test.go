package host

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"
)

// TestRunIn uses / as the other root, since a program needs its libraries.
func TestRunIn(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("chroot(2) needs root")
	}
	out, code, err := RunIn(t.Context(), "/", time.Minute, "/bin/sh", "-c", "echo a; echo b >&2; pwd; exit 3")
	if err != nil || code != 3 || out != "a\nb\n/\n" {
		t.Errorf("output %q, code %d, %v", out, code, err)
	}
	if out, code, err := RunIn(t.Context(), "/", time.Minute, "/bin/true"); err != nil || code != 0 || out != "" {
		t.Errorf("true: output %q, code %d, %v", out, code, err)
	}
	if _, code, err := RunIn(t.Context(), t.TempDir(), time.Minute, "/bin/sh"); err == nil || code != -1 {
		t.Errorf("a root without the program: code %d, %v", code, err)
	}
	began := time.Now()
	out, code, err = RunIn(t.Context(), "/", 200*time.Millisecond, "/bin/sh", "-c", "echo begun; sleep 60 & sleep 60")
	if err == nil || code != -1 || !strings.Contains(err.Error(), "timed out after 200ms") || out != "begun\n" {
		t.Errorf("out of time: output %q, code %d, %v", out, code, err)
	}
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("what it started in the background held it up for %v", took)
	}
	if _, code, err = RunIn(t.Context(), "/", time.Minute, "/bin/sh", "-c", "kill -9 $$"); err == nil || code != -1 || !strings.Contains(err.Error(), "killed") {
		t.Errorf("killed: code %d, %v", code, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err = RunIn(ctx, "/", time.Minute, "/bin/true"); err == nil {
		t.Error("it ran though it was cancelled")
	}
}
