package roles

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Load reads the role called name below dir, with all services that it lists.
// The error names file, line and column, and for a misspelt name the nearest
// that exists.
func Load(dir, name string) (Role, error) {
	if !nameOK.MatchString(name) {
		return Role{}, fmt.Errorf("load role %q: a name is a letter and then up to 39 letters, digits and hyphens, in lower case", name)
	}
	data, err := readFile(filepath.Join(dir, name+".yaml"))
	if errors.Is(err, fs.ErrNotExist) {
		return Role{}, fmt.Errorf("load role %s: there is no %s%s", name, filepath.Join(dir, name+".yaml"), didYouMean(name, names(dir)))
	}
	if err != nil {
		return Role{}, fmt.Errorf("load role %s: %w", name, err)
	}
	file := filepath.Join(dir, name+".yaml")
	r, at, err := parseRole(file, name, data)
	if err != nil {
		return Role{}, err
	}
	for i, s := range r.Services {
		if r.Services[i], err = loadService(dir, s.Name, func(msg string) error {
			return at.errorf(fmt.Sprintf("services[%d]", i), "%s", msg)
		}); err != nil {
			return Role{}, err
		}
	}
	return r, checkRole(r, at)
}

// LoadAll reads every role below dir, sorted by name.
func LoadAll(dir string) ([]Role, error) {
	var all []Role
	for _, name := range names(dir) {
		r, err := Load(dir, name)
		if err != nil {
			return nil, err
		}
		all = append(all, r)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("load roles: no file %s", filepath.Join(dir, "*.yaml"))
	}
	return all, nil
}

// loadService reads one service; missing makes the error for one without a file.
func loadService(dir, name string, missing func(msg string) error) (Service, error) {
	folder := filepath.Join(dir, "services")
	file := filepath.Join(folder, name+".yaml")
	data, err := readFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return Service{}, missing(fmt.Sprintf("service %q has no file %s%s", name, file, didYouMean(name, names(folder))))
	}
	if err != nil {
		return Service{}, fmt.Errorf("load service %s: %w", name, err)
	}
	return parseService(file, name, data)
}

// names lists the stems of the YAML files in dir, sorted.
func names(dir string) []string {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	var stems []string
	for _, e := range entries {
		if stem, ok := strings.CutSuffix(e.Name(), ".yaml"); ok && !e.IsDir() {
			stems = append(stems, stem)
		}
	}
	slices.Sort(stems)
	return stems
}

// readFile reads a file of at most maxFile bytes.
func readFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxFile {
		return nil, fmt.Errorf("%s has %d bytes, more than %d", path, info.Size(), maxFile)
	}
	return os.ReadFile(path)
}
