package rootfs

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// storeVersion is part of every store path. It changes with the format, with
// the table of excluded paths and with what readEntries accepts.
const storeVersion = "2"

// A stored package is one .deb, decompressed once and kept by its digest:
//
//	manifest.json  the packed
//	control/NAME   the files of its control archive
//	N              the content of the N-th file, with owner, mode and time
//
// Layers are made of hard links to the numbered files, so these are never
// written again.
type stored struct {
	deb Deb
	dir string
	packed
	stanza stanza // of control/control
}

// packed is the manifest of a stored package.
type packed struct {
	Control []controlMeta `json:"control"` // in the archive's order
	Entries []entry       `json:"entries"` // in the archive's order
}

type controlMeta struct {
	Name  string `json:"name"`
	Mode  uint32 `json:"mode"`
	MTime int64  `json:"mtime"`
	Size  int64  `json:"size"`
}

// storeDir is where the package of the digest is kept.
func storeDir(cache, digest string) (string, error) {
	if len(digest) != 64 {
		return "", fmt.Errorf("SHA-256 %q has not 64 digits", digest)
	}
	for _, c := range digest {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return "", fmt.Errorf("SHA-256 %q has another character than 0-9 and a-f", digest)
		}
	}
	return filepath.Join(cache, "unpacked", digest[:2], digest+"."+storeVersion), nil
}

// openStored reads the manifest of a stored package; os.ErrNotExist when the
// package is not in the store.
func openStored(cache string, deb Deb) (stored, error) {
	dir, err := storeDir(cache, deb.SHA256)
	if err != nil {
		return stored{}, fmt.Errorf("package %s: %w", deb.Name, err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "manifest.json"))
	if err != nil {
		return stored{}, err
	}
	s := stored{deb: deb, dir: dir}
	if err := json.Unmarshal(text, &s.packed); err != nil {
		return stored{}, fmt.Errorf("read the store of package %s: %w", deb.Name, err)
	}
	body, err := s.control("control")
	if err != nil {
		return stored{}, err
	}
	if s.stanza, err = parseStanza(body); err != nil {
		return stored{}, fmt.Errorf("package %s: read its control file: %w", deb.Name, err)
	}
	return s, s.checkName()
}

// checkName compares what the caller says of the package with what it says of
// itself. Names become parts of paths and of shell commands, so their letters
// are checked, too (deb-control(5)).
func (s stored) checkName() error {
	if !plainName(s.deb.Name) || !plainName(s.deb.Arch) {
		return fmt.Errorf("package %q for %q: its name has letters that no package's name has", s.deb.Name, s.deb.Arch)
	}
	for _, c := range []struct{ field, want string }{
		{"Package", s.deb.Name}, {"Version", s.deb.Version}, {"Architecture", s.deb.Arch},
	} {
		if got := s.stanza.get(c.field); got != c.want {
			return fmt.Errorf("package %s: its own control file says %s %q where %q was expected", s.deb.Name, c.field, got, c.want)
		}
	}
	return nil
}

func plainName(s string) bool {
	return s != "" && s[0] != '.' && s[0] != '-' && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789+-.") == ""
}

// has says whether the package has the control file name.
func (s stored) has(name string) bool {
	for _, c := range s.Control {
		if c.Name == name {
			return true
		}
	}
	return false
}

// control returns a control file; nil when the package has none of that name.
func (s stored) control(name string) ([]byte, error) {
	if !s.has(name) {
		return nil, nil
	}
	body, err := os.ReadFile(filepath.Join(s.dir, "control", name))
	if err != nil {
		return nil, fmt.Errorf("read the store of package %s: %w", s.deb.Name, err)
	}
	return body, nil
}

// content is the path of the n-th file.
func (s stored) content(n int) string {
	return filepath.Join(s.dir, strconv.Itoa(n))
}

// loadAll opens all packages, which must be in the store, and marks their
// part of the store as used now.
func loadAll(in Inputs, debs []Deb) ([]stored, error) {
	list := make([]stored, len(debs))
	err := eachParallel(in.jobs(), len(debs), func(i int) error {
		var err error
		list[i], err = openStored(in.Cache, debs[i])
		now := time.Now()
		_ = os.Chtimes(filepath.Dir(list[i].dir), now, now)
		return err
	})
	return list, err
}

// missing returns the packages that are not in the store.
func missing(in Inputs, debs []Deb) ([]Deb, error) {
	var out []Deb
	seen := map[string]bool{}
	for _, d := range debs {
		dir, err := storeDir(in.Cache, d.SHA256)
		if err != nil {
			return nil, fmt.Errorf("package %s: %w", d.Name, err)
		}
		_, err = os.Stat(filepath.Join(dir, "manifest.json"))
		if errors.Is(err, os.ErrNotExist) && !seen[d.SHA256] {
			seen[d.SHA256] = true
			out = append(out, d)
		} else if err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("look for package %s in the store: %w", d.Name, err)
		}
	}
	return out, nil
}
