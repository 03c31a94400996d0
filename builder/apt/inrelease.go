package apt

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
)

// A kept is an InRelease in the cache, verified again each time it is read.
type kept struct {
	file    []byte
	tags    tags
	release release
}

// tags are what the mirror calls the version of a file that it gave.
type tags struct {
	ETag, LastModified string
	SHA256             string // of the file that they belong to
}

// inRelease asks for the pocket's InRelease and returns what is signed in it.
func (a Archive) inRelease(ctx context.Context, client *http.Client, keys openpgp.EntityList, p pocket) (release, error) {
	url := p.base + "/dists/" + p.name + "/InRelease"
	sum := sha256.Sum256([]byte(url))
	path := filepath.Join(a.Cache, "apt", "release", hex.EncodeToString(sum[:8])+"-"+p.name)
	old, had := readKept(path, keys, p.name)
	file, now, err := a.getSmall(ctx, client, url, old.tags)
	if err != nil {
		return release{}, err
	}
	at := a.At
	if at.IsZero() {
		at = time.Now()
	}
	if had && (file == nil || bytes.Equal(file, old.file)) {
		return old.release, old.release.valid(at, time.Now())
	}
	r, err := readRelease(file, keys, p.name)
	if err != nil {
		return release{}, err
	}
	if had && r.date.Before(old.release.date) {
		return release{}, fmt.Errorf("it is of %s, older than the one of %s that was seen before: a stale mirror, or a replay; use another --mirror, or --cache DIR to begin anew",
			r.date.Format(time.RFC3339), old.release.date.Format(time.RFC3339))
	}
	if err := r.valid(at, time.Now()); err != nil {
		return release{}, err
	}
	return r, writeKept(path, file, now)
}

// readRelease is what the keys signed in file.
func readRelease(file []byte, keys openpgp.EntityList, suite string) (release, error) {
	text, err := verify(keys, file)
	if err != nil {
		return release{}, err
	}
	return parseRelease(text, suite)
}

// readKept reads the InRelease that was seen last. One that no longer verifies
// (the cache was damaged, the keys changed) counts as none.
func readKept(path string, keys openpgp.EntityList, suite string) (kept, bool) {
	file, err := os.ReadFile(path)
	if err != nil {
		return kept{}, false
	}
	k := kept{file: file}
	if k.release, err = readRelease(file, keys, suite); err != nil {
		return kept{}, false
	}
	if text, err := os.ReadFile(path + ".json"); err == nil {
		if json.Unmarshal(text, &k.tags) != nil || k.tags.SHA256 != sumBytes(file) {
			k.tags = tags{} // those of another version: they only cost a full answer
		}
	}
	return k, true
}

func writeKept(path string, file []byte, t tags) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("make the cache: %w", err)
	}
	t.SHA256 = sumBytes(file)
	text, err := json.Marshal(t)
	if err != nil {
		return fmt.Errorf("keep the tags of an InRelease: %w", err)
	}
	if err := writeAtomic(path, file); err != nil {
		return err
	}
	return writeAtomic(path+".json", text)
}

func sumBytes(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// getSmall fetches a small file; it is nil when the mirror says that the
// version of t is still the current one.
func (a Archive) getSmall(ctx context.Context, client *http.Client, url string, t tags) (file []byte, now tags, err error) {
	p := a.patient()
	err = p.retry(ctx, func() error {
		file, now, err = getOnce(ctx, client, p, url, t)
		return err
	})
	if err != nil {
		return nil, tags{}, fmt.Errorf("download %s: %w", redacted(url), err)
	}
	return file, now, nil
}

func getOnce(ctx context.Context, client *http.Client, p patience, url string, t tags) ([]byte, tags, error) {
	ctx, cancel := context.WithTimeout(ctx, 4*p.stall)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, tags{}, err
	}
	if t.ETag != "" {
		req.Header.Set("If-None-Match", t.ETag)
	}
	if t.LastModified != "" {
		req.Header.Set("If-Modified-Since", t.LastModified)
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, tags{}, withoutURL(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusNotModified && t != (tags{}) {
		return nil, t, nil
	}
	if resp.StatusCode != http.StatusOK {
		return nil, tags{}, answered(resp)
	}
	file, err := io.ReadAll(io.LimitReader(resp.Body, maxRelease+1))
	if err == nil && len(file) > maxRelease {
		err = fmt.Errorf("more than %d bytes", maxRelease)
	}
	return file, tags{ETag: resp.Header.Get("ETag"), LastModified: resp.Header.Get("Last-Modified")}, err
}
