package apt

import (
	"fmt"
	"os"
	"path"
	"sort"
	"strconv"
	"strings"
)

// catalogue reads every package of the indices, by pool path, and the names of
// the essential and required ones.
func (a Archive) catalogue(idx Indices) (byPool map[string]Package, always []string, err error) {
	byPool = map[string]Package{}
	names := map[string]bool{}
	for _, l := range idx.lists {
		if err := a.readList(l, byPool, names); err != nil {
			return nil, nil, fmt.Errorf("read the package list of %s: %w", l.pocket.name, err)
		}
	}
	for n := range names {
		always = append(always, n)
	}
	sort.Strings(always)
	return byPool, always, nil
}

func (a Archive) readList(l list, byPool map[string]Package, always map[string]bool) error {
	f, err := os.Open(l.path)
	if err != nil {
		return err
	}
	defer f.Close()
	return stanzas(f, func(m map[string]string) error {
		p, err := packageOf(m)
		if err != nil {
			return err
		}
		p.Security = l.pocket.security
		byPool[p.Pool] = p
		if p.Essential || m["priority"] == "required" {
			always[p.Name] = true
		}
		return nil
	})
}

// packageOf reads one stanza of a Packages file. What it takes from there goes
// into file names and URLs, so it is checked.
func packageOf(m map[string]string) (Package, error) {
	p := Package{
		Name: m["package"], Version: m["version"], Arch: m["architecture"], SHA256: m["sha256"],
		Pool: m["filename"], Essential: m["essential"] == "yes", Source: m["source"],
	}
	if p.Source == "" {
		p.Source = p.Name
	}
	var err error
	if p.Size, err = strconv.ParseInt(m["size"], 10, 64); err != nil || p.Size <= 0 {
		return Package{}, fmt.Errorf("package %.80q has the size %.80q", p.Name, m["size"])
	}
	return p, p.check()
}

// check says what is wrong with a package of an index or a lock.
func (p Package) check() error {
	for what, s := range map[string]string{"name": p.Name, "version": p.Version, "architecture": p.Arch} {
		if s == "" || len(s) > 200 || strings.ContainsAny(s, " \t\n/'\"\\") {
			return fmt.Errorf("package %.80q: %.80q is no %s", p.Name, s, what)
		}
	}
	if !isSHA256(p.SHA256) {
		return fmt.Errorf("package %s: %.80q is not a SHA-256", p.Name, p.SHA256)
	}
	if p.Pool == "" || path.Clean(p.Pool) != p.Pool || strings.HasPrefix(p.Pool, "/") || strings.HasPrefix(p.Pool, "..") || strings.ContainsAny(p.Pool, " \t\n\\'") {
		return fmt.Errorf("package %s: %.200q is not a path below the mirror", p.Name, p.Pool)
	}
	return nil
}

// suggest names the closest package when apt-get did not find one.
func suggest(err error, asked []string, byPool map[string]Package) string {
	known := map[string]bool{}
	for _, p := range byPool {
		known[p.Name] = true
	}
	for _, name := range asked {
		if known[name] || !strings.Contains(err.Error(), name) {
			continue
		}
		best, dist := "", 4
		for k := range known {
			if d := distance(name, k, dist+1); d < dist || d == dist && best != "" && k < best {
				best, dist = k, d
			}
		}
		if best != "" {
			return fmt.Sprintf("\nno package is called %q; did you mean %q?", name, best)
		}
		return fmt.Sprintf("\nno package is called %q", name)
	}
	return ""
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
