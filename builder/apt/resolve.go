package apt

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"time"

	"golang.org/x/sync/errgroup"
)

// RequestDigest is the digest of what a lock is made for: a lock whose request
// differs is stale.
func RequestDigest(suite, arch string, sets []Set) string {
	h := sha256.New()
	fmt.Fprintf(h, "%q %q\n", suite, arch)
	for _, s := range sets {
		names := append([]string{}, s.Packages...)
		sort.Strings(names)
		fmt.Fprintf(h, "%q %q\n", s.Name, names)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// Resolve has apt-get choose the packages of each set on top of the sets
// before it; the first set also gets every essential and required package. The
// answer is kept by the indices and the sets.
func (a Archive) Resolve(ctx context.Context, idx Indices, sets []Set) (Lock, error) {
	if err := a.check(); err != nil {
		return Lock{}, err
	}
	for _, set := range sets {
		if !isName(set.Name) {
			return Lock{}, fmt.Errorf("resolve the packages of set %q: that is not a name", set.Name)
		}
	}
	request := RequestDigest(a.Suite, a.Arch, sets)
	sum := sha256.Sum256([]byte(solverVersion + idx.Digest + request))
	kept := filepath.Join(a.Cache, "apt", "resolved", hex.EncodeToString(sum[:]))
	if text, err := os.ReadFile(kept); err == nil {
		var lock Lock
		if err := json.Unmarshal(text, &lock); err == nil {
			return lock, nil
		}
	}
	pkgs, err := a.solve(ctx, idx, sets)
	if err != nil {
		return Lock{}, err
	}
	lock := Lock{Version: lockVersion, Suite: a.Suite, Arch: a.Arch, Request: request, Packages: pkgs}
	if lock.Date, err = a.firstSeen(lock, idx.Date); err != nil {
		return Lock{}, err
	}
	text, err := json.Marshal(lock)
	if err != nil {
		return Lock{}, fmt.Errorf("keep the resolved packages: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(kept), 0o755); err != nil {
		return Lock{}, fmt.Errorf("make the cache: %w", err)
	}
	return lock, writeAtomic(kept, text)
}

// solverVersion changes when the same request would be resolved to other packages.
const solverVersion = "solver 2 "

// firstSeen is the archive's date when these very packages were first chosen
// here. The archive is renewed several times a day: with its own date in the
// lock an image would change although no package did.
func (a Archive) firstSeen(lock Lock, now time.Time) (time.Time, error) {
	lock.Date = time.Time{}
	path := filepath.Join(a.Cache, "apt", "dates", lock.Digest())
	if text, err := os.ReadFile(path); err == nil {
		if t, err := time.Parse(time.RFC3339, string(text)); err == nil {
			return t.UTC(), nil
		}
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return time.Time{}, fmt.Errorf("make the cache: %w", err)
	}
	now = now.UTC().Truncate(time.Second)
	return now, writeAtomic(path, []byte(now.Format(time.RFC3339)))
}

// solve runs apt-get for each set and looks its answers up in the indices.
func (a Archive) solve(ctx context.Context, idx Indices, sets []Set) ([]Package, error) {
	a.tell("resolve", 0, int64(len(sets)))
	s, c, err := a.begin(ctx, idx, sets)
	if err != nil {
		return nil, err
	}
	defer s.close()
	var all []Package
	seen := map[string]string{} // package → set
	for i, set := range sets {
		ask := set.Packages
		if i == 0 {
			ask = append(append([]string{}, c.always...), ask...)
		}
		fresh, err := c.layer(ctx, s, ask)
		if err != nil {
			return nil, fmt.Errorf("resolve the packages of set %s: %w", set.Name, err)
		}
		for _, p := range fresh {
			p.Set = set.Name
			if before, twice := seen[p.Name]; twice {
				return nil, fmt.Errorf("resolve the packages of set %s: apt chose %s, which set %s has already", set.Name, p.Name, before)
			}
			seen[p.Name] = set.Name
			all = append(all, p)
		}
		a.tell("resolve", int64(i+1), int64(len(sets)))
	}
	return all, nil
}

// begin reads the lists and has apt read them too, at the same time. The
// caller closes the solver.
func (a Archive) begin(ctx context.Context, idx Indices, sets []Set) (*solver, *catalogue, error) {
	s, err := a.newSolver(idx)
	if err != nil {
		return nil, nil, err
	}
	var c *catalogue
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.warm(ctx) })
	g.Go(func() error {
		var err error
		if c, err = a.catalogue(idx); err != nil {
			return err
		}
		for _, set := range sets {
			if err := c.checkAsked(set); err != nil {
				return err
			}
		}
		return nil
	})
	if err := g.Wait(); err != nil {
		s.close()
		return nil, nil, err
	}
	return s, c, nil
}

// layer is what asking for names adds to what is installed, sorted by name;
// afterwards it is installed too.
func (c *catalogue) layer(ctx context.Context, s *solver, names []string) ([]Package, error) {
	if len(names) == 0 {
		return nil, nil
	}
	offers, err := s.install(ctx, names)
	if err != nil {
		return nil, err
	}
	var fresh []Package
	for _, o := range offers {
		e, ok := c.offers[o]
		if !ok {
			return nil, fmt.Errorf("apt chose %s, which no index has", o.pool)
		}
		if err := s.installed(e); err != nil {
			return nil, fmt.Errorf("write apt's private state: %w", err)
		}
		fresh = append(fresh, e.Package)
	}
	sort.Slice(fresh, func(i, j int) bool { return fresh[i].Name < fresh[j].Name })
	return fresh, nil
}
