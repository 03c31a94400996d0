package apt

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"time"
)

// A wanted is one file to download.
type wanted struct {
	url    string
	path   string // where it, or what is made of it, goes; the part file lies beside it
	size   int64
	sha256 string
	finish func(part *os.File, path string) error // makes path of the verified file; nil renames it
}

// newClient goes through the proxy, nil being that of the environment. It follows at most 5 redirects and none from https to http or to
// anything that is neither.
func newClient(p patience, proxy Proxy) *http.Client {
	if proxy == nil {
		proxy = http.ProxyFromEnvironment
	}
	return &http.Client{
		Transport: &http.Transport{
			Proxy: proxy, MaxIdleConnsPerHost: connections, MaxConnsPerHost: connections,
			DialContext: (&net.Dialer{Timeout: p.stall}).DialContext, TLSHandshakeTimeout: p.stall, ResponseHeaderTimeout: p.stall,
		},
		CheckRedirect: func(req *http.Request, via []*http.Request) error {
			if len(via) > 5 {
				return errors.New("more than 5 redirects")
			}
			from, to := via[len(via)-1].URL.Scheme, req.URL.Scheme
			if to != "https" && (to != "http" || from == "https") {
				return fmt.Errorf("a redirect to %s from %s", to, from)
			}
			return nil
		},
	}
}

// connections is how many files are fetched at once.
const connections = 8

// download brings one file. What comes is gathered in a part file, which
// stays when the mirror or this process stops half-way: the next try, of this
// process or a later one, goes on from there.
func download(ctx context.Context, client *http.Client, p patience, w wanted, moved func(int64)) error {
	part, err := openPart(w.path)
	if err != nil {
		return err
	}
	defer part.Close()
	if have, err := part.Seek(0, io.SeekEnd); err == nil {
		moved(have)
	}
	if err := p.retry(ctx, func() error { return attempt(ctx, client, p, w, part, moved) }); err != nil {
		if info, statErr := part.Stat(); part.alone || statErr != nil || info.Size() == 0 {
			os.Remove(part.Name())
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fmt.Errorf("download %s: %w", redacted(w.url), err)
	}
	if w.finish == nil {
		return keep(part.File, w.path)
	}
	defer os.Remove(part.Name())
	return w.finish(part.File, w.path)
}

// attempt goes on from what temp holds, and checks the whole. A whole file
// with another digest is thrown away, so that the next try begins anew.
func attempt(ctx context.Context, client *http.Client, p patience, w wanted, temp *part, moved func(int64)) error {
	have, err := temp.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	if have < w.size || w.size == 0 {
		if err := transfer(ctx, client, p, w, temp, have, moved); err != nil {
			return err
		}
	}
	sum, err := sumFile(temp.File)
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
func transfer(ctx context.Context, client *http.Client, p patience, w wanted, temp *part, have int64, moved func(int64)) error {
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
		return withoutURL(err)
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode == http.StatusOK && have > 0: // no ranges here: from the beginning
		moved(-have)
		have = 0
		if err := temp.Truncate(0); err != nil {
			return err
		}
	case resp.StatusCode == http.StatusRequestedRangeNotSatisfiable:
		return fmt.Errorf("the mirror's file ends at byte %d or before, and the signed index says %d", have, w.size)
	case resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusPartialContent:
		return answered(resp)
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

// withoutURL is what went wrong, without the URL, which the message has already.
func withoutURL(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
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
