package apt

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/ulikunitz/xz"
	"golang.org/x/sync/errgroup"
)

// Indices are the verified package lists of all pockets at one time.
type Indices struct {
	Digest string    // SHA-256 over the digests of the pockets' package lists
	Date   time.Time // of the newest InRelease
	lists  []list
}

// A list is one pocket's decompressed Packages file.
type list struct {
	pocket pocket
	path   string
}

// An indexRecord is what the cache knows of a pocket beside its InRelease.
type indexRecord struct {
	ETag         string
	LastModified string
}

// listsDir is where the cache has the lists, each in a folder named by its digest.
const listsDir = "/apt/lists/"

// maxPackages is the largest Packages file that is read, in bytes; trixie's has 57 MB.
const maxPackages = 512 << 20

// Refresh asks for the three InRelease files, verifies them, and brings the
// Packages files that changed. An InRelease older than the one that was seen
// last is refused: it would take back security updates.
func (a Archive) Refresh(ctx context.Context) (Indices, error) {
	keys, err := a.keyring()
	if err != nil {
		return Indices{}, err
	}
	client := newClient(a.patient())
	pockets := a.pockets()
	idx := Indices{lists: make([]list, len(pockets))}
	dates, digests := make([]time.Time, len(pockets)), make([]string, len(pockets))
	g, ctx := errgroup.WithContext(ctx)
	for i, p := range pockets {
		g.Go(func() error {
			text, err := a.inRelease(ctx, client, p, func(file []byte) ([]byte, error) { return verify(keys, file) })
			if err != nil {
				return fmt.Errorf("verify InRelease of %s: %w", p.name, err)
			}
			r, err := parseRelease(text, p.name, time.Now())
			if err != nil {
				return fmt.Errorf("read InRelease of %s: %w", p.name, err)
			}
			dates[i] = r.date
			path, digest, err := a.packages(ctx, client, p, r)
			idx.lists[i], digests[i] = list{pocket: p, path: path}, digest
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return Indices{}, err
	}
	h := sha256.New()
	for i := range pockets {
		fmt.Fprintln(h, pockets[i].name, digests[i])
		if dates[i].After(idx.Date) {
			idx.Date = dates[i]
		}
	}
	idx.Digest = hex.EncodeToString(h.Sum(nil))
	return idx, nil
}

// inRelease returns the signed text, from the cache if the mirror says that
// nothing changed.
func (a Archive) inRelease(ctx context.Context, client *http.Client, p pocket, check func([]byte) ([]byte, error)) ([]byte, error) {
	url := p.base + "/dists/" + p.name + "/InRelease"
	sum := sha256.Sum256([]byte(url))
	base := filepath.Join(a.Cache, "apt", "release", hex.EncodeToString(sum[:8])+"-"+p.name)
	old, oldErr := os.ReadFile(base)
	var rec indexRecord
	if text, err := os.ReadFile(base + ".json"); err == nil && oldErr == nil {
		_ = json.Unmarshal(text, &rec) // a broken record only costs a full answer
	}
	file, rec, err := a.getSmall(ctx, client, url, rec)
	if err != nil {
		return nil, err
	}
	if file == nil {
		return check(old)
	}
	text, err := check(file)
	if err != nil {
		return nil, err
	}
	if oldErr == nil {
		if err := notOlder(old, text, p.name, check); err != nil {
			return nil, err
		}
	}
	if err := os.MkdirAll(filepath.Dir(base), 0o755); err != nil {
		return nil, fmt.Errorf("make the cache: %w", err)
	}
	record, err := json.Marshal(rec)
	if err != nil {
		return nil, err
	}
	if err := writeAtomic(base, file); err != nil {
		return nil, err
	}
	return text, writeAtomic(base+".json", record)
}

func notOlder(old, text []byte, suite string, check func([]byte) ([]byte, error)) error {
	before, err := check(old)
	if err != nil {
		return nil // the keys changed, or the cache was damaged: nothing to compare with
	}
	was, err := parseRelease(before, suite, time.Time{})
	if err != nil {
		return nil
	}
	is, err := parseRelease(text, suite, time.Time{})
	if err != nil {
		return err
	}
	if is.date.Before(was.date) {
		return fmt.Errorf("it is of %s, older than the one of %s that was seen before: a stale mirror, or a replay; use another --mirror, or --cache DIR to begin anew",
			is.date.Format(time.RFC3339), was.date.Format(time.RFC3339))
	}
	return nil
}

// getSmall fetches a small file, nil when rec's version is still the current.
func (a Archive) getSmall(ctx context.Context, client *http.Client, url string, rec indexRecord) ([]byte, indexRecord, error) {
	p := a.patient()
	var last error
	for try := range p.attempts {
		if try > 0 {
			if err := pause(ctx, p.backoff<<(try-1)); err != nil {
				return nil, rec, err
			}
		}
		file, now, err := getOnce(ctx, client, p, url, rec)
		if err == nil {
			return file, now, nil
		}
		if ctx.Err() != nil {
			return nil, rec, ctx.Err()
		}
		if last = err; errors.Is(err, errGone) {
			break
		}
	}
	return nil, rec, fmt.Errorf("download %s: %w", url, last)
}

func getOnce(ctx context.Context, client *http.Client, p patience, url string, rec indexRecord) ([]byte, indexRecord, error) {
	ctx, cancel := context.WithTimeout(ctx, 4*p.stall)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, rec, err
	}
	if rec.ETag != "" {
		req.Header.Set("If-None-Match", rec.ETag)
	}
	if rec.LastModified != "" {
		req.Header.Set("If-Modified-Since", rec.LastModified)
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, rec, err
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusNotModified:
		return nil, rec, nil
	case http.StatusNotFound, http.StatusGone:
		return nil, rec, errGone
	case http.StatusOK:
	default:
		return nil, rec, fmt.Errorf("the mirror answered %s", resp.Status)
	}
	file, err := io.ReadAll(io.LimitReader(resp.Body, maxRelease+1))
	if err == nil && len(file) > maxRelease {
		err = fmt.Errorf("more than %d bytes", maxRelease)
	}
	return file, indexRecord{ETag: resp.Header.Get("ETag"), LastModified: resp.Header.Get("Last-Modified")}, err
}

// packages brings the pocket's Packages file, decompressed, and returns its
// path in the cache and its digest.
func (a Archive) packages(ctx context.Context, client *http.Client, p pocket, r release) (path, digest string, err error) {
	dir := "main/binary-" + a.Arch + "/"
	plain, ok := r.files[dir+"Packages"]
	if !ok {
		return "", "", fmt.Errorf("read InRelease of %s: it names no %sPackages; is --arch %s right?", p.name, dir, a.Arch)
	}
	path = filepath.Join(a.Cache, listsDir, plain.sha256, "Packages")
	if info, err := os.Stat(path); err == nil && info.Size() == plain.size {
		return path, plain.sha256, nil
	}
	packed, ok := r.files[dir+"Packages.xz"]
	if !ok {
		return "", "", fmt.Errorf("read InRelease of %s: it names no %sPackages.xz", p.name, dir)
	}
	w := wanted{path: path + ".xz", size: packed.size, sha256: packed.sha256}
	base := p.base + "/dists/" + p.name + "/" + dir
	w.url = base + "by-hash/SHA256/" + packed.sha256
	err = download(ctx, client, a.patient(), w, func(int64) {})
	if errors.Is(err, errGone) {
		w.url = base + "Packages.xz" // mirrors without by-hash
		err = download(ctx, client, a.patient(), w, func(int64) {})
	}
	if err != nil {
		return "", "", err
	}
	defer os.Remove(w.path)
	if err := expand(w.path, path, plain); err != nil {
		return "", "", fmt.Errorf("decompress the package list of %s: %w", p.name, err)
	}
	return path, plain.sha256, nil
}

// expand decompresses an .xz file and checks what comes out of it.
func expand(from, to string, want releaseFile) error {
	if want.size > maxPackages {
		return fmt.Errorf("it has %d bytes, more than %d", want.size, maxPackages)
	}
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	r, err := xz.NewReader(bufio.NewReaderSize(in, 1<<20)) // it reads byte by byte
	if err != nil {
		return err
	}
	out, err := os.CreateTemp(filepath.Dir(to), ".tmp-*")
	if err != nil {
		return err
	}
	defer os.Remove(out.Name())
	defer out.Close()
	h := sha256.New()
	n, err := io.Copy(io.MultiWriter(out, h), io.LimitReader(r, want.size+1))
	if err != nil {
		return err
	}
	if n != want.size || hex.EncodeToString(h.Sum(nil)) != want.sha256 {
		return errors.New("its content is not what the signed index says")
	}
	return keep(out, to)
}

func writeAtomic(path string, text []byte) error {
	temp, err := os.CreateTemp(filepath.Dir(path), ".tmp-*")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer os.Remove(temp.Name())
	defer temp.Close()
	if _, err := temp.Write(text); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := temp.Chmod(fs.FileMode(0o644)); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := temp.Sync(); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := os.Rename(temp.Name(), path); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}
