// Package host is the only package of the agent that runs programs. It also
// writes files so that a power cut leaves the old or the new one, and speaks to
// systemd.
//
// What acts on the machine takes a Runner, so that tests give a scripted one.
package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// DefaultTimeout ends a program that says nothing about its own limit.
const DefaultTimeout = 2 * time.Minute

// A Command is one program to run. Secrets go through Env or Stdin, never
// through Args: those are for every user to read in /proc.
type Command struct {
	Args    []string
	Env     []string // added to PATH, LANG and HOME
	Dir     string   // "/" if empty
	Stdin   []byte
	User    string        // run as this user and its groups; root if empty
	Timeout time.Duration // DefaultTimeout if 0
}

// A Runner runs commands. Run returns the standard output; a program that ran
// and said no gives an *ExitError.
type Runner interface {
	Run(ctx context.Context, c Command) ([]byte, error)
}

// An ExitError says which program ended how.
type ExitError struct {
	Program string
	Code    int    // -1 if a signal ended it
	Stderr  string // the last lines
	Why     string // "timed out after 2m0s", or a signal's name
}

func (e *ExitError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: ", e.Program)
	if e.Why != "" {
		b.WriteString(e.Why)
	} else {
		fmt.Fprintf(&b, "exit code %d", e.Code)
	}
	if e.Stderr != "" {
		b.WriteString(": " + e.Stderr)
	}
	return b.String()
}

// System runs commands on this machine.
type System struct{}

// maxOutput bounds what is kept of a program's output, in bytes.
const maxOutput = 4 << 20

// Run runs c as the leader of a session of its own: keystone-manage and its
// like read /proc/<process group>/stat and die if that process is not there
// (oslo.messaging's queue manager, LP#2095178).
func (System) Run(ctx context.Context, c Command) ([]byte, error) {
	timeout := c.Timeout
	if timeout == 0 {
		timeout = DefaultTimeout
	}
	limited, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	cmd := exec.CommandContext(limited, c.Args[0], c.Args[1:]...)
	cmd.Dir = c.Dir
	if cmd.Dir == "" {
		cmd.Dir = "/"
	}
	cmd.Env = append([]string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", "HOME=/"}, c.Env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if c.User != "" {
		credential, err := credentialOf(c.User)
		if err != nil {
			return nil, fmt.Errorf("run %s: %w", c.Args[0], err)
		}
		cmd.SysProcAttr.Credential = credential
	}
	if c.Stdin != nil {
		cmd.Stdin = bytes.NewReader(c.Stdin)
	}
	var stdout, stderr tail
	stdout.keep, stderr.keep = maxOutput, 8<<10
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	// The whole session ends with it, and what still holds the pipes is not waited for.
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	err := cmd.Run()
	return stdout.data, describe(c, err, stderr.data, ctx, limited, timeout)
}

func describe(c Command, err error, stderr []byte, ctx, limited context.Context, timeout time.Duration) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return fmt.Errorf("run %s: %w", c.Args[0], ctx.Err())
	}
	e := &ExitError{Program: c.Args[0], Code: -1, Stderr: why(stderr)}
	var exit *exec.ExitError
	switch {
	case limited.Err() != nil:
		e.Why = "timed out after " + timeout.String()
	case errors.As(err, &exit):
		e.Code = exit.ExitCode()
		if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
			e.Why = "ended by " + status.Signal().String()
		}
	default:
		return fmt.Errorf("run %s: %w", c.Args[0], err)
	}
	return e
}

// tail keeps the last bytes written to it.
type tail struct {
	data []byte
	keep int
}

func (t *tail) Write(p []byte) (int, error) {
	t.data = append(t.data, p...)
	if over := len(t.data) - t.keep; over > 0 {
		t.data = append(t.data[:0], t.data[over:]...)
	}
	return len(p), nil
}

// why picks what says most about a failure: the last lines, and before them the
// last one that names an error, as Python puts it above what it was doing.
func why(stderr []byte) string {
	const last = 5
	words := lastLines(stderr, last)
	cause := ""
	for line := range strings.Lines(string(stderr)) {
		if line = strings.TrimSpace(line); strings.Contains(line, "Error: ") || strings.Contains(line, "Exception: ") {
			cause = line
		}
	}
	if cause == "" || strings.Contains(words, cause) {
		return words
	}
	return cause + "; …; " + words
}

// lastLines joins the last n lines that hold something.
func lastLines(text []byte, n int) string {
	var lines []string
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, line)
		}
	}
	if len(lines) > n {
		lines = lines[len(lines)-n:]
	}
	return strings.Join(lines, "; ")
}
