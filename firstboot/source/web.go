package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"trivet/firstboot/node"
)

// How a seed's server is asked. The agent asks again every few seconds for as
// long as it knows nothing, so one round need not be long.
const (
	maxAttempts  = 5
	firstBackoff = 200 * time.Millisecond
	maxBackoff   = 5 * time.Second
	maxAfter     = 60 * time.Second // of a server's Retry-After
	bodyTime     = 60 * time.Second // for one whole answer
	maxRedirects = 5
)

// NewClient returns the client for seeds: no proxy of the environment, limits on
// each phase, and redirects that are few and never leave https for http.
func NewClient() *http.Client {
	return &http.Client{
		Timeout: bodyTime,
		Transport: &http.Transport{
			DialContext:           (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
			TLSHandshakeTimeout:   10 * time.Second,
			ResponseHeaderTimeout: 10 * time.Second,
			DisableKeepAlives:     true,
			DisableCompression:    true,
		},
		CheckRedirect: func(req *http.Request, via []*http.Request) error {
			if len(via) > maxRedirects {
				return fmt.Errorf("more than %d redirects", maxRedirects)
			}
			if via[0].URL.Scheme == "https" && req.URL.Scheme != "https" {
				return errors.New("a redirect leads from https to http")
			}
			return nil
		},
	}
}

// readURL gets a seed's files. Network-config may be missing.
func readURL(ctx context.Context, env Env, base *url.URL) (Payload, error) {
	files := map[string][]byte{}
	for _, name := range names() {
		data, err := get(ctx, env, fileURL(base, name))
		var status statusError
		if errors.As(err, &status) && name == "network-config" && (status.code == http.StatusNotFound || status.code == http.StatusForbidden) {
			continue
		}
		if err != nil {
			return Payload{}, err
		}
		files[name] = data
	}
	return payload(fileURL(base, ""), files)
}

// fileURL puts a file's name where %s stands, or at the end.
func fileURL(base *url.URL, name string) string {
	s := base.String()
	if strings.Contains(s, "%25s") {
		return strings.ReplaceAll(s, "%25s", name)
	}
	return s + name
}

// A statusError is an answer other than 200.
type statusError struct {
	url   string
	code  int
	after time.Duration // what the server asks to wait
}

func (e statusError) Error() string {
	return fmt.Sprintf("GET %s: the server answers %d %s", e.url, e.code, http.StatusText(e.code))
}

// final answers whether asking again soon makes no sense.
func (e statusError) final() bool {
	switch e.code {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return false
	}
	return e.code < 500
}

// A tooLong is a body above the limit.
type tooLong struct{ url string }

func (e tooLong) Error() string {
	return fmt.Sprintf("GET %s: the answer has more than %d bytes", e.url, node.MaxDescription)
}

// get reads a URL, again after failures that may pass, with a random pause that
// grows: a rack that gets power at once must not ask at once.
func get(ctx context.Context, env Env, at string) ([]byte, error) {
	backoff := firstBackoff
	for attempt := 1; ; attempt++ {
		data, err := getOnce(ctx, env.Client, at)
		if err == nil {
			return data, nil
		}
		var status statusError
		var long tooLong
		if ctx.Err() != nil || attempt == maxAttempts || errors.As(err, &long) || errors.As(err, &status) && status.final() {
			return nil, fmt.Errorf("%w (attempt %d)", err, attempt)
		}
		pause := time.Duration(env.Jitter() * float64(backoff))
		if err := env.Sleep(ctx, max(pause, status.after)); err != nil {
			return nil, err
		}
		backoff = min(2*backoff, maxBackoff)
	}
}

func getOnce(ctx context.Context, client *http.Client, at string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return nil, fmt.Errorf("GET %s: %w", at, err)
	}
	req.Header.Set("User-Agent", "trivet-agent")
	res, err := client.Do(req)
	if err != nil {
		return nil, err // names method and URL
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		after, _ := strconv.Atoi(res.Header.Get("Retry-After"))
		return nil, statusError{at, res.StatusCode, min(max(0, time.Duration(after)*time.Second), maxAfter)}
	}
	data, err := io.ReadAll(io.LimitReader(res.Body, node.MaxDescription+1))
	if err != nil {
		return nil, fmt.Errorf("GET %s: %w", at, err)
	}
	if len(data) > node.MaxDescription {
		return nil, tooLong{at}
	}
	return data, nil
}
