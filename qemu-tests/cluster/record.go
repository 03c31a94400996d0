package cluster

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"
)

// maxRecord is the longest status line that is read, in bytes. A node that
// sends more is broken, and must not fill the tester's memory.
const maxRecord = 64 << 10

// A Record is one line of the status port: what a node's agent says about one
// step.
type Record struct {
	Time    time.Time      `json:"time"`
	Node    string         `json:"node"`
	Role    string         `json:"role"`
	Step    string         `json:"step"`
	State   string         `json:"state"` // start, done, failed, waiting or ready
	Message string         `json:"message"`
	Fields  map[string]any `json:"fields"`
}

// states are the values that State may have.
var states = [...]string{"start", "done", "failed", "waiting", "ready"}

// ParseRecord reads one line of the status port. A line without a step or with
// an unknown state is an error; fields that we do not know are not, for a newer
// image may say more.
func ParseRecord(line []byte) (Record, error) {
	if len(line) > maxRecord {
		return Record{}, fmt.Errorf("read status record: %d bytes are more than %d", len(line), maxRecord)
	}
	var r Record
	if err := json.Unmarshal(line, &r); err != nil {
		return Record{}, fmt.Errorf("read status record %.80q: %w", line, err)
	}
	if r.Step == "" {
		return Record{}, fmt.Errorf("read status record %.80q: no step", line)
	}
	if !slices.Contains(states[:], r.State) {
		return Record{}, fmt.Errorf("read status record %.80q: state %q is none of %v", line, r.State, states)
	}
	return r, nil
}

// Field returns one of the record's fields as text, "" when it is not there.
func (r Record) Field(name string) string {
	v, ok := r.Fields[name]
	if !ok || v == nil {
		return ""
	}
	return fmt.Sprint(v)
}

// Ready says whether this is the last record of a good boot.
func (r Record) Ready() bool { return r.Step == "ready" && r.State == "ready" }

func (r Record) String() string {
	return fmt.Sprintf("%s %s %s: %s", r.Node, r.Step, r.State, r.Message)
}

// readRecords hands each line of r to emit, parsed or with the error, until r
// ends. A line that is too long is reported once and skipped.
func readRecords(r io.Reader, emit func(Record, error)) {
	in := bufio.NewReaderSize(r, maxRecord)
	for {
		line, err := in.ReadSlice('\n')
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			emit(Record{}, fmt.Errorf("read status record %.80q: a line of more than %d bytes", line, maxRecord))
			for errors.Is(err, bufio.ErrBufferFull) {
				_, err = in.ReadSlice('\n')
			}
		case len(line) > 1 && err == nil:
			emit(ParseRecord(line))
		}
		if err != nil {
			return // the machine is gone; half a line is its last breath
		}
	}
}
