package apt

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"sort"
	"strconv"
	"strings"
)

// A catalogue is every package that the indices offer.
type catalogue struct {
	offers map[offer]entry
	real   map[string]bool     // names of packages
	givers map[string][]string // virtual name → packages that provide it
	always []string            // names of the essential and required packages, sorted
}

// An offer is where a package lies: the number of its list, and its pool path.
type offer struct {
	list int
	pool string
}

// An entry is one package with the fields that tell dpkg what it needs.
type entry struct {
	Package
	relations string // lines of a stanza
}

// relationFields are the fields of a stanza that matter to a solver when the
// package is installed (Debian Policy §7, and Multi-Arch).
var relationFields = [...]string{"Depends", "Pre-Depends", "Conflicts", "Breaks", "Replaces", "Provides", "Multi-Arch", "Essential", "Protected", "Installed-Size"}

// catalogue reads the lists of idx and checks their digests on the way: they
// were verified when they came, but disks forget too.
func (a Archive) catalogue(idx Indices) (*catalogue, error) {
	c := &catalogue{offers: map[offer]entry{}, real: map[string]bool{}, givers: map[string][]string{}}
	always := map[string]bool{}
	for i, l := range idx.lists {
		if err := c.read(i, l, always); err != nil {
			return nil, fmt.Errorf("read the package list of %s: %w", l.pocket.name, err)
		}
	}
	for n := range always {
		c.always = append(c.always, n)
	}
	sort.Strings(c.always)
	return c, nil
}

func (c *catalogue) read(n int, l list, always map[string]bool) error {
	f, err := os.Open(l.path)
	if err != nil {
		return err
	}
	defer f.Close()
	h := sha256.New()
	err = stanzas(io.TeeReader(f, h), func(m map[string]string) error {
		p, err := packageOf(m)
		if err != nil {
			return err
		}
		p.Security = l.pocket.security
		c.add(n, p, m)
		if p.Essential || m["priority"] == "required" {
			always[p.Name] = true
		}
		return nil
	})
	if hex.EncodeToString(h.Sum(nil)) != l.sha256 {
		return errors.Join(fmt.Errorf("%s was damaged on this disk; it is removed, run the same command again", l.path), os.Remove(l.path))
	}
	return err
}

func (c *catalogue) add(n int, p Package, m map[string]string) {
	var lines strings.Builder
	for _, name := range relationFields {
		if v := m[strings.ToLower(name)]; v != "" {
			lines.WriteString(name + ": " + strings.ReplaceAll(v, "\n", " ") + "\n")
		}
	}
	c.offers[offer{n, p.Pool}] = entry{p, lines.String()}
	c.real[p.Name] = true
	for _, given := range strings.Split(m["provides"], ",") {
		name, _, _ := strings.Cut(strings.TrimSpace(given), " ")
		if name != "" {
			c.givers[name] = append(c.givers[name], p.Name)
		}
	}
}

// packageOf reads one stanza of a Packages file. What it takes from there goes
// into file names and URLs, so it is checked.
func packageOf(m map[string]string) (Package, error) {
	p := Package{
		Name: m["package"], Version: m["version"], Arch: m["architecture"], SHA256: m["sha256"],
		Pool: m["filename"], Essential: m["essential"] == "yes", Source: strings.ReplaceAll(m["source"], " ", ""),
	}
	if p.Source == "" {
		p.Source = p.Name
	}
	var err error
	if p.Size, err = strconv.ParseInt(m["size"], 10, 64); err != nil {
		return Package{}, fmt.Errorf("package %.80q has the size %.80q", p.Name, m["size"])
	}
	return p, p.check()
}

// maxDeb is the largest package file that is fetched, in bytes: an ar member's
// size has ten digits (deb(5)).
const maxDeb = 9_999_999_999

// check says what is wrong with a package of an index or a lock.
func (p Package) check() error {
	switch {
	case !isName(p.Name):
		return fmt.Errorf("%.80q is not the name of a package", p.Name)
	case !isWord(p.Version):
		return fmt.Errorf("package %s: %.80q is not a version", p.Name, p.Version)
	case !isName(p.Arch):
		return fmt.Errorf("package %s: %.80q is not an architecture", p.Name, p.Arch)
	case !isWord(p.Source):
		return fmt.Errorf("package %s: %.80q is not a source package", p.Name, p.Source)
	case !isSHA256(p.SHA256):
		return fmt.Errorf("package %s: %.80q is not a SHA-256", p.Name, p.SHA256)
	case p.Size <= 0 || p.Size > maxDeb:
		return fmt.Errorf("package %s: %d is not the size of a package file", p.Name, p.Size)
	case !isPool(p.Pool):
		return fmt.Errorf("package %s: %.200q is not a path below the mirror", p.Name, p.Pool)
	}
	return nil
}

// isName says whether s may name a package or an architecture (Debian Policy
// §5.6.1): lower-case letters, digits, plus, minus and period. Upper case and
// the underscore, which only invalid packages have, are refused as well.
func isName(s string) bool {
	return s != "" && len(s) <= 200 && s[0] != '-' && s[0] != '+' && s[0] != '.' &&
		strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789+-.") == ""
}

// isWord says whether s is one word of printable ASCII.
func isWord(s string) bool {
	if s == "" || len(s) > 300 {
		return false
	}
	return strings.IndexFunc(s, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune(`/'"\`, r) }) < 0
}

// isPool says whether s is a clean relative path of printable ASCII.
func isPool(s string) bool {
	if s == "" || len(s) > 1000 || path.Clean(s) != s || s[0] == '/' || s == ".." || strings.HasPrefix(s, "../") {
		return false
	}
	return strings.IndexFunc(s, func(r rune) bool { return r <= ' ' || r > '~' || r == '\'' || r == '\\' }) < 0
}

// An AskedError is a package that a set asks for and that cannot be had.
type AskedError struct{ Package, Set, why string }

func (e *AskedError) Error() string { return e.why }

// checkAsked refuses a name that no package of the indices has. Virtual names
// are refused too: which package they mean may change from one day to the next.
func (c *catalogue) checkAsked(set Set) error {
	for _, name := range set.Packages {
		if c.real[name] {
			continue
		}
		err := &AskedError{Package: name, Set: set.Name}
		if givers := c.givers[name]; len(givers) > 0 {
			sort.Strings(givers)
			err.why = fmt.Sprintf("package %q of set %s is virtual; name one that provides it, such as %q", name, set.Name, givers[0])
			return err
		}
		err.why = fmt.Sprintf("no package is called %q, which set %s asks for", name, set.Name)
		if near := c.nearest(name); near != "" {
			err.why += fmt.Sprintf("; did you mean %q?", near)
		}
		return err
	}
	return nil
}

// nearest is the package name with the smallest distance below 4 to name, the
// first by the alphabet of equals.
func (c *catalogue) nearest(name string) string {
	best, dist := "", 4
	for k := range c.real {
		if d := distance(name, k, dist+1); d < dist || d == dist && best != "" && k < best {
			best, dist = k, d
		}
	}
	return best
}

// distance is the Levenshtein distance, or limit if it is not smaller.
func distance(a, b string, limit int) int {
	if len(a)-len(b) >= limit || len(b)-len(a) >= limit {
		return limit
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diag := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diag
			if a[i] != b[j] {
				cost = 1 + min(diag, row[j], row[j+1])
			}
			diag, row[j+1] = row[j+1], cost
		}
	}
	return min(row[len(b)], limit)
}
