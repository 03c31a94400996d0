package apt

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"time"

	"trivet/builder/host"
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
const solverVersion = "solver 1 "

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
	byPool, always, err := a.catalogue(idx)
	if err != nil {
		return nil, err
	}
	s, err := a.newSolver(ctx, idx)
	if err != nil {
		return nil, err
	}
	defer s.close()
	ask, seen := always, map[string]bool{}
	var all []Package
	for i, set := range sets {
		ask = append(ask, set.Packages...)
		pools, err := s.install(ctx, ask)
		if err != nil {
			return nil, fmt.Errorf("resolve the packages of set %s: %w%s", set.Name, err, suggest(err, set.Packages, byPool))
		}
		var fresh []Package
		for _, pool := range pools {
			p, ok := byPool[pool]
			if !ok {
				return nil, fmt.Errorf("resolve the packages of set %s: apt chose %s, which no index has", set.Name, pool)
			}
			if !seen[pool] {
				seen[pool] = true
				p.Set = set.Name
				fresh = append(fresh, p)
			}
		}
		sort.Slice(fresh, func(i, j int) bool { return fresh[i].Name < fresh[j].Name })
		all = append(all, fresh...)
		a.tell("resolve", int64(i+1), int64(len(sets)))
	}
	return all, nil
}

// A solver is a private apt state that knows only our verified lists.
type solver struct{ dir, conf string }

func (a Archive) newSolver(ctx context.Context, idx Indices) (*solver, error) {
	if err := os.MkdirAll(filepath.Join(a.Cache, "apt"), 0o755); err != nil {
		return nil, fmt.Errorf("make the cache: %w", err)
	}
	dir, err := os.MkdirTemp(filepath.Join(a.Cache, "apt"), ".tmp-solver-")
	if err != nil {
		return nil, fmt.Errorf("make apt's private state: %w", err)
	}
	s := &solver{dir: dir, conf: filepath.Join(dir, "apt.conf")}
	if err := s.prepare(ctx, a.Arch, idx); err != nil {
		s.close()
		return nil, fmt.Errorf("make apt's private state: %w", err)
	}
	return s, nil
}

func (s *solver) close() { os.RemoveAll(s.dir) }

// prepare writes the state. APT_CONFIG is read before everything else
// (apt.conf(5)), so the host's own configuration is never looked at.
func (s *solver) prepare(ctx context.Context, arch string, idx Indices) error {
	for _, d := range []string{"etc/parts", "etc/sources", "etc/trusted", "etc/preferences", "lists/partial", "cache/archives/partial", "log"} {
		if err := os.MkdirAll(filepath.Join(s.dir, d), 0o755); err != nil {
			return err
		}
	}
	conf := fmt.Sprintf(`Dir "%[1]s/";
Dir::Etc "%[1]s/etc";
Dir::Etc::main "none";
Dir::Etc::parts "parts";
Dir::Etc::sourcelist "sources.list";
Dir::Etc::sourceparts "sources";
Dir::Etc::trusted "none";
Dir::Etc::trustedparts "trusted";
Dir::Etc::preferences "none";
Dir::Etc::preferencesparts "preferences";
Dir::State "%[1]s";
Dir::State::lists "%[1]s/lists";
Dir::State::status "%[1]s/status";
Dir::Cache "%[1]s/cache";
Dir::Log "%[1]s/log";
APT::Architecture "%[2]s";
APT::Architectures { "%[2]s"; };
APT::Install-Recommends "false";
APT::Install-Suggests "false";
APT::Sandbox::User "root";
Acquire::Languages "none";
Debug::NoLocking "true";
`, s.dir, arch)
	var sources strings.Builder
	for _, l := range idx.lists {
		fmt.Fprintf(&sources, "deb [trusted=yes] file:%s ./\n", filepath.Dir(l.path))
	}
	for name, text := range map[string]string{"apt.conf": conf, "status": "", "etc/sources.list": sources.String()} {
		if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	_, err := s.apt(ctx, "update")
	return err
}

func (s *solver) apt(ctx context.Context, args ...string) (string, error) {
	var out bytes.Buffer
	err := host.Exec(ctx, host.Command{
		Args: append([]string{"apt-get", "-qq"}, args...), Env: []string{"APT_CONFIG=" + s.conf}, Stdout: &out,
	})
	return out.String(), err
}

// install returns the pool paths that apt-get would fetch for names.
func (s *solver) install(ctx context.Context, names []string) ([]string, error) {
	out, err := s.apt(ctx, append([]string{"--print-uris", "--yes", "--no-remove", "install", "--"}, names...)...)
	if err != nil {
		return nil, err
	}
	return parseURIs(out)
}

// parseURIs reads the lines 'URI' NAME SIZE DIGEST of --print-uris.
func parseURIs(out string) ([]string, error) {
	var pools []string
	for _, line := range strings.Split(out, "\n") {
		rest, ok := strings.CutPrefix(line, "'")
		if !ok {
			continue
		}
		uri, _, ok := strings.Cut(rest, "'")
		path, err := url.PathUnescape(uri)
		_, below, found := strings.Cut(path, listsDir)
		_, pool, slash := strings.Cut(below, "/") // behind the digest of the list
		if !ok || err != nil || !found || !slash {
			return nil, fmt.Errorf("read apt's answer: %.200q is not a package of our lists", line)
		}
		pools = append(pools, pool)
	}
	return pools, nil
}
