package apt

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

// A wanted is one file to download.
type wanted struct {
	url    string
	path   string // where it goes, by rename of a temporary file beside it
	size   int64
	sha256 string
}

// errGone says that the mirror does not have a file: no further try helps.
var errGone = errors.New("the mirror does not have it (404)")

// newClient follows at most 5 redirects and none from https to http.
func newClient(p patience) *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, MaxIdleConnsPerHost: connections, MaxConnsPerHost: connections,
			DialContext: (&net.Dialer{Timeout: p.stall}).DialContext, TLSHandshakeTimeout: p.stall, ResponseHeaderTimeout: p.stall,
		},
		CheckRedirect: func(req *http.Request, via []*http.Request) error {
			if len(via) > 5 {
				return errors.New("more than 5 redirects")
			}
			if via[len(via)-1].URL.Scheme == "https" && req.URL.Scheme != "https" {
				return errors.New("a redirect from https to http")
			}
			return nil
		},
	}
}

// connections is how many files are fetched at once.
const connections = 8

// download brings one file, with resumed and repeated tries.
func download(ctx context.Context, client *http.Client, p patience, w wanted, moved func(int64)) error {
	if err := os.MkdirAll(filepath.Dir(w.path), 0o755); err != nil {
		return fmt.Errorf("make the store: %w", err)
	}
	temp, err := os.CreateTemp(filepath.Dir(w.path), ".tmp-*")
	if err != nil {
		return fmt.Errorf("make a file in the store: %w", err)
	}
	defer os.Remove(temp.Name())
	defer temp.Close()
	var last error
	for try := range p.attempts {
		if try > 0 {
			if err := pause(ctx, p.backoff<<(try-1)); err != nil {
				return err
			}
		}
		if last = attempt(ctx, client, p, w, temp, moved); last == nil {
			return keep(temp, w.path)
		}
		if errors.Is(last, errGone) || ctx.Err() != nil {
			break
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return fmt.Errorf("download %s: %w", w.url, last)
}

// pause waits between nothing and d: full jitter, so that many builders do not
// come back to a mirror at once.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(time.Duration(rand.Int64N(int64(d) + 1))):
		return nil
	}
}

// attempt goes on from what temp holds, and checks the whole. A whole file
// with another digest is thrown away, so that the next try begins anew.
func attempt(ctx context.Context, client *http.Client, p patience, w wanted, temp *os.File, moved func(int64)) error {
	have, err := temp.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	if have < w.size || w.size == 0 {
		if err := transfer(ctx, client, p, w, temp, have, moved); err != nil {
			return err
		}
	}
	sum, err := sumFile(temp)
	if err != nil {
		return err
	}
	if sum == w.sha256 {
		return nil
	}
	size, err := temp.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	if size < w.size {
		return fmt.Errorf("the mirror ended after %d of %d bytes", size, w.size)
	}
	moved(-size)
	if err := temp.Truncate(0); err != nil {
		return err
	}
	return fmt.Errorf("the mirror sent other content: SHA-256 %s, the signed index says %s", sum, w.sha256)
}

// transfer appends to temp what is missing from byte have on.
func transfer(ctx context.Context, client *http.Client, p patience, w wanted, temp *os.File, have int64, moved func(int64)) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.url, nil)
	if err != nil {
		return err
	}
	if have > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", have))
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode == http.StatusNotFound || resp.StatusCode == http.StatusGone:
		return errGone
	case resp.StatusCode == http.StatusOK && have > 0: // no ranges here: from the beginning
		moved(-have)
		have = 0
		if err := temp.Truncate(0); err != nil {
			return err
		}
	case resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusPartialContent:
		return fmt.Errorf("the mirror answered %s", resp.Status)
	}
	if _, err := temp.Seek(have, io.SeekStart); err != nil {
		return err
	}
	stall := time.AfterFunc(p.stall, func() { cancel(fmt.Errorf("the mirror sent nothing for %v", p.stall)) })
	defer stall.Stop()
	// One byte more than the index says is enough to know that the file is wrong.
	body := io.LimitReader(resp.Body, w.size-have+1)
	_, err = io.Copy(temp, readerFunc(func(b []byte) (int, error) {
		n, err := body.Read(b)
		stall.Reset(p.stall)
		moved(int64(n))
		return n, err
	}))
	if err != nil && context.Cause(ctx) != nil {
		return context.Cause(ctx)
	}
	return err
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(b []byte) (int, error) { return f(b) }

func sumFile(f *os.File) (string, error) {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return "", err
	}
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// keep moves a verified file into place. Two processes that fetch the same
// file bring the same bytes, so the later rename does no harm.
func keep(temp *os.File, path string) error {
	if err := temp.Chmod(0o644); err != nil {
		return fmt.Errorf("set the mode of a file in the store: %w", err)
	}
	if err := os.Rename(temp.Name(), path); err != nil {
		return fmt.Errorf("keep a file in the store: %w", err)
	}
	return nil
}
