package quorum

import (
	"bytes"
	"io"
	"log"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
)

// sparse passes each kind of line on once a minute: Raft says several times a
// second that a peer is away.
type sparse struct {
	to func(line string)

	mu   sync.Mutex
	last map[string]time.Time // by kind
}

const (
	sparseEvery = time.Minute
	sparseKinds = 64
)

// Write takes one line.
func (s *sparse) Write(p []byte) (int, error) {
	line := string(bytes.TrimRight(p, "\n"))
	s.mu.Lock()
	defer s.mu.Unlock()
	kind := kindOf(line)
	if last, ok := s.last[kind]; ok && time.Since(last) < sparseEvery {
		return len(p), nil
	}
	if len(s.last) >= sparseKinds {
		clear(s.last)
	}
	s.last[kind] = time.Now()
	s.to(line)
	return len(p), nil
}

// kindOf is a line without its values, but for the peer.
func kindOf(line string) string {
	var words []string
	for _, w := range strings.Fields(line) {
		if key, _, value := strings.Cut(w, "="); !value || key == "peer" || key == "server-id" {
			words = append(words, w)
		} else if key == "error" {
			break
		}
	}
	return strings.Join(words, " ")
}

// quiet is a logger for Raft: warnings and worse go to the function, which may
// be nil.
func quiet(to func(line string)) hclog.Logger {
	if to == nil {
		return hclog.NewNullLogger()
	}
	return hclog.New(&hclog.LoggerOptions{Name: "raft", Level: hclog.Warn, Output: &sparse{to: to, last: map[string]time.Time{}}, DisableTime: true})
}

// discardLog is for what an HTTP server says of broken connections.
func discardLog() *log.Logger { return log.New(io.Discard, "", 0) }
