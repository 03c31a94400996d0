package cluster

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A running is one process of QEMU.
type running struct {
	qmp  *QMP
	pid  int
	done chan struct{} // closed when the process and the readers of its sockets have ended
	err  error         // what the process ended with; valid after done
	end  context.CancelFunc
}

// greetTime bounds the start of QEMU until it answers on QMP; a busy host needs
// a while to load its 100 MB of libraries.
const greetTime = time.Minute

// launch starts QEMU. Its own output goes to the file log, events to on, status
// records to emit; both are called from other goroutines, one at a time each.
// When ctx ends, or this process does, the machine is killed.
func launch(ctx context.Context, m machine, log string, on func(Event), emit func(Record, error)) (*running, error) {
	out, err := os.OpenFile(log, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	qmpOurs, qmpTheirs, err := socketPair("qmp")
	if err != nil {
		return nil, err
	}
	statusOurs, statusTheirs, err := socketPair("status")
	if err != nil {
		qmpOurs.Close()
		qmpTheirs.Close()
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	cmd := exec.CommandContext(ctx, qemuBinary, m.args()...)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.ExtraFiles = []*os.File{qmpTheirs, statusTheirs} // descriptors 3 and 4
	fmt.Fprintf(out, "%s %q\n", qemuBinary, m.args())
	r := &running{done: make(chan struct{}), end: cancel}
	r.pid, err = r.start(cmd, statusOurs, emit)
	qmpTheirs.Close() // now the child's alone: its death ends our reading
	statusTheirs.Close()
	if err != nil {
		cancel()
		qmpOurs.Close()
		statusOurs.Close()
		return nil, fmt.Errorf("start %s: %w", qemuBinary, err)
	}
	greet, stop := context.WithTimeout(ctx, greetTime)
	defer stop()
	if r.qmp, err = NewQMP(greet, qmpOurs, on); err != nil {
		r.kill()
		return nil, fmt.Errorf("start %s: %w: %s", qemuBinary, err, lastLine(log))
	}
	return r, nil
}

// lastLine returns what QEMU said last, or that it said nothing: the first line
// of the log is our own.
func lastLine(log string) string {
	said, _ := os.ReadFile(log)
	lines := strings.Split(strings.TrimSpace(string(said)), "\n")
	if last := lines[len(lines)-1]; !strings.HasPrefix(last, qemuBinary+" [") {
		return last
	}
	return "it said nothing"
}

// start runs cmd with a goroutine that stays on one thread of the system: the
// death signal is sent when the thread that forked ends (prctl(2)), not when
// the process does.
func (r *running) start(cmd *exec.Cmd, status net.Conn, emit func(Record, error)) (int, error) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		var readers sync.WaitGroup
		readers.Go(func() { readRecords(status, emit) })
		r.err = cmd.Wait()
		// The other end is closed with the process: what was sent is still read.
		readers.Wait()
		status.Close()
		close(r.done)
	}()
	if err := <-started; err != nil {
		return 0, err
	}
	return cmd.Process.Pid, nil
}

// kill ends the process with SIGKILL, as a power cut does, and waits for it.
func (r *running) kill() {
	r.end()
	<-r.done
	if r.qmp != nil {
		r.qmp.Close()
	}
}

// socketPair returns our end as a connection and the child's as a file.
func socketPair(name string) (net.Conn, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("make a socket pair for %s: %w", name, err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), name+strconv.Itoa(fds[0])), os.NewFile(uintptr(fds[1]), name+strconv.Itoa(fds[1]))
	defer ours.Close() // FileConn has its own copy
	conn, err := net.FileConn(ours)
	if err != nil {
		theirs.Close()
		return nil, nil, fmt.Errorf("make a socket pair for %s: %w", name, err)
	}
	return conn, theirs, nil
}
