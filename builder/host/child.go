package host

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

// A Func is a function of this binary that runs inside a sandbox: the payload
// comes on stdin, the answer goes to stdout.
type Func func(ctx context.Context, stdin io.Reader, stdout io.Writer) error

// Main must be the first call of main, and of TestMain in packages whose tests
// use a Sandbox. In a sandbox child it does the child's work and exits; in
// every other process it returns at once.
func Main(funcs map[string]Func) {
	if len(os.Args) == 0 || os.Args[0] != childName {
		return
	}
	os.Exit(child(funcs))
}

// setupFailed is the exit code of a child that could not make its sandbox, as
// env(1) and chroot(1) use it.
const setupFailed = 125

func child(funcs map[string]Func) int {
	var s spec
	f := os.NewFile(3, "spec")
	if err := json.NewDecoder(f).Decode(&s); err != nil {
		fmt.Fprintf(os.Stderr, "sandbox: read what to do: %v\n", err)
		return setupFailed
	}
	f.Close()
	if err := enter(s.Mounts); err != nil {
		fmt.Fprintf(os.Stderr, "sandbox: %v\n", err)
		return setupFailed
	}
	if s.Func != "" {
		return callFunc(funcs, s.Func)
	}
	return execArgs(s)
}

func callFunc(funcs map[string]Func, name string) int {
	fn, ok := funcs[name]
	if !ok {
		fmt.Fprintf(os.Stderr, "sandbox: no function %q is registered in this program\n", name)
		return setupFailed
	}
	unix.Umask(0)
	if err := fn(context.Background(), os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// execArgs runs the command as a child of this process, which is PID 1 of the
// sandbox: when it returns, the kernel ends whatever the command left behind.
func execArgs(s spec) int {
	if len(s.Args) == 0 {
		fmt.Fprintln(os.Stderr, "sandbox: no command")
		return setupFailed
	}
	unix.Umask(0o022)
	cmd := exec.Command(s.Args[0], s.Args[1:]...)
	cmd.Env, cmd.Dir = s.Env, s.Dir
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		if ws, ok := exit.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
			return 128 + int(ws.Signal())
		}
		return exit.ExitCode()
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "sandbox: %v\n", err)
		return 127
	}
	return 0
}
