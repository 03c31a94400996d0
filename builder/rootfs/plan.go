package rootfs

import (
	"fmt"
	"path"
	"sort"
	"strings"
)

// A plan says what an unpacked set of packages puts where, before anything is
// written. Its keys are real paths: every symbolic link in a package's path,
// of this set or of the layers below, is resolved.
type plan struct {
	below *view
	pkgs  []stored
	nodes map[string]*planNode
	dirs  map[string]string // directory as a package names it → real path, for speed
	div   diversions
	db    *belowDB
	lost  map[string]map[string]bool // package → nominal paths that another package took over by Replaces
}

// A planNode is one path that the layer will have.
type planNode struct {
	entry    *entry
	pkg      int    // index in pkgs of the package it comes from; -1: of none
	nominal  string // path as the package names it
	implicit bool   // a directory no package of the set has named so far
	keep     bool   // a directory that the layers below have: it gets their owner and mode
}

// newPlan plans the packages on the layers of below.
func newPlan(below *view, pkgs []stored) (*plan, error) {
	div, err := readDiversions(below)
	if err != nil {
		return nil, err
	}
	p := &plan{
		below: below, pkgs: inUnpackOrder(pkgs), nodes: map[string]*planNode{}, dirs: map[string]string{},
		div: div, db: &belowDB{view: below}, lost: map[string]map[string]bool{},
	}
	if err := p.checkNew(); err != nil {
		return nil, err
	}
	if len(below.layers) == 0 {
		p.mergeUsr()
	}
	for i := range p.pkgs {
		for j := range p.pkgs[i].Entries {
			e := &p.pkgs[i].Entries[j]
			if e.Out || e.Path == "." {
				continue
			}
			if err := p.place(i, e); err != nil {
				return nil, fmt.Errorf("unpack package %s %s: %w", p.pkgs[i].deb.Name, p.pkgs[i].deb.Version, err)
			}
		}
	}
	for _, dir := range databaseDirs() {
		if err := p.ensure(dir); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// checkNew refuses a package that is there already: layers only add.
func (p *plan) checkNew() error {
	status, err := p.db.packages()
	if err != nil {
		return err
	}
	have := map[string]bool{}
	for _, s := range status {
		have[infoName(s)] = true
	}
	for _, s := range p.pkgs {
		if have[infoName(s.stanza)] {
			return fmt.Errorf("unpack package %s %s: it is installed in this layer or one below already", s.deb.Name, s.deb.Version)
		}
		have[infoName(s.stanza)] = true
	}
	return nil
}

// inUnpackOrder sorts by name, with base-files first: the first package that
// has a directory decides its owner and mode, and the order must not depend on
// the caller.
func inUnpackOrder(pkgs []stored) []stored {
	out := append([]stored(nil), pkgs...)
	sort.SliceStable(out, func(i, j int) bool {
		a, b := out[i].deb.Name, out[j].deb.Name
		if (a == "base-files") != (b == "base-files") {
			return a == "base-files"
		}
		return a < b
	})
	return out
}

// mergeUsr puts the links of a merged /usr where base-files expects them: /lib
// and its like for every directory of that name that some package has in /usr.
func (p *plan) mergeUsr() {
	want := map[string]bool{"bin": true, "sbin": true, "lib": true}
	for i := range p.pkgs {
		for _, e := range p.pkgs[i].Entries {
			name, ok := strings.CutPrefix(e.Path, "usr/")
			if ok && e.Kind == kindDir && strings.HasPrefix(name, "lib") && !strings.Contains(name, "/") && isMultilib(name) {
				want[name] = true
			}
		}
	}
	for name := range want {
		p.nodes[name] = &planNode{entry: &entry{Path: name, Kind: kindSymlink, Link: "usr/" + name}, pkg: -1}
	}
}

// isMultilib names the directories besides lib that base-files' preinst
// accepts as links into /usr.
func isMultilib(name string) bool {
	switch name {
	case "lib32", "lib64", "libo32", "libx32":
		return true
	}
	return false
}

// look says what is at a real path: of this plan, or below it.
func (p *plan) look(name string) (kind, target string, err error) {
	if n, ok := p.nodes[name]; ok {
		kind := n.entry.Kind
		if kind == kindHard {
			kind = kindFile
		}
		return kind, n.entry.Link, nil
	}
	n, err := p.below.lookup(name)
	return n.kind, n.target, err
}

// directory returns the real path of the directory that packages call name
// and makes sure that the layer has it.
func (p *plan) directory(name string) (string, error) {
	if name == "." {
		return name, nil
	}
	if real, ok := p.dirs[name]; ok {
		return real, nil
	}
	real, err := resolve(name, p.look)
	if err != nil {
		return "", err
	}
	if err := p.ensure(real); err != nil {
		return "", err
	}
	p.dirs[name] = real
	return real, nil
}

// ensure plans the directory at a real path, with its parents.
func (p *plan) ensure(real string) error {
	if real == "." || p.nodes[real] != nil && p.nodes[real].entry.Kind == kindDir {
		return nil
	}
	if err := p.ensure(path.Dir(real)); err != nil {
		return err
	}
	kind, _, err := p.look(real)
	if err != nil {
		return err
	}
	e := &entry{Path: real, Kind: kindDir, Mode: 0o755}
	switch kind {
	case "":
		p.nodes[real] = &planNode{entry: e, pkg: -1, implicit: true}
	case kindDir:
		p.nodes[real] = &planNode{entry: e, pkg: -1, keep: true}
	default:
		return fmt.Errorf("path /%s would be a directory, but is something else%s", real, p.from(real))
	}
	return nil
}

// place plans one entry of package i.
func (p *plan) place(i int, e *entry) error {
	nominal := e.Path
	if e.Kind != kindDir {
		nominal = p.div.of(nominal, p.pkgs[i].deb.Name)
	}
	parent, err := p.directory(path.Dir(nominal))
	if err != nil {
		return err
	}
	real := path.Join(parent, path.Base(nominal))
	if e.Kind == kindDir {
		return p.placeDir(i, e, real)
	}
	return p.placeFile(i, e, real)
}

// placeDir plans a directory. One that exists stays as it is, also where a
// symbolic link leads to it.
func (p *plan) placeDir(i int, e *entry, real string) error {
	if n, ok := p.nodes[real]; ok && n.entry.Kind == kindDir {
		if n.implicit {
			n.entry, n.pkg, n.implicit = e, i, false
		}
		return nil
	}
	kind, _, err := p.look(real)
	if err != nil {
		return err
	}
	switch kind {
	case "":
		p.nodes[real] = &planNode{entry: e, pkg: i, nominal: e.Path}
		return nil
	case kindSymlink:
		_, err := p.directory(e.Path)
		return err
	case kindDir:
		return nil
	}
	return fmt.Errorf("path /%s is a directory in it, but a file%s", e.Path, p.from(real))
}

// placeFile plans a file or a symbolic link, by dpkg's rules for a path that
// another package has.
func (p *plan) placeFile(i int, e *entry, real string) error {
	kind, _, err := p.look(real)
	if err != nil {
		return err
	}
	mine := &planNode{entry: e, pkg: i, nominal: e.Path}
	if kind == "" {
		p.nodes[real] = mine
		return nil
	}
	if kind == kindDir {
		if e.Kind == kindSymlink && p.same(e, real) {
			return nil
		}
		return fmt.Errorf("path /%s is no directory in it, but one%s", e.Path, p.from(real))
	}
	owners, err := p.owners(real)
	if err != nil {
		return err
	}
	for _, o := range owners {
		switch {
		case o.stanza.get("Package") == p.pkgs[i].deb.Name:
			if p.nodes[real] != nil {
				return fmt.Errorf("path /%s is in it twice, by two names of one directory", e.Path)
			}
		case replaces(p.pkgs[i].stanza, o.stanza):
			p.lose(o.stanza.get("Package"), o.nominal)
		case replaces(o.stanza, p.pkgs[i].stanza):
			p.lose(p.pkgs[i].deb.Name, e.Path)
			return nil
		default:
			return fmt.Errorf("path /%s is also in package %s %s, and neither replaces the other", e.Path, o.stanza.get("Package"), o.stanza.get("Version"))
		}
	}
	p.nodes[real] = mine
	return nil
}

// same says whether the symbolic link e leads to the directory that is in its
// place already.
func (p *plan) same(e *entry, real string) bool {
	target := e.Link
	if !strings.HasPrefix(target, "/") {
		target = path.Join(path.Dir(real), target)
	}
	to, err := resolve(target, p.look)
	return err == nil && to == real
}

// An owner is a package that has a path.
type owner struct {
	stanza  stanza
	nominal string
}

// owners returns the packages that have the file at a real path.
func (p *plan) owners(real string) ([]owner, error) {
	if n, ok := p.nodes[real]; ok {
		if n.pkg < 0 {
			return nil, nil
		}
		return []owner{{p.pkgs[n.pkg].stanza, n.nominal}}, nil
	}
	return p.db.owners(real)
}

// from names the package that a path comes from, for messages.
func (p *plan) from(real string) string {
	owners, err := p.owners(real)
	if err != nil || len(owners) == 0 {
		return " in the tree"
	}
	return fmt.Sprintf(" in package %s", owners[0].stanza.get("Package"))
}

func (p *plan) lose(pkg, nominal string) {
	if p.lost[pkg] == nil {
		p.lost[pkg] = map[string]bool{}
	}
	p.lost[pkg][nominal] = true
}

// replaces says whether the package a may take files over from b.
func replaces(a, b stanza) bool {
	for _, group := range parseRelations(a.get("Replaces")) {
		for _, r := range group {
			if r.holds(b.get("Package"), b.get("Version")) {
				return true
			}
		}
	}
	return false
}

// checkKeys refuses packages that ship a private key, but for the known ones
// that nothing uses.
func (p *plan) checkKeys() error {
	for _, name := range sortedKeys(p.nodes) {
		n := p.nodes[name]
		if n.entry.Key && !keyAllowed("/"+name) {
			return fmt.Errorf("package %s: %w", p.pkgs[n.pkg].deb.Name, secretAt(name, "holds a private key"))
		}
	}
	return nil
}
