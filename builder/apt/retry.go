package apt

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"
)

// errGone says that the mirror does not have a file: no further try helps.
var errGone = errors.New("the mirror does not have it (404)")

// A refusal is an answer that is not the file.
type refusal struct {
	status string
	code   int
	after  time.Duration // what the mirror asks to wait (RFC 9110 §10.2.3), 0 if it does not say
}

func (r *refusal) Error() string { return "the mirror answered " + r.status }

// final says whether asking again is of no use: the request itself is what the
// mirror does not like, other than by its time or its rate.
func (r *refusal) final() bool {
	switch r.code {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return false
	}
	return r.code >= 400 && r.code < 500
}

// answered is the error of an answer that is not the file.
func answered(resp *http.Response) error {
	if resp.StatusCode == http.StatusNotFound || resp.StatusCode == http.StatusGone {
		return errGone
	}
	r := &refusal{status: resp.Status, code: resp.StatusCode}
	if s, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && s > 0 {
		r.after = min(time.Duration(s)*time.Second, maxAfter)
	}
	return r
}

// maxAfter is the longest wait that a mirror may ask for.
const maxAfter = 30 * time.Second

// retry calls try until it works, at most p.attempts times, with growing
// pauses between. Errors of this machine (a full disk) are not tried again.
func (p patience) retry(ctx context.Context, try func() error) error {
	var last error
	for n := range p.attempts {
		if n > 0 {
			if err := pause(ctx, p.backoff<<(n-1), last); err != nil {
				return err
			}
		}
		last = try()
		if ctx.Err() != nil && last != nil {
			return ctx.Err()
		}
		var r *refusal
		var here *fs.PathError
		if last == nil || errors.Is(last, errGone) || errors.As(last, &r) && r.final() || errors.As(last, &here) {
			return last
		}
	}
	return fmt.Errorf("%w (after %d tries)", last, p.attempts)
}

// pause waits between nothing and d, or as long as the mirror asked for: full
// jitter, so that many builders do not come back to it at once.
func pause(ctx context.Context, d time.Duration, last error) error {
	d = time.Duration(rand.Int64N(int64(d) + 1))
	var r *refusal
	if errors.As(last, &r) && r.after > d {
		d = r.after
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
