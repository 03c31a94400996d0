package quorum

import (
	"bytes"
	"io"
	"log"

	"github.com/hashicorp/go-hclog"
)

// lines passes what is written on, without the line's end.
type lines func(line string)

func (l lines) Write(p []byte) (int, error) {
	l(string(bytes.TrimRight(p, "\n")))
	return len(p), nil
}

// quiet is a logger for Raft: warnings and worse go to the function, which may
// be nil.
func quiet(to func(line string)) hclog.Logger {
	if to == nil {
		return hclog.NewNullLogger()
	}
	return hclog.New(&hclog.LoggerOptions{Name: "raft", Level: hclog.Warn, Output: lines(to), DisableTime: true})
}

// discardLog is for what an HTTP server says of broken connections.
func discardLog() *log.Logger { return log.New(io.Discard, "", 0) }
