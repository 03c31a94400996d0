package apt

import (
	"bytes"
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"trivet/builder/host"
)

// A solver is a private apt state that knows only our verified lists.
type solver struct {
	dir    string
	status *os.File // dpkg's database: what the sets before this one installed
}

// newSolver makes the state in a directory of its own below the cache.
func (a Archive) newSolver(idx Indices) (*solver, error) {
	if err := os.MkdirAll(filepath.Join(a.Cache, "apt"), 0o755); err != nil {
		return nil, fmt.Errorf("make the cache: %w", err)
	}
	removeStale(filepath.Join(a.Cache, "apt"))
	dir, err := os.MkdirTemp(filepath.Join(a.Cache, "apt"), ".tmp-solver-")
	if err != nil {
		return nil, fmt.Errorf("make apt's private state: %w", err)
	}
	s := &solver{dir: dir}
	if err := s.prepare(a.Arch, idx); err != nil {
		s.close()
		return nil, fmt.Errorf("make apt's private state: %w", err)
	}
	return s, nil
}

func (s *solver) close() {
	if s.status != nil {
		s.status.Close()
	}
	os.RemoveAll(s.dir)
}

// aptConf is the whole configuration. apt-get runs in the state's directory,
// so that no path of the cache has to be written in apt's syntax, which knows
// no quoting. APT_CONFIG is read before everything else (apt.conf(5)), so with
// these names the host's own configuration is never looked at. The solver is
// named because newer versions of apt bring others, which choose differently.
const aptConf = `Dir "./";
Dir::Etc "etc";
Dir::Etc::main "none";
Dir::Etc::parts "parts";
Dir::Etc::sourcelist "sources.list";
Dir::Etc::sourceparts "sources";
Dir::Etc::trusted "none";
Dir::Etc::trustedparts "trusted";
Dir::Etc::preferences "none";
Dir::Etc::preferencesparts "preferences";
Dir::State "state";
Dir::State::lists "lists";
Dir::State::status "status";
Dir::Cache "cache";
Dir::Cache::pkgcache "";
Dir::Log "log";
Dir::Bin::dpkg "/bin/false";
APT::Solver "internal";
APT::Architecture "%[1]s";
APT::Architectures { "%[1]s"; };
APT::Install-Recommends "false";
APT::Install-Suggests "false";
APT::Sandbox::User "root";
Acquire::Languages "none";
Debug::NoLocking "true";
`

// listBase is the URL of list number n, of a file tree that does not exist:
// apt-get only names what it would take from there.
const listBase = "file:/trivet/"

// prepare writes the state. The lists are laid where `apt-get update` would put
// them, under the names that it would give them, so that it need not run.
func (s *solver) prepare(arch string, idx Indices) error {
	for _, d := range []string{"etc/parts", "etc/sources", "etc/trusted", "etc/preferences", "state/lists/partial", "cache/archives/partial", "log"} {
		if err := os.MkdirAll(filepath.Join(s.dir, d), 0o755); err != nil {
			return err
		}
	}
	var sources strings.Builder
	for i, l := range idx.lists {
		fmt.Fprintf(&sources, "deb [trusted=yes] %s%d %s main\n", listBase, i, l.pocket.name)
		path, err := filepath.Abs(l.path)
		if err != nil {
			return err
		}
		name := fmt.Sprintf("_trivet_%d_dists_%s_main_binary-%s_Packages", i, l.pocket.name, arch)
		if err := os.Symlink(path, filepath.Join(s.dir, "state/lists", name)); err != nil {
			return err
		}
	}
	for name, text := range map[string]string{"apt.conf": fmt.Sprintf(aptConf, arch), "etc/sources.list": sources.String()} {
		if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	var err error
	s.status, err = os.Create(filepath.Join(s.dir, "state/status"))
	return err
}

// warm has apt-get read the lists into its cache.
func (s *solver) warm(ctx context.Context) error {
	if _, err := s.apt(ctx, "check"); err != nil {
		return fmt.Errorf("have apt read the package lists: %w", err)
	}
	return nil
}

// install returns where apt-get would take names, and what they need beside
// the installed packages, from. It never removes a package of an earlier set.
func (s *solver) install(ctx context.Context, names []string) ([]offer, error) {
	out, err := s.apt(ctx, append([]string{"--print-uris", "--yes", "--no-remove", "install", "--"}, names...)...)
	if err != nil {
		return nil, err
	}
	return parseURIs(out)
}

func (s *solver) apt(ctx context.Context, args ...string) (string, error) {
	var out bytes.Buffer
	err := host.Exec(ctx, host.Command{
		Args: append([]string{"apt-get", "-q"}, args...), Dir: s.dir, Env: []string{"APT_CONFIG=apt.conf"}, Stdout: &out,
	})
	if err != nil {
		return "", explain(err, out.String())
	}
	return out.String(), nil
}

// explain puts what apt-get printed, which names the packages that do not go
// together, beside its exit code.
func explain(err error, out string) error {
	const most = 4 << 10
	if out = strings.TrimSpace(out); out == "" {
		return err
	}
	if len(out) > most {
		out = out[:most] + " …"
	}
	return fmt.Errorf("%w\n%s", err, out)
}

// installed tells the solver that the package is there from now on.
func (s *solver) installed(e entry) error {
	_, err := fmt.Fprintf(s.status, "Package: %s\nStatus: install ok installed\nMaintainer: -\nVersion: %s\nArchitecture: %s\n%sDescription: -\n\n",
		e.Name, e.Version, e.Arch, e.relations)
	return err
}

// parseURIs reads the lines 'URI' NAME SIZE DIGEST of --print-uris.
func parseURIs(out string) ([]offer, error) {
	var list []offer
	for _, line := range strings.Split(out, "\n") {
		rest, ok := strings.CutPrefix(line, "'")
		if !ok {
			continue
		}
		uri, _, closed := strings.Cut(rest, "'")
		below, ours := strings.CutPrefix(uri, listBase)
		number, escaped, slash := strings.Cut(below, "/")
		n, errN := strconv.Atoi(number)
		pool, errP := url.PathUnescape(escaped)
		if !closed || !ours || !slash || errN != nil || errP != nil {
			return nil, fmt.Errorf("read apt's answer: %.200q is not a package of our lists", line)
		}
		list = append(list, offer{n, pool})
	}
	return list, nil
}
