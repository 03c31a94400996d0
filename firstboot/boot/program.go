package boot

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"time"
)

// maxTold bounds how many lines of a program's output are told.
const maxTold = 30

// program runs a program of the sealed root and says every 5 s that it still runs.
func (b *Boot) program(ctx context.Context, step string, limit time.Duration, args ...string) (string, int, error) {
	type result struct {
		output string
		code   int
		err    error
	}
	done := make(chan result, 1)
	began := b.Now()
	go func() {
		output, code, err := b.Run(ctx, b.at(newRoot), limit, args...)
		done <- result{output, code, err}
	}()
	tick := time.NewTicker(progressEvery)
	defer tick.Stop()
	// Longer than the runner's own limit: it kills, and then says so.
	timeout := time.NewTimer(limit + 30*time.Second)
	defer timeout.Stop()
	for {
		select {
		case r := <-done:
			return r.output, r.code, r.err
		case <-timeout.C:
			return "", -1, fmt.Errorf("%s cannot be ended after %v", args[0], limit)
		case <-tick.C:
			b.Say(step, "waiting", fmt.Sprintf("for %s, since %.0f s of at most %.0f s", filepath.Base(args[0]), b.Now().Sub(began).Seconds(), limit.Seconds()), nil)
		}
	}
}

// told is a program's output for a message: its last lines, each set off.
func told(output string) string {
	var lines []string
	for line := range strings.Lines(output) {
		if line = strings.TrimRight(line, " \t\r\n"); line != "" {
			lines = append(lines, "  | "+line)
		}
	}
	if cut := len(lines) - maxTold; cut > 0 {
		lines = append([]string{fmt.Sprintf("  | (%d lines before)", cut)}, lines[cut:]...)
	}
	if len(lines) == 0 {
		return "  | (it printed nothing)"
	}
	return strings.Join(lines, "\n")
}
