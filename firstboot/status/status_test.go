package status

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func clock() time.Time { return time.Date(2026, 11, 22, 10, 0, 0, 123456789, time.UTC) }

// list keeps records.
type list struct{ records []Record }

func (l *list) Put(r Record) { l.records = append(l.records, r) }

func TestRecord(t *testing.T) {
	var l list
	r := New(clock, &l)
	r.Say("agent", Start, "", nil)
	r.Identify("ctl1", "controller")
	r.Hide("hunter2-hunter2", "")
	r.Say("join", Failed, "login with hunter2-hunter2:\n\x1b[31mno\x00 way", map[string]any{"why": "hunter2-hunter2!", "seconds": 1.5})
	want := []string{
		`{"time":"2026-11-22T10:00:00.123Z","node":"","role":"","step":"agent","state":"start","message":""}`,
		`{"time":"2026-11-22T10:00:00.123Z","node":"ctl1","role":"controller","step":"join","state":"failed","message":"login with [redacted]:\n [31mno  way","fields":{"seconds":1.5,"why":"[redacted]!"}}`,
	}
	for i, rec := range l.records {
		if d := cmp.Diff(want[i]+"\n", string(rec.JSON())); d != "" {
			t.Error(d)
		}
	}
	lines := []string{"trivet: join failed: login with [redacted]:", "trivet: join failed:  [31mno  way"}
	if d := cmp.Diff(lines, r.Last().Lines()); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{"trivet: agent start"}, l.records[0].Lines()); d != "" {
		t.Error(d)
	}
}

// TestOddFields: a record that JSON cannot take whole is still a record.
func TestOddFields(t *testing.T) {
	r := Record{Step: "x", Fields: map[string]any{"f": func() {}}}
	var back map[string]any
	if err := json.Unmarshal(r.JSON(), &back); err != nil || back["step"] != "x" {
		t.Errorf("%v: %s", err, r.JSON())
	}
}

func TestLongMessage(t *testing.T) {
	var l list
	New(clock, &l).Say("x", Failed, strings.Repeat("ä", 100_000), nil)
	if n := len(l.records[0].Message); n > maxMessage+8 {
		t.Errorf("the message has %d bytes", n)
	}
}

// TestPortWithoutReader: a full device holds nobody up, keeps the newest records
// within bounds, and hands them over when somebody reads.
func TestPortWithoutReader(t *testing.T) {
	path := filepath.Join(t.TempDir(), "port")
	p := NewPort(path) // the device is missing
	p.Put(Record{Step: "early"})
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	p.Put(Record{Step: "nobody reads"}) // open of a fifo without reader: ENXIO
	reader, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	began := time.Now()
	for range 5000 { // far more than a pipe holds
		p.Put(Record{Step: "flood", Message: strings.Repeat("x", 100)})
	}
	p.Put(Record{Step: "last"})
	if time.Since(began) > 10*time.Second {
		t.Errorf("writing took %s", time.Since(began))
	}
	p.mu.Lock()
	kept := len(p.backlog)
	p.mu.Unlock()
	if kept > maxBacklog {
		t.Errorf("%d bytes are kept", kept)
	}
	var got bytes.Buffer
	buf := make([]byte, 64<<10)
	if err := reader.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	for !strings.Contains(got.String(), `"step":"last"`) {
		n, err := reader.Read(buf)
		if err != nil {
			t.Fatalf("after %d bytes: %v", got.Len(), err)
		}
		got.Write(buf[:n])
	}
	if !strings.Contains(got.String(), `"step":"early"`) || !strings.Contains(got.String(), `"step":"nobody reads"`) {
		t.Error("the first records are missing")
	}
}

// TestPortComesBack: a device whose reader goes away is opened again.
func TestPortComesBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "port")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	p := NewPort(path)
	read := func(want string) {
		t.Helper()
		r, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		if err := r.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		p.Put(Record{Step: want})
		buf := make([]byte, 4096)
		n, err := r.Read(buf)
		if err != nil || !strings.Contains(string(buf[:n]), want) {
			t.Errorf("read %q %v, want %s", buf[:n], err, want)
		}
	}
	read("first")
	p.Put(Record{Step: "lost"}) // EPIPE
	read("second")
}

func TestFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "status.json")
	f := File{Path: path}
	f.Put(Record{Step: "one"})
	f.Put(Record{Step: "two"})
	data, err := os.ReadFile(path)
	if err != nil || !strings.Contains(string(data), `"step":"two"`) || strings.Count(string(data), "\n") != 1 {
		t.Errorf("%s %v", data, err)
	}
	File{Path: "/nowhere/status.json"}.Put(Record{}) // keeps its troubles to itself
}

func TestText(t *testing.T) {
	var b bytes.Buffer
	Text{&b}.Put(Record{Step: "describe", State: Failed, Message: "seed:3:1: no\nnothing is changed"})
	want := "trivet: describe failed: seed:3:1: no\ntrivet: describe failed: nothing is changed\n"
	if d := cmp.Diff(want, b.String()); d != "" {
		t.Error(d)
	}
}

func TestReadyAndUnfinished(t *testing.T) {
	var at time.Time
	now := func() time.Time { at = at.Add(time.Second); return at }
	r := New(now, &list{})
	say := func(step, state string) { r.Say(step, state, state+" said", nil) }
	say("a", Start)
	say("b", Start)
	say("b", Waiting)
	say("a", Done)
	want := []Open{{"b", Waiting, "waiting said", time.Time{}.Add(2 * time.Second).UTC()}}
	if d := cmp.Diff(want, r.Unfinished()); d != "" || r.Ready() {
		t.Errorf("on the way: ready %v, %s", r.Ready(), d)
	}
	say(Ready, Ready)
	if !r.Ready() || len(r.Unfinished()) != 0 {
		t.Errorf("ready: %v, %v", r.Ready(), r.Unfinished())
	}
	say("b", Waiting)
	if !r.Ready() {
		t.Error("a step that waits takes the readiness away")
	}
	say("b", Failed)
	if r.Ready() {
		t.Error("a step that failed leaves the node ready")
	}
}
