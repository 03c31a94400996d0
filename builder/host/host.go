// Package host is the only package of the builder that runs programs. It runs
// them in a sandbox of namespaces (Sandbox) or, for the few tools that `trivet
// doctor` lists, on the host as they are (Exec).
//
// A sandbox makes all its mounts in a mount namespace of its own, so a build
// that is killed leaves none behind.
package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
)

// A Command is one program to run, or one registered function of this binary.
type Command struct {
	Args   []string  // argv; Args[0] is looked up in PATH (of the sandbox, where there is one)
	Env    []string  // KEY=VALUE, added to a minimal environment; the caller's environment is not passed on
	Dir    string    // working directory; "" is /
	Stdin  io.Reader // nil is /dev/null
	Stdout io.Writer // nil is discarded
	Stderr io.Writer // nil is discarded; the last lines are kept for the error in any case
	Func   string    // in a sandbox: the name of a function given to Main, run in place of Args
}

func (c Command) name() string {
	if c.Func != "" {
		return c.Func
	}
	if len(c.Args) == 0 {
		return "(no command)"
	}
	return c.Args[0]
}

// An ExitError says that a program ran and ended with another code than 0.
type ExitError struct {
	Name string // argv[0] or the function's name
	Code int    // exit code, -1 when a signal ended it
	Tail string // the last lines of its standard error, at most 20
}

func (e *ExitError) Error() string {
	msg := fmt.Sprintf("%s: exit code %d", e.Name, e.Code)
	if e.Tail != "" {
		msg += ":\n" + e.Tail
	}
	return msg
}

// defaultPath is the PATH of Debian's root user.
const defaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Exec runs a program of the host, outside of any sandbox, with a minimal
// environment (PATH, HOME, C.UTF-8 and c.Env).
func Exec(ctx context.Context, c Command) error {
	if len(c.Args) == 0 {
		return errors.New("run a program of the host: no command")
	}
	cmd := exec.CommandContext(ctx, c.Args[0], c.Args[1:]...)
	cmd.Env = append([]string{defaultPath, "HOME=/", "LC_ALL=C.UTF-8", "TZ=UTC"}, c.Env...)
	cmd.Dir = c.Dir
	return wait(ctx, cmd, c)
}

// Look says where the host has the program name, or an error.
func Look(name string) (string, error) {
	return exec.LookPath(name)
}

// wait runs cmd with the streams of c and turns its end into an error.
func wait(ctx context.Context, cmd *exec.Cmd, c Command) error {
	tail := &tailWriter{}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = c.Stdin, c.Stdout, io.Writer(tail)
	if c.Stderr != nil {
		cmd.Stderr = io.MultiWriter(tail, c.Stderr)
	}
	err := cmd.Run()
	if ctx.Err() != nil {
		return fmt.Errorf("run %s: %w", c.name(), ctx.Err())
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return &ExitError{Name: c.name(), Code: exit.ExitCode(), Tail: tail.String()}
	}
	if err != nil {
		return fmt.Errorf("run %s: %w", c.name(), err)
	}
	return nil
}

// tailWriter keeps the last lines of what is written to it.
type tailWriter struct {
	mu  sync.Mutex
	buf []byte
}

const tailBytes = 8 << 10

func (t *tailWriter) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, p...)
	if extra := len(t.buf) - tailBytes; extra > 0 {
		t.buf = append(t.buf[:0], t.buf[extra:]...)
	}
	return len(p), nil
}

func (t *tailWriter) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	lines := strings.Split(strings.TrimSpace(string(t.buf)), "\n")
	if len(lines) > 20 {
		lines = lines[len(lines)-20:]
	}
	return strings.Join(lines, "\n")
}

// Self is the path of the running binary, as a sandbox child is started from.
func self() (string, error) {
	path, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find this program's own file: %w", err)
	}
	return path, nil
}
