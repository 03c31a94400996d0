package cluster_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"trivet/qemu-tests/cluster"
)

const greeting = `{"QMP": {"version": {"qemu": {"major": 10}}, "capabilities": ["oob"]}}` + "\n"

// qemu plays the machine's side: it greets, answers qmp_capabilities, and gives
// every other command to answer, whose text it sends as it is. %d in it is the
// command's id.
func qemu(t *testing.T, greet string, answer func(command string) string) (net.Conn, *sync.WaitGroup) {
	t.Helper()
	ours, theirs := net.Pipe()
	var wg sync.WaitGroup
	wg.Go(func() {
		defer theirs.Close()
		if _, err := io.WriteString(theirs, greet); err != nil {
			return
		}
		for in := bufio.NewScanner(theirs); in.Scan(); {
			var c struct {
				Execute string
				ID      int
			}
			if err := json.Unmarshal(in.Bytes(), &c); err != nil {
				t.Errorf("the client sent %q: %v", in.Bytes(), err)
				return
			}
			text := `{"return": {}, "id": %d}` + "\n"
			if c.Execute != "qmp_capabilities" {
				text = answer(c.Execute)
			}
			if text == "" {
				continue
			}
			if strings.Contains(text, "%d") {
				text = fmt.Sprintf(text, c.ID)
			}
			if _, err := io.WriteString(theirs, text); err != nil {
				return
			}
		}
	})
	t.Cleanup(func() { ours.Close(); wg.Wait() })
	return ours, &wg
}

func soon(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

func TestQMPTellsAnswersFromEvents(t *testing.T) {
	conn, _ := qemu(t, greeting, func(command string) string {
		return `{"timestamp": {"seconds": 1}, "event": "RESET", "data": {"guest": true}}` + "\n" +
			`{"return": "stale", "id": 4711}` + "\n" + `{"return": "` + command + `", "id": %d}` + "\n"
	})
	events := make(chan cluster.Event, 9)
	q, err := cluster.NewQMP(soon(t, 5*time.Second), conn, func(e cluster.Event) { events <- e })
	if err != nil {
		t.Fatal(err)
	}
	got, err := q.Execute(soon(t, 5*time.Second), "query-status", nil)
	if err != nil || string(got) != `"query-status"` {
		t.Errorf(`Execute = %s, %v; want "query-status"`, got, err)
	}
	if e := <-events; e.Name != "RESET" || string(e.Data) != `{"guest": true}` {
		t.Errorf("event = %s %s, want RESET by the guest", e.Name, e.Data)
	}
}

func TestQMPErrors(t *testing.T) {
	for _, tt := range []struct{ name, greet, answer, want string }{
		{"QEMU refuses", greeting, `{"error": {"class": "CommandNotFound", "desc": "no such thing"}, "id": %d}` + "\n", "CommandNotFound: no such thing"},
		{"QEMU stays silent", greeting, "", "no answer"},
		{"no JSON comes", greeting, "boo\n", "QMP message"},
		{"a message without end", greeting, strings.Repeat("x", 2<<20), "too long"},
		{"nobody greets", "", "", "greet QEMU"},
		{"something else greets", "220 smtp ready\n", "", "greet QEMU"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			conn, _ := qemu(t, tt.greet, func(string) string { return tt.answer })
			q, err := cluster.NewQMP(soon(t, 200*time.Millisecond), conn, func(cluster.Event) {})
			if err == nil {
				_, err = q.Execute(soon(t, 200*time.Millisecond), "stop", nil)
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error = %v, want one with %q", err, tt.want)
			}
		})
	}
}

func TestQMPDeathOfTheMachineEndsWaiting(t *testing.T) {
	ours, theirs := net.Pipe()
	go func() {
		defer theirs.Close()
		fmt.Fprint(theirs, greeting)
		in := bufio.NewScanner(theirs)
		in.Scan()
		fmt.Fprint(theirs, `{"return": {}, "id": 1}`+"\n")
		in.Scan()
	}()
	q, err := cluster.NewQMP(soon(t, 5*time.Second), ours, func(cluster.Event) {})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := q.Execute(soon(t, 5*time.Second), "quit", nil); err == nil || !strings.Contains(err.Error(), "closed the connection") {
		t.Errorf("error = %v, want one that says that the machine closed the connection", err)
	}
}

func FuzzQMP(f *testing.F) {
	f.Add(greeting + `{"return": {}, "id": 1}` + "\n")
	f.Add(greeting + `{"event": "SHUTDOWN", "data": {"guest": true}}` + "\n" + `{"error": {"class": "x", "desc": "y"}, "id": 1}`)
	f.Add(greeting + greeting + `{"id": 1}` + "\n\n[]\n")
	f.Fuzz(func(t *testing.T, said string) {
		ours, theirs := net.Pipe()
		go func() { _, _ = io.Copy(io.Discard, theirs) }()
		go func() { _, _ = io.WriteString(theirs, said); theirs.Close() }()
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if q, err := cluster.NewQMP(ctx, ours, func(cluster.Event) {}); err == nil {
			q.Close()
		}
	})
}
