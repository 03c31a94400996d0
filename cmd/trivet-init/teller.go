package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"trivet/firstboot/status"
)

// maxHeld bounds the records that wait for the virtio port's driver.
const maxHeld = 200

// A teller tells what happens: to people by one line on the console for each
// line of a message, and by the kernel's log; to programs by status records.
type teller struct {
	console *os.File // nil if there is none
	kmsg    *os.File // nil until /dev is there
	port    *status.Port
	held    []status.Record
}

// newTeller takes the kernel's own console, which is the standard output of the
// first program.
func newTeller() *teller { return &teller{console: os.Stdout} }

// Say is a boot.Report.
func (t *teller) Say(step, state, message string, fields map[string]any) {
	for line := range strings.Lines(message) {
		t.line(step, state, strings.TrimRight(line, "\n"))
	}
	t.put(status.Record{
		Time: time.Now().UTC().Truncate(time.Millisecond), Step: "initrd-" + step, State: state, Message: message, Fields: fields,
	})
}

// line writes one line. Failures go to the kernel's log as errors, by which they
// reach every console and not only the last one of the command line.
func (t *teller) line(step, state, text string) {
	text = printable(fmt.Sprintf("trivet-init %s %s: %s", step, state, text))
	fmt.Fprintf(t.console, "%s\r\n", text)
	if t.kmsg == nil {
		t.kmsg, _ = os.OpenFile("/dev/kmsg", os.O_WRONLY, 0)
	}
	if t.kmsg == nil {
		return
	}
	level := 15 // facility user, level debug: kept in the log, but not on the console a second time
	if state == "failed" {
		level = 11 // error
	}
	// The kernel takes one line of at most about 1000 bytes a write.
	fmt.Fprintf(t.kmsg, "<%d>%.900s\n", level, text)
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
		if node := statusPort(); node != "" {
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
func statusPort() string {
	names, _ := filepath.Glob("/sys/class/virtio-ports/*/name")
	for _, file := range names {
		name, err := os.ReadFile(file)
		if err == nil && strings.TrimSpace(string(name)) == filepath.Base(status.PortPath) {
			return "/dev/" + filepath.Base(filepath.Dir(file))
		}
	}
	return ""
}
