package host

import (
	"context"
	"errors"
	"os/exec"
	"syscall"
	"time"
)

// RunIn runs a program with root as its root folder, as root, with nothing on
// its standard input. Output is what it printed to standard output and error, as
// it came, the last 64 KiB of it. An exit code other than 0 is no error: err says
// that the program did not run to its end.
//
// The initrd uses it for programs of the root file system that it is about to start.
func RunIn(ctx context.Context, root string, limit time.Duration, args ...string) (output string, code int, err error) {
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	cmd := exec.CommandContext(limited, args[0], args[1:]...)
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", "HOME=/", "TERM=dumb", "SYSTEMD_LOG_COLOR=0"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: root, Setsid: true}
	var out tail
	out.keep = 64 << 10
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	if err = cmd.Run(); err == nil {
		return string(out.data), 0, nil
	}
	var exit *exec.ExitError
	if limited.Err() == nil && errors.As(err, &exit) && exit.Exited() {
		return string(out.data), exit.ExitCode(), nil
	}
	return string(out.data), -1, describe(Command{Args: args}, err, nil, ctx, limited, limit)
}
