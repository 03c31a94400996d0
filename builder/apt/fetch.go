package apt

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
)

// store is the path of a package file in the content-addressed store.
func (a Archive) store(sha256 string) string {
	return filepath.Join(a.Cache, "debs", sha256[:2], sha256+".deb")
}

// Fetch brings every package into the store and returns the path of each by
// its SHA-256. What the store has at its right size is not asked for again: a
// file gets its name there only after its digest was checked, and the size
// tells of a file that lost its end when the machine stopped.
func (a Archive) Fetch(ctx context.Context, pkgs []Package) (map[string]string, error) {
	paths := map[string]string{}
	var missing []Package
	var total int64
	for _, p := range pkgs {
		if err := p.check(); err != nil {
			return nil, fmt.Errorf("fetch a package: %w", err)
		}
		if _, twice := paths[p.SHA256]; twice {
			continue
		}
		paths[p.SHA256] = a.store(p.SHA256)
		if info, err := os.Stat(a.store(p.SHA256)); err == nil && info.Size() == p.Size {
			continue
		}
		missing = append(missing, p)
		total += p.Size
	}
	if len(missing) == 0 {
		return paths, nil
	}
	return paths, a.fetchMissing(ctx, missing, total)
}

func (a Archive) fetchMissing(ctx context.Context, missing []Package, total int64) error {
	if err := a.Mirrors.check(); err != nil {
		return err
	}
	mirrors := a.Mirrors.trimmed()
	client := newClient(a.patient(), a.Proxy)
	defer client.CloseIdleConnections()
	var done atomic.Int64
	a.tell("fetch", 0, total)
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(connections)
	for _, p := range missing {
		base := mirrors.Archive
		if p.Security {
			base = mirrors.Security
		}
		w := wanted{url: base + "/" + escapePool(p.Pool), path: a.store(p.SHA256), size: p.Size, sha256: p.SHA256}
		g.Go(func() error {
			err := download(ctx, client, a.patient(), w, func(n int64) { a.tell("fetch", done.Add(n), total) })
			if errors.Is(err, errGone) {
				return fmt.Errorf("fetch %s %s: %w: the archive dropped this version; renew the lock with: trivet lock ROLE", p.Name, p.Version, err)
			}
			if err != nil {
				return fmt.Errorf("fetch %s %s: %w; try again later or with another --mirror", p.Name, p.Version, err)
			}
			return nil
		})
	}
	return g.Wait()
}

// escapePool writes what a pool path may hold beside plain characters (Debian
// Policy §5.6.12: + and ~, epochs are left out) as mirrors understand it.
func escapePool(pool string) string {
	return strings.NewReplacer("%", "%25", "+", "%2B", " ", "%20", "?", "%3F", "#", "%23").Replace(pool)
}
