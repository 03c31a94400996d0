package status

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"
)

// Paths of the sinks on a node.
const (
	PortPath    = "/dev/virtio-ports/trivet.status"
	FilePath    = "/run/trivet/status.json"
	ConsolePath = "/dev/console"
)

// What a device keeps for a reader to come, in bytes, and how often it tries to
// hand it over: the pause doubles from the first to the last.
const (
	maxBacklog = 256 << 10
	firstRetry = 100 * time.Millisecond
	lastRetry  = 15 * time.Second
)

// device writes to a character device that may be missing, and whose reader may
// be. What cannot be written now is kept, the oldest dropped first, and goes out
// before the next or a while later.
type device struct {
	mu      sync.Mutex
	path    string
	fd      int
	backlog []byte
	retry   *time.Timer // nil: nothing waits
	pause   time.Duration
}

func newDevice(path string) *device { return &device{path: path, fd: -1} }

// write never blocks: the device is open with O_NONBLOCK.
func (d *device) write(p []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.backlog = append(d.backlog, p...)
	for len(d.backlog) > maxBacklog {
		d.backlog = d.backlog[bytes.IndexByte(d.backlog, '\n')+1:]
	}
	if d.flush() {
		d.pause = 0
	}
	d.schedule()
}

// again is the timer's.
func (d *device) again() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.retry = nil
	d.flush()
	d.schedule()
}

// schedule sets the timer if something waits.
func (d *device) schedule() {
	switch {
	case len(d.backlog) == 0:
		d.pause = 0
	case d.retry == nil:
		d.pause = min(max(firstRetry, 2*d.pause), lastRetry)
		d.retry = time.AfterFunc(d.pause, d.again)
	}
}

// flush writes what it can, and answers whether the device took anything.
func (d *device) flush() bool {
	if d.fd < 0 {
		fd, err := unix.Open(d.path, unix.O_WRONLY|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
		if err != nil {
			return false
		}
		d.fd = fd
	}
	took := false
	for len(d.backlog) > 0 {
		n, err := unix.Write(d.fd, d.backlog)
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EAGAIN) || err == nil && n == 0:
			return took
		case err != nil: // the device went away; a new one may come under its name
			_ = unix.Close(d.fd)
			d.fd = -1
			return took
		default:
			took = true
			d.backlog = d.backlog[n:]
		}
	}
	d.backlog = nil
	return took
}

// A Port is a virtio serial port: one JSON record a line.
type Port struct{ *device }

// NewPort returns the sink for the device at path.
func NewPort(path string) *Port { return &Port{newDevice(path)} }

// Put writes the record, or keeps it until someone reads.
func (p *Port) Put(r Record) { p.write(r.JSON()) }

// Flush tries now to hand over what is kept, for a program that ends.
func (p *Port) Flush() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.flush()
}

// A Console is a terminal.
type Console struct{ *device }

// NewConsole returns the sink for the device at path.
func NewConsole(path string) *Console { return &Console{newDevice(path)} }

// Put writes the record's lines.
func (c *Console) Put(r Record) {
	for _, line := range r.Lines() {
		c.write([]byte(line + "\r\n"))
	}
}

// A Text writes lines to a stream, such as the journal's.
type Text struct{ W io.Writer }

// Put writes the record's lines.
func (t Text) Put(r Record) {
	for _, line := range r.Lines() {
		fmt.Fprintln(t.W, line)
	}
}

// A File holds the newest record.
type File struct{ Path string }

// Put replaces the file in one step. It lies on a tmpfs: nothing is synced.
func (f File) Put(r Record) {
	temp := f.Path + ".new"
	if os.WriteFile(temp, r.JSON(), 0o644) == nil {
		_ = os.Rename(temp, f.Path)
	}
}

// A Manager is systemd, whose `systemctl status` shows the newest record, and
// which learns that the unit has started when the node is ready. Outside of a
// unit of Type=notify it does nothing.
type Manager struct{}

// Put tells systemd.
func (Manager) Put(r Record) {
	_, _ = daemon.SdNotify(false, "STATUS="+strings.TrimPrefix(r.Lines()[0], "trivet: "))
	if r.State == Ready {
		_, _ = daemon.SdNotify(false, daemon.SdNotifyReady)
	}
}
