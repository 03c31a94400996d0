package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// maxLines is how many lines of one boot's console are held for matching; the
// file has them all.
const maxLines = 100_000

// tailLines is how much of the console a failure prints.
const tailLines = 40

// notify wakes all who wait. The caller holds n.mu.
func (n *Node) notify() {
	close(n.changed)
	n.changed = make(chan struct{})
}

// newBoot forgets what an earlier boot said.
func (n *Node) newBoot() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.boot++
	n.seen, n.lines, n.logged = nil, nil, 0
	n.notify()
}

// onEvent takes what QEMU says: a reset that the guest asked for begins a boot.
func (n *Node) onEvent(e Event) {
	var d struct {
		Guest bool `json:"guest"`
	}
	if e.Name != "RESET" || json.Unmarshal(e.Data, &d) != nil || !d.Guest {
		return
	}
	n.newBoot()
	n.mu.Lock()
	defer n.mu.Unlock()
	n.resets++
	n.notify()
}

// onRecord takes one line of the status port.
func (n *Node) onRecord(r Record, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if err != nil {
		n.trouble = append(n.trouble, err.Error())
	} else {
		n.seen = append(n.seen, r)
		n.said = append(n.said, r)
		if f, err := os.OpenFile(filepath.Join(n.dir, recordsLog), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644); err == nil {
			_ = json.NewEncoder(f).Encode(r) // a log for humans: nothing rests on it
			f.Close()
		}
	}
	n.notify()
}

// watchConsole reads the console's file as it grows, until the machine is off
// and all was read.
func (n *Node) watchConsole(run *running, drained chan<- struct{}) {
	defer close(drained)
	offset := n.offset
	scan := NewScanner(n.o.Expect...)
	buf := make([]byte, 64<<10)
	for over := false; ; {
		got := n.readConsole(buf, offset)
		offset += int64(got)
		lines := scan.Feed(buf[:got])
		if over && got == 0 {
			lines = append(lines, scan.Rest())
		}
		n.onLines(scan, lines)
		if over && got == 0 {
			return
		}
		if got > 0 {
			continue
		}
		select {
		case <-run.done:
			over = true
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func (n *Node) readConsole(buf []byte, offset int64) int {
	f, err := os.Open(n.machine.console)
	if err != nil {
		return 0 // QEMU has not made it yet
	}
	defer f.Close()
	got, err := f.ReadAt(buf, offset)
	if err != nil && !errors.Is(err, io.EOF) {
		return 0
	}
	return got
}

func (n *Node) onLines(scan *Scanner, lines []string) {
	if len(lines) == 0 {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, line := range lines {
		if what := scan.Trouble(line); what != "" {
			n.trouble = append(n.trouble, what+": "+line)
		}
	}
	n.lines = append(n.lines, lines...)
	n.lines = n.lines[max(0, len(n.lines)-maxLines):]
	n.notify()
}

// Records returns what the node said in this boot.
func (n *Node) Records() []Record {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.seen)
}

// Console returns the lines of this boot's console.
func (n *Node) Console() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.lines)
}

// Said returns the records that came since Start, over all resets.
func (n *Node) Said() []Record {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.said)
}

// Log returns all of the console since Start, over all resets, as it came.
func (n *Node) Log() string {
	n.c.t.Helper()
	f, err := os.Open(n.machine.console)
	if err != nil {
		n.c.t.Fatalf("read the console of %s: %v", n.name, err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.NewSectionReader(f, n.offset, 64<<20))
	if err != nil {
		n.c.t.Fatalf("read the console of %s: %v", n.name, err)
	}
	return string(data)
}

// Trouble returns the console lines of all boots that a healthy machine does
// not print and that the test did not expect.
func (n *Node) Trouble() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.trouble)
}

// WaitReady waits until the node is ready and returns the record that said so.
// It fails the test as soon as the boot went wrong. The bound is for KVM;
// Cluster.Bound stretches it.
func (n *Node) WaitReady(bound time.Duration) Record {
	n.c.t.Helper()
	return n.WaitRecord(bound, "a ready node", Record.Ready)
}

// WaitRecord waits for a record of this boot that match likes; what says in a
// failure what was waited for.
func (n *Node) WaitRecord(bound time.Duration, what string, match func(Record) bool) Record {
	n.c.t.Helper()
	var found Record
	n.wait(bound, what, func() bool {
		i := slices.IndexFunc(n.seen, match)
		if i >= 0 {
			found = n.seen[i]
		}
		return i >= 0
	})
	return found
}

// WaitConsole waits for a console line of this boot that re matches.
func (n *Node) WaitConsole(bound time.Duration, re *regexp.Regexp) string {
	n.c.t.Helper()
	var found string
	next := 0
	boot := -1
	n.wait(bound, fmt.Sprintf("a console line like %q", re), func() bool {
		if boot != n.boot || next > len(n.lines) {
			boot, next = n.boot, 0
		}
		for ; next < len(n.lines); next++ {
			if re.MatchString(n.lines[next]) {
				found = n.lines[next]
				return true
			}
		}
		return false
	})
	return found
}

// WaitReset waits until the machine has reset itself once more than before
// times.
func (n *Node) WaitReset(bound time.Duration, before int) {
	n.c.t.Helper()
	n.wait(bound, "a reset by the machine itself", func() bool { return n.resets > before })
}

// Resets says how often the machine has reset itself since Start.
func (n *Node) Resets() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.resets
}

// wait blocks until done, which is called with n.mu held, or fails the test.
func (n *Node) wait(bound time.Duration, what string, done func() bool) {
	n.c.t.Helper()
	if n.run == nil {
		n.c.t.Fatalf("wait for %s of %s: the machine is off", what, n.name)
	}
	bound = n.c.Bound(bound)
	started := time.Now()
	ctx, cancel := context.WithTimeout(n.c.ctx, bound)
	defer cancel()
	for {
		n.mu.Lock()
		changed, ok, bad := n.changed, done(), n.bad()
		fresh := slices.Clone(n.seen[n.logged:])
		n.logged = len(n.seen)
		n.mu.Unlock()
		for _, r := range fresh {
			n.c.t.Logf("%5.1f s  %v", time.Since(started).Seconds(), r)
		}
		switch {
		case ok:
			n.c.t.Logf("%s: %s after %.1f s", n.name, what, time.Since(started).Seconds())
			return
		case bad != "":
			n.fatal("wait for %s of %s: after %.0f s: %s", what, n.name, time.Since(started).Seconds(), bad)
		}
		select {
		case <-changed:
		case <-n.drained: // all its output was seen; what it was waited for may be in it
			n.mu.Lock()
			ok := done()
			n.mu.Unlock()
			if ok {
				return
			}
			n.fatal("wait for %s of %s: the machine turned itself off after %.0f s (QEMU: %v)", what, n.name, time.Since(started).Seconds(), n.run.err)
		case <-ctx.Done():
			n.fatal("wait for %s of %s: not within %v", what, n.name, bound)
		}
	}
}

// bad says why it is no use to wait on. The caller holds n.mu.
func (n *Node) bad() string {
	switch {
	case len(n.trouble) > 0:
		return "trouble: " + strings.Join(n.trouble[:min(len(n.trouble), 5)], "; ")
	case n.resets > 0 && !n.o.Resets:
		return "the machine reset itself"
	}
	return ""
}

// fatal ends the test with the node's last words.
func (n *Node) fatal(format string, args ...any) {
	n.c.t.Helper()
	n.mu.Lock()
	last := "no status record came in this boot"
	if len(n.seen) > 0 {
		last = "last status record: " + n.seen[len(n.seen)-1].String()
	}
	n.mu.Unlock()
	said, _ := os.ReadFile(n.machine.console) // all boots: a reset empties n.lines
	n.c.t.Fatalf("%s\n%s\nthe last lines of its console:\n%s", fmt.Sprintf(format, args...), last, tailOf(string(said), tailLines))
}

// tailOf returns the last lines of a text, cleaned for a human's eye.
func tailOf(text string, lines int) string {
	text = text[max(0, len(text)-64<<10):]
	var out []string
	for _, line := range strings.Split(text, "\n") {
		if line = Clean([]byte(line)); line != "" {
			out = append(out, "  | "+line)
		}
	}
	return strings.Join(out[max(0, len(out)-lines):], "\n")
}
