package apt

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
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
	sha256 string
}

// maxPackages is the largest Packages file that is read, in bytes; trixie's has 57 MB.
const maxPackages = 512 << 20

// Refresh asks for the three InRelease files, verifies them, and brings the
// Packages files that changed. An InRelease older than the one that was seen
// last is refused: it would take back security updates.
func (a Archive) Refresh(ctx context.Context) (Indices, error) {
	if err := a.check(); err != nil {
		return Indices{}, err
	}
	keys, err := a.keyring()
	if err != nil {
		return Indices{}, err
	}
	client := newClient(a.patient(), a.Proxy)
	defer client.CloseIdleConnections()
	pockets := a.pockets()
	idx := Indices{lists: make([]list, len(pockets))}
	dates, digests := make([]time.Time, len(pockets)), make([]string, len(pockets))
	g, ctx := errgroup.WithContext(ctx)
	for i, p := range pockets {
		g.Go(func() error {
			r, err := a.inRelease(ctx, client, keys, p)
			if err != nil {
				return fmt.Errorf("verify InRelease of %s: %w", p.name, err)
			}
			dates[i] = r.date
			path, digest, err := a.packages(ctx, client, p, r)
			idx.lists[i], digests[i] = list{pocket: p, path: path, sha256: digest}, digest
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

// packages brings the pocket's Packages file, decompressed, and returns its
// path in the cache and its digest.
func (a Archive) packages(ctx context.Context, client *http.Client, p pocket, r release) (path, digest string, err error) {
	dir := "main/binary-" + a.Arch + "/"
	plain, ok := r.files[dir+"Packages"]
	if !ok {
		return "", "", fmt.Errorf("read InRelease of %s: it names no %sPackages; is --arch %s right?", p.name, dir, a.Arch)
	}
	path = filepath.Join(a.Cache, "apt", "lists", plain.sha256, "Packages")
	if info, err := os.Stat(path); err == nil && info.Size() == plain.size {
		return path, plain.sha256, nil
	}
	packed, ok := r.files[dir+"Packages.xz"]
	if !ok {
		return "", "", fmt.Errorf("read InRelease of %s: it names no %sPackages.xz", p.name, dir)
	}
	w := wanted{path: path, size: packed.size, sha256: packed.sha256, finish: func(part *os.File, path string) error {
		if err := expand(part, path, plain); err != nil {
			return fmt.Errorf("decompress the package list of %s: %w", p.name, err)
		}
		return nil
	}}
	var done atomic.Int64
	moved := func(n int64) { a.tell("package list of "+p.name, done.Add(n), packed.size) }
	base := p.base + "/dists/" + p.name + "/" + dir
	w.url = base + "by-hash/SHA256/" + packed.sha256
	err = download(ctx, client, a.patient(), w, moved)
	if errors.Is(err, errGone) {
		w.url = base + "Packages.xz" // mirrors without by-hash
		err = download(ctx, client, a.patient(), w, moved)
	}
	if err != nil {
		return "", "", fmt.Errorf("fetch the package list of %s: %w; try again later or with another --mirror", p.name, err)
	}
	return path, plain.sha256, nil
}

// expand decompresses an .xz file and checks what comes out of it.
func expand(in *os.File, to string, want releaseFile) error {
	if want.size > maxPackages {
		return fmt.Errorf("it has %d bytes, more than %d", want.size, maxPackages)
	}
	if _, err := in.Seek(0, io.SeekStart); err != nil {
		return err
	}
	r, err := xz.NewReader(bufio.NewReaderSize(in, 256<<10))
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
