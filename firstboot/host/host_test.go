package host

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestRun(t *testing.T) {
	out, err := System{}.Run(t.Context(), Command{Args: []string{"sh", "-c", "cat; echo $WORD; pwd"}, Env: []string{"WORD=said"}, Stdin: []byte("given\n")})
	if err != nil || string(out) != "given\nsaid\n/\n" {
		t.Errorf("%q %v", out, err)
	}
	for script, want := range map[string]string{
		"echo one >&2; echo two >&2; exit 3": "sh: exit code 3: one; two",
		"kill -TERM $$":                      "sh: ended by terminated",
		"printf 'x.Error: cause\\n a\\n b\\n c\\n d\\n e\\n f\\n' >&2; exit 1": "sh: exit code 1: x.Error: cause; …; b; c; d; e; f",
	} {
		_, err := System{}.Run(t.Context(), Command{Args: []string{"sh", "-c", script}})
		var exit *ExitError
		if !errors.As(err, &exit) || err.Error() != want {
			t.Errorf("%s: %v, want %s", script, err, want)
		}
	}
	if _, err := (System{}).Run(t.Context(), Command{Args: []string{"/no/such/program"}}); err == nil || !strings.Contains(err.Error(), "run /no/such/program") {
		t.Errorf("got %v", err)
	}
}

// TestRunEnds: a program that hangs, with all that it started, ends with its
// time or with ctx; one that left a child with its pipes is not waited for.
func TestRunEnds(t *testing.T) {
	began := time.Now()
	_, err := System{}.Run(t.Context(), Command{Args: []string{"sh", "-c", "sleep 600 & sleep 600"}, Timeout: 100 * time.Millisecond})
	if err == nil || err.Error() != "sh: timed out after 100ms" {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := (System{}).Run(ctx, Command{Args: []string{"sleep", "600"}}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	if time.Since(began) > 10*time.Second {
		t.Errorf("it took %s", time.Since(began))
	}
}

func TestRunAsUser(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can run programs as another user")
	}
	out, err := System{}.Run(t.Context(), Command{Args: []string{"id", "-un"}, User: "nobody"})
	if err != nil || strings.TrimSpace(string(out)) != "nobody" {
		t.Errorf("%q %v", out, err)
	}
	if _, err := (System{}).Run(t.Context(), Command{Args: []string{"id"}, User: "no-such-user"}); err == nil {
		t.Error("an unknown user was taken")
	}
}

func TestOutputIsBounded(t *testing.T) {
	out, err := System{}.Run(t.Context(), Command{Args: []string{"sh", "-c", "yes | head -c 6000000; echo end"}})
	if err != nil || len(out) > maxOutput || !strings.HasSuffix(string(out), "end\n") {
		t.Errorf("%d bytes, %v", len(out), err)
	}
}

func TestWriteFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a/b/file")
	for _, text := range []string{"one", "two"} {
		if err := WriteFile(path, []byte(text), 0o640, -1, -1); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(path)
		if err != nil || string(got) != text {
			t.Errorf("%q %v", got, err)
		}
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("%v %v", info.Mode(), err)
	}
	// What a power cut left is written over, a symlink not followed.
	victim := filepath.Join(t.TempDir(), "victim")
	if err := os.Symlink(victim, filepath.Join(filepath.Dir(path), ".file.trivet")); err != nil {
		t.Fatal(err)
	}
	if err := WriteFile(path, []byte("three"), 0o600, -1, -1); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(victim); err == nil {
		t.Error("a symlink was followed")
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 1 {
		t.Errorf("left behind: %v %v", entries, err)
	}
}

func TestReadFolder(t *testing.T) {
	dir := t.TempDir()
	for name, size := range map[string]int{"user-data": 10, "long": 101} {
		if err := os.WriteFile(filepath.Join(dir, name), make([]byte, size), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	files, err := ReadFolder(dir, []string{"user-data", "meta-data"}, 100)
	if err != nil || len(files) != 1 || len(files["user-data"]) != 10 {
		t.Errorf("%v %v", files, err)
	}
	for _, bad := range []string{"long", "link", "."} {
		if _, err := ReadFolder(dir, []string{bad}, 100); err == nil {
			t.Errorf("%s was read", bad)
		}
	}
}

func TestReadFilesSaysWhy(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can mount")
	}
	_, err := ReadFiles("/dev/null", "vfat", []string{"user-data"}, 100)
	if err == nil || !strings.HasPrefix(err.Error(), "read /dev/null (vfat): ") {
		t.Errorf("got %v", err)
	}
}

// TestWriteFiles overwrites a file of a FAT file system in place: the content
// is gone from the whole medium.
func TestWriteFiles(t *testing.T) {
	device := fatDevice(t, "user-data", "the canary of a seed")
	err := WriteFiles(device, "vfat", map[string][]byte{"user-data": make([]byte, 20)})
	if errors.Is(err, unix.ENODEV) {
		t.Skip("the kernel of this machine has no vfat")
	}
	if err != nil {
		t.Fatal(err)
	}
	files, err := ReadFiles(device, "vfat", []string{"user-data"}, 100)
	if err != nil || !bytes.Equal(files["user-data"], make([]byte, 20)) {
		t.Errorf("%q, %v", files["user-data"], err)
	}
	medium, err := os.ReadFile(device)
	if err != nil || bytes.Contains(medium, []byte("canary")) {
		t.Errorf("the medium still has it, or %v", err)
	}
	for name, content := range map[string][]byte{"user-data": make([]byte, 21), "other": nil} {
		if err := WriteFiles(device, "vfat", map[string][]byte{name: content}); err == nil {
			t.Errorf("%d bytes of %s were written", len(content), name)
		}
	}
}

// fatDevice makes a loop device with a FAT file system that holds one file.
func fatDevice(t *testing.T, name, content string) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root can mount")
	}
	for _, tool := range []string{"mkfs.vfat", "mcopy", "losetup"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("no %s on this machine to make a medium with", tool)
		}
	}
	run := func(args ...string) string {
		out, err := exec.CommandContext(t.Context(), args[0], args[1:]...).CombinedOutput()
		if err != nil {
			t.Skipf("%s: %v: %s", strings.Join(args, " "), err, out)
		}
		return strings.TrimSpace(string(out))
	}
	dir := t.TempDir()
	image, file := filepath.Join(dir, "image"), filepath.Join(dir, "file")
	if err := errors.Join(os.WriteFile(image, make([]byte, 1<<20), 0o600), os.WriteFile(file, []byte(content), 0o600)); err != nil {
		t.Fatal(err)
	}
	run("mkfs.vfat", image)
	run("mcopy", "-i", image, file, "::"+name)
	device := run("losetup", "--find", "--show", image)
	t.Cleanup(func() { _ = exec.Command("losetup", "--detach", device).Run() })
	return device
}

func TestDeviceOf(t *testing.T) {
	device, have, err := DeviceOf(netip.MustParseAddr("192.0.2.77"))
	if err != nil || device != "" || have == "" {
		t.Errorf("%q %q %v", device, have, err)
	}
}

// scripted answers for systemctl and journalctl.
type scripted map[string]string

func (s scripted) Run(_ context.Context, c Command) ([]byte, error) {
	line := strings.Join(c.Args, " ")
	for words, out := range s {
		if strings.HasPrefix(line, words) {
			if out == "fail" {
				return nil, &ExitError{Program: c.Args[0], Code: 1}
			}
			return []byte(out), nil
		}
	}
	return nil, nil
}

func TestStartUnit(t *testing.T) {
	if err := StartUnit(t.Context(), scripted{}, "a.service", "b.service"); err != nil {
		t.Error(err)
	}
	err := StartUnit(t.Context(), scripted{"systemctl start": "fail", "journalctl": "first\nlast words\n"}, "a.service")
	if err == nil || err.Error() != "start a.service: systemctl: exit code 1; its journal ends: first; last words" {
		t.Errorf("got %v", err)
	}
	if state, err := UnitState(t.Context(), scripted{"systemctl show": "activating\n"}, "a.service"); err != nil || state != "activating" {
		t.Errorf("%q %v", state, err)
	}
}
