package host

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// A Mount is one mount of a sandbox.
//
// With several Layers or an Upper it is an overlay (read-only without Upper).
// With exactly one layer and no Upper it is a bind mount of that file or
// directory, read-only unless Writable.
type Mount struct {
	Target   string   // absolute path in the sandbox; "/" is its root and must come first
	Layers   []string // directories of the host, lowest first
	Upper    string   // directory that takes the writes of an overlay
	Work     string   // the overlay's work directory, on the file system of Upper; emptied before use
	Writable bool     // a bind mount that takes writes
}

// A Sandbox is a root directory in which programs run with namespaces of their
// own for mounts, processes, network (nothing but a loopback that is down), IPC
// and host name. /proc, /sys, /dev, /run and /tmp are fresh; what is written to
// them is lost. Changes of /proc/sys and of kernel modules are not possible.
type Sandbox struct {
	Mounts []Mount
	Env    []string // added to the environment of every command
}

// spec is what the parent tells the child, as JSON on file descriptor 3.
type spec struct {
	Mounts []Mount
	Args   []string
	Env    []string
	Dir    string
	Func   string
}

// childName is argv[0] of a sandbox child.
const childName = "trivet-sandbox"

// Run runs c in the sandbox and waits for it. When ctx ends, everything in the
// sandbox is killed.
func (s Sandbox) Run(ctx context.Context, c Command) error {
	if err := s.check(); err != nil {
		return err
	}
	for _, m := range s.Mounts {
		if err := m.prepare(); err != nil {
			return err
		}
	}
	path, err := self()
	if err != nil {
		return err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("make the pipe to the sandbox: %w", err)
	}
	defer r.Close()
	cmd := exec.CommandContext(ctx, path)
	cmd.Args = []string{childName}
	cmd.Env = append(append([]string{defaultPath, "HOME=/root", "LC_ALL=C.UTF-8", "TZ=UTC"}, s.Env...), c.Env...)
	cmd.ExtraFiles = []*os.File{r}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS,
		Setsid:     true, // a Ctrl-C on the terminal reaches the build, which ends its sandboxes itself
		Pdeathsig:  syscall.SIGKILL,
	}
	go writeSpec(w, spec{Mounts: s.Mounts, Args: c.Args, Env: cmd.Env, Dir: c.Dir, Func: c.Func})
	// Pdeathsig is sent when the starting thread ends, not the process: hold the thread.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	return wait(ctx, cmd, c)
}

func writeSpec(w io.WriteCloser, s spec) {
	// A child that died early makes this a broken pipe; its exit code says why.
	_ = json.NewEncoder(w).Encode(s)
	w.Close()
}

func (s Sandbox) check() error {
	if len(s.Mounts) == 0 || s.Mounts[0].Target != "/" {
		return errors.New("set up a sandbox: the first mount must be /")
	}
	for _, m := range s.Mounts {
		if len(m.Layers) == 0 && m.Upper == "" {
			return fmt.Errorf("set up a sandbox: mount %s has no directory", m.Target)
		}
		for _, dir := range append([]string{m.Upper, m.Work}, m.Layers...) {
			if strings.ContainsAny(dir, ":,\\") {
				return fmt.Errorf("set up a sandbox: directory %q holds one of : , \\ which an overlay mount does not take; use another cache directory", dir)
			}
		}
	}
	return nil
}

// prepare empties the work directory: an overlay mounted volatile leaves a
// mark there which refuses a second mount.
func (m Mount) prepare() error {
	if m.Upper == "" {
		return nil
	}
	if m.Work == "" {
		return fmt.Errorf("set up a sandbox: mount %s has an upper but no work directory", m.Target)
	}
	if err := os.RemoveAll(m.Work); err != nil {
		return fmt.Errorf("empty overlay work directory: %w", err)
	}
	for _, dir := range []string{m.Work, m.Upper} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("make overlay directory: %w", err)
		}
	}
	return nil
}
