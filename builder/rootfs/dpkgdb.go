package rootfs

import (
	"fmt"
	"path"
	"strings"
)

// Where dpkg keeps its database (dpkg(1), FILES).
const (
	dpkgDir    = "var/lib/dpkg"
	infoDir    = dpkgDir + "/info"
	statusPath = dpkgDir + "/status"
	triggerDir = dpkgDir + "/triggers"
)

// infoName is what a package's files in the info directory begin with: with
// the architecture for a package that can be installed for several.
func infoName(s stanza) string {
	if s.get("Multi-Arch") == "same" {
		return s.get("Package") + ":" + s.get("Architecture")
	}
	return s.get("Package")
}

// belowDB reads dpkg's database of the layers below, each part when it is
// first asked for.
type belowDB struct {
	view     *view
	status   []stanza
	haveStat bool
	paths    map[string][]owner // real path → who has it
}

// packages returns the stanzas of the status file.
func (b *belowDB) packages() ([]stanza, error) {
	if b.haveStat {
		return b.status, nil
	}
	text, err := b.view.read(statusPath)
	if err != nil {
		return nil, fmt.Errorf("read dpkg's status: %w", err)
	}
	if b.status, err = parseStanzas(text); err != nil {
		return nil, fmt.Errorf("read dpkg's status: %w", err)
	}
	b.haveStat = true
	return b.status, nil
}

// owners returns the packages below that have the real path.
func (b *belowDB) owners(real string) ([]owner, error) {
	if b.paths == nil {
		if err := b.load(); err != nil {
			return nil, err
		}
	}
	return b.paths[real], nil
}

// load reads all file lists. It is needed only when a path exists already,
// which is rare.
func (b *belowDB) load() error {
	status, err := b.packages()
	if err != nil {
		return err
	}
	div, err := readDiversions(b.view)
	if err != nil {
		return err
	}
	b.paths = map[string][]owner{}
	real := map[string]string{} // directory → real path
	for _, s := range status {
		text, err := b.view.read(infoDir + "/" + infoName(s) + ".list")
		if err != nil {
			return fmt.Errorf("read the file list of package %s: %w", s.get("Package"), err)
		}
		for name := range strings.SplitSeq(strings.TrimSpace(string(text)), "\n") {
			name = strings.TrimPrefix(name, "/")
			at, err := b.real(real, div.of(name, s.get("Package")))
			if err != nil {
				return err
			}
			b.paths[at] = append(b.paths[at], owner{stanza: s, nominal: name})
		}
	}
	return nil
}

// real resolves the directory part of name.
func (b *belowDB) real(known map[string]string, name string) (string, error) {
	i := strings.LastIndexByte(name, '/')
	if i < 0 {
		return name, nil
	}
	dir, ok := known[name[:i]]
	if !ok {
		var err error
		dir, err = resolve(name[:i], func(p string) (string, string, error) {
			n, err := b.view.lookup(p)
			return n.kind, n.target, err
		})
		if err != nil {
			return "", err
		}
		known[name[:i]] = dir
	}
	return path.Join(dir, name[i+1:]), nil
}
