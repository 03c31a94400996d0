// Package status tells what a node does: one record for each change, as a JSON
// line to the virtio port `trivet.status`, as the file /run/trivet/status.json,
// as a line on the console and in the journal.
//
// A sink that nobody reads never holds the agent up, and no sink shows a
// secret.
package status

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// The states of a step. A boot that went well ends with the step Ready in the
// state Ready.
const (
	Start   = "start"
	Done    = "done"
	Failed  = "failed"
	Waiting = "waiting"
	Ready   = "ready"
)

// A Record is one change.
type Record struct {
	Time    time.Time      `json:"time"` // UTC, RFC 3339
	Node    string         `json:"node"` // empty until the node knows its name
	Role    string         `json:"role"`
	Step    string         `json:"step"`
	State   string         `json:"state"`
	Message string         `json:"message"`
	Fields  map[string]any `json:"fields,omitempty"`
}

// JSON returns the record as one line, with its newline.
func (r Record) JSON() []byte {
	line, err := json.Marshal(r)
	if err != nil { // a field that JSON does not know: the record is worth more than the field
		r.Fields = map[string]any{"fields": fmt.Sprint(r.Fields)}
		line, _ = json.Marshal(r)
	}
	return append(line, '\n')
}

// Lines returns the record for people, one line for each of its message's.
func (r Record) Lines() []string {
	head := fmt.Sprintf("trivet: %s %s", r.Step, r.State)
	if r.Message == "" {
		return []string{head}
	}
	var lines []string
	for text := range strings.SplitSeq(r.Message, "\n") {
		lines = append(lines, head+": "+text)
	}
	return lines
}

// A Sink takes records. It must return soon, and keep its troubles to itself.
type Sink interface {
	Put(Record)
}

// A Reporter hands records to sinks.
type Reporter struct {
	mu     sync.Mutex
	sinks  []Sink
	now    func() time.Time
	node   string
	role   string
	hidden []string
	last   Record
	ready  bool
	open   map[string]Open
}

// An Open is a step that is not done.
type Open struct {
	Step    string    `json:"step"`
	State   string    `json:"state"` // Start, Waiting or Failed
	Message string    `json:"message,omitempty"`
	Since   time.Time `json:"since"` // when it was last begun, or first said to wait or fail
}

// New returns a reporter for the sinks. Now is the clock.
func New(now func() time.Time, sinks ...Sink) *Reporter {
	return &Reporter{now: now, sinks: sinks, open: map[string]Open{}}
}

// Identify sets the node's name and role for the records to come.
func (r *Reporter) Identify(node, role string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.node, r.role = node, role
}

// Hide keeps values out of all records to come, whatever program said them.
func (r *Reporter) Hide(values ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, v := range values {
		if v != "" {
			r.hidden = append(r.hidden, v, "[redacted]")
		}
	}
}

// Say reports a change. Fields may be nil.
func (r *Reporter) Say(step, state, message string, fields map[string]any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	hide := strings.NewReplacer(r.hidden...)
	rec := Record{
		Time: r.now().UTC().Truncate(time.Millisecond), Node: r.node, Role: r.role, Step: step, State: state,
		Message: printable(hide.Replace(message)), Fields: hideFields(hide, fields),
	}
	r.last = rec
	r.note(rec)
	for _, s := range r.sinks {
		s.Put(rec)
	}
}

// note keeps what a record says about how the node is.
func (r *Reporter) note(rec Record) {
	since := rec.Time
	if before, ok := r.open[rec.Step]; ok {
		since = before.Since
	}
	switch rec.State {
	case Ready:
		r.ready = true
		clear(r.open)
	case Done:
		delete(r.open, rec.Step)
	default:
		r.ready = r.ready && rec.State != Failed
		r.open[rec.Step] = Open{rec.Step, rec.State, rec.Message, since}
	}
}

// Unfinished returns the steps that are not done, the longest first.
func (r *Reporter) Unfinished() []Open {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.SortedFunc(maps.Values(r.open), func(a, b Open) int {
		return cmp.Or(a.Since.Compare(b.Since), strings.Compare(a.Step, b.Step))
	})
}

// Ready answers whether the node said that it is ready, and nothing failed since.
func (r *Reporter) Ready() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ready
}

// Last returns the newest record.
func (r *Reporter) Last() Record {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.last
}

func hideFields(hide *strings.Replacer, fields map[string]any) map[string]any {
	if fields == nil {
		return nil
	}
	clean := make(map[string]any, len(fields))
	for k, v := range fields {
		if s, ok := v.(string); ok {
			v = hide.Replace(s)
		}
		clean[k] = v
	}
	return clean
}

// maxMessage bounds a message, in bytes: a console at 115200 baud takes a
// second for it.
const maxMessage = 8 << 10

// printable drops what would move a terminal's cursor or end a line early.
func printable(s string) string {
	if len(s) > maxMessage {
		s = strings.ToValidUTF8(s[:maxMessage], "") + " …"
	}
	return strings.Map(func(c rune) rune {
		if c != '\n' && (c < ' ' || c == 0x7f) {
			return ' '
		}
		return c
	}, strings.ToValidUTF8(strings.TrimSpace(s), "?"))
}
