package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"trivet/firstboot/status"
)

// maxHeld bounds the records that wait for the virtio port's driver.
const maxHeld = 200

// A teller tells what happens: to people by one line for each line of a message
// on every console, and in the kernel's log; to programs by status records.
type teller struct {
	consoles []*os.File
	kmsg     *os.File // nil until /dev is there
	port     *status.Port
	held     []status.Record
}

// newTeller takes the standard output of the first program, which is the last
// console of the kernel command line; the others are found when /sys is there.
func newTeller() *teller { return &teller{consoles: []*os.File{os.Stdout}} }

// Say is a boot.Report.
func (t *teller) Say(step, state, message string, fields map[string]any) {
	if t.kmsg == nil {
		t.open()
	}
	for line := range strings.Lines(message) {
		t.line(printable(fmt.Sprintf("trivet-init %s %s: %s", step, state, strings.TrimRight(line, "\n"))))
	}
	t.put(status.Record{
		Time: time.Now().UTC().Truncate(time.Millisecond), Step: "initrd-" + step, State: state, Message: message, Fields: fields,
	})
}

// open opens all consoles that the kernel writes to, and its log.
func (t *teller) open() {
	t.kmsg, _ = os.OpenFile("/dev/kmsg", os.O_WRONLY, 0)
	active, err := os.ReadFile("/sys/class/tty/console/active")
	if err != nil {
		return
	}
	var all []*os.File
	for _, name := range strings.Fields(string(active)) {
		if f, err := os.OpenFile("/dev/"+name, os.O_WRONLY|unix.O_NOCTTY, 0); err == nil {
			all = append(all, f)
		}
	}
	if len(all) > 0 {
		t.consoles = all
	}
}

// maxLogLine is what the kernel's log takes in one write, with room for its own
// (PRINTKRB_RECORD_MAX of kernel/printk/printk.c is 1024 bytes).
const maxLogLine = 900

func (t *teller) line(text string) {
	for _, c := range t.consoles {
		fmt.Fprintf(c, "%s\r\n", text)
	}
	if t.kmsg == nil {
		return
	}
	for len(text) > 0 {
		part := text[:min(len(text), maxLogLine)]
		text = text[len(part):]
		// Facility user, level debug: in the log, but not on the consoles again.
		fmt.Fprintf(t.kmsg, "<15>%s\n", part)
	}
}

// printable keeps what a disk's label or a program says from moving the cursor.
func printable(s string) string {
	return strings.Map(func(c rune) rune {
		if c < ' ' || c == 0x7f {
			return ' '
		}
		return c
	}, strings.ToValidUTF8(s, "?"))
}

// put writes a record, or holds it until the port's driver is there.
func (t *teller) put(r status.Record) {
	if t.port == nil {
		if node := statusPort("/sys/class/virtio-ports"); node != "" {
			t.port = status.NewPort(node)
		}
	}
	if t.port == nil {
		if len(t.held) < maxHeld {
			t.held = append(t.held, r)
		}
		return
	}
	for _, h := range t.held {
		t.port.Put(h)
	}
	t.held = nil
	t.port.Put(r)
}

// close tries once more to write what the port did not take.
func (t *teller) close() {
	if t.port != nil {
		t.port.Flush()
	}
}

// statusPort returns the node of the virtio port trivet.status, or "". udev would
// link it as /dev/virtio-ports/trivet.status, but is not there yet.
func statusPort(class string) string {
	names, _ := filepath.Glob(filepath.Join(class, "*/name"))
	for _, file := range names {
		name, err := os.ReadFile(file)
		if err == nil && strings.TrimSpace(string(name)) == filepath.Base(status.PortPath) {
			return "/dev/" + filepath.Base(filepath.Dir(file))
		}
	}
	return ""
}
