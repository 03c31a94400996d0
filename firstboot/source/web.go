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

// How a server is asked. The agent asks again every few seconds for as long as
// it knows nothing, so one round need not be long.
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
				return redirectError(fmt.Sprintf("more than %d redirects", maxRedirects))
			}
			if via[len(via)-1].URL.Scheme == "https" && req.URL.Scheme != "https" {
				return redirectError("a redirect leads from https to http")
			}
			return nil
		},
	}
}

// A redirectError is a redirect that is not followed. Asking again does not help.
type redirectError string

func (e redirectError) Error() string { return string(e) }

// readURL gets a seed's files. Network-config may be missing.
func readURL(ctx context.Context, env Env, base *url.URL) (Payload, error) {
	files := map[string][]byte{}
	for _, name := range names() {
		if name == vendorData {
			continue // not used, so not asked for
		}
		limit := int64(node.MaxDescription)
		if name == "meta-data" {
			limit = node.MaxMetaData
		}
		data, err := env.fetch(ctx, request{client: env.Client, urls: []string{fileURL(base, name)}, limit: limit})
		var status statusError
		if errors.As(err, &status) && name == "network-config" && (status.code == http.StatusNotFound || status.code == http.StatusForbidden) {
			continue
		}
		if err != nil {
			return Payload{}, err
		}
		files[name] = data
	}
	p, err := payload("", files)
	for _, part := range []*Part{&p.UserData, &p.MetaData, &p.NetworkConfig} {
		part.Name = fileURL(base, part.Name)
	}
	return p, err
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
	method, url string
	code        int
	after       time.Duration // what the server asks to wait
}

func (e statusError) Error() string {
	return fmt.Sprintf("%s %s: the server answers %d %s", e.method, e.url, e.code, http.StatusText(e.code))
}

// final answers whether asking again soon makes no sense.
func (e statusError) final(wait bool) bool {
	switch e.code {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return false
	case http.StatusNotFound:
		return !wait
	}
	return e.code < 500
}

// A tooLong is a body above the limit.
type tooLong struct {
	url   string
	limit int64
}

func (e tooLong) Error() string {
	return fmt.Sprintf("GET %s: the answer has more than %d bytes", e.url, e.limit)
}

// A request is for one file.
type request struct {
	client *http.Client
	method string            // GET if empty
	urls   []string          // where it may be; the next is asked where one does not answer at all
	header map[string]string // may hold a token, which is never said
	limit  int64             // bytes of the answer
	wait   bool              // 404 may pass: the server does not know the machine yet
}

// fetch reads a file of one URL.
func (e Env) fetch(ctx context.Context, r request) ([]byte, error) {
	data, _, err := e.fetchFirst(ctx, r)
	return data, err
}

// fetchFirst reads a file from the first URL that answers, again after failures
// that may pass, with a random pause that grows: a rack that gets power at once
// must not ask at once. It returns the URL too.
func (e Env) fetchFirst(ctx context.Context, r request) ([]byte, string, error) {
	backoff := firstBackoff
	for attempt := 1; ; attempt++ {
		data, at, err := askInOrder(ctx, r)
		if err == nil {
			return data, at, nil
		}
		if ctx.Err() != nil || attempt == maxAttempts || isFinal(err, r.wait) {
			return nil, "", fmt.Errorf("%w (attempt %d)", err, attempt)
		}
		var status statusError
		errors.As(err, &status)
		pause := time.Duration(e.Jitter() * float64(backoff))
		if err := e.Sleep(ctx, max(pause, status.after)); err != nil {
			return nil, "", err
		}
		backoff = min(2*backoff, maxBackoff)
	}
}

// askInOrder asks one URL after the other until a server answers, whatever it
// says.
func askInOrder(ctx context.Context, r request) ([]byte, string, error) {
	var all error
	for _, at := range r.urls {
		data, err := getOnce(ctx, r, at)
		var status statusError
		if err == nil || errors.As(err, &status) || isFinal(err, r.wait) {
			return data, at, err
		}
		all = errors.Join(all, err)
	}
	return nil, "", all
}

// isFinal answers whether asking again soon makes no sense.
func isFinal(err error, wait bool) bool {
	var status statusError
	var long tooLong
	var redirect redirectError
	var key pinError
	return errors.As(err, &long) || errors.As(err, &redirect) || errors.As(err, &key) || errors.As(err, &status) && status.final(wait)
}

func getOnce(ctx context.Context, r request, at string) ([]byte, error) {
	method := r.method
	if method == "" {
		method = http.MethodGet
	}
	req, err := http.NewRequestWithContext(ctx, method, at, nil)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, at, err)
	}
	req.Header.Set("User-Agent", "trivet-agent")
	for k, v := range r.header {
		req.Header.Set(k, v)
	}
	res, err := r.client.Do(req)
	if err != nil {
		return nil, err // names method and URL
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		after, _ := strconv.Atoi(res.Header.Get("Retry-After"))
		return nil, statusError{method, at, res.StatusCode, min(max(0, time.Duration(min(after, 3600))*time.Second), maxAfter)}
	}
	data, err := io.ReadAll(io.LimitReader(res.Body, r.limit+1))
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, at, err)
	}
	if int64(len(data)) > r.limit {
		return nil, tooLong{at, r.limit}
	}
	return data, nil
}
