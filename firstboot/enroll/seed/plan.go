package seed

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// A plan is what is to be written, before anything is.
type plan struct {
	force   bool
	folders []string // whose parents are to be there; made for their owner alone
	files   []planned
	stale   []string // files of an earlier seed that this one does not have
}

type planned struct {
	File
	data []byte
	keep bool // it may be there already, if it is the same
}

func (p *plan) folder(path string) { p.folders = append(p.folders, path) }

func (p *plan) remove(path string) { p.stale = append(p.stale, path) }

func (p *plan) add(path string, data []byte, mode fs.FileMode, about string) {
	p.files = append(p.files, planned{File: File{path, mode, len(data), about}, data: data})
}

// carryOut writes the plan.
func (p *plan) carryOut() ([]File, error) {
	if err := p.free(); err != nil {
		return nil, err
	}
	for _, dir := range p.folders {
		if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
			return nil, err
		}
		if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
	}
	for _, path := range p.stale {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	var done []File
	for _, f := range p.files {
		if err := writeFile(f.Path, f.data, f.Mode); err != nil {
			return nil, err
		}
		done = append(done, f.File)
	}
	return done, nil
}

// free answers whether nothing is in the way.
func (p *plan) free() error {
	paths := append([]string{}, p.stale...)
	for _, f := range p.files {
		if f.keep {
			if old, err := os.ReadFile(f.Path); err == nil && bytes.Equal(old, f.data) {
				continue
			}
		}
		paths = append(paths, f.Path)
	}
	for _, path := range paths {
		info, err := os.Lstat(path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return err
		case !info.Mode().IsRegular():
			return fmt.Errorf("%s is there and is no file", path)
		case !p.force:
			return fmt.Errorf("%s is there already; take another place, or say that it may be overwritten", path)
		}
	}
	return nil
}

// writeFile writes a file whole or not at all.
func writeFile(path string, data []byte, mode fs.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".new-*") // of mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}

// key plans the key's file, apart from the seed.
func (p *plan) key(f Format, s Seed, o Options) error {
	switch {
	case s.Key == nil && o.KeyOut == "":
		return nil
	case s.Key == nil:
		return errors.New("there is no key to write; the user-data has its secrets in clear text, or none")
	case o.KeyOut == "":
		return errors.New("it is not said where the key goes, which must be another place than the seed's")
	case !bytes.Contains(s.Key, []byte(identityMark)):
		return errors.New("the key is no node's key")
	}
	path, err := filepath.Abs(o.KeyOut)
	if err != nil {
		return err
	}
	dir, err := realPath(filepath.Dir(path))
	if err != nil {
		return err
	}
	places := []string{o.Out}
	for _, f := range p.files {
		places = append(places, filepath.Dir(f.Path))
	}
	for _, place := range places {
		if place, err = realPath(place); err != nil {
			return err
		}
		if within(dir, place) || within(place, dir) {
			return fmt.Errorf("the key would lie beside its bundle: %s and %s; whoever copies that folder has all that is secret about %s. Take two places of which none is in the other", path, o.Out, s.Node)
		}
	}
	text, about := s.Key, "key of "+s.Node+"; hand it over by another way than the seed"
	switch {
	case o.KeyForm == KeySMBIOS && f == SMBIOS && o.URL == "":
		return errors.New("the node takes no key by the way by which its user-data came, and both would be SMBIOS strings; hand the key over as a file, or the seed by another format")
	case o.KeyForm == KeySMBIOS:
		text = []byte(credential("trivet.key", s.Key))
		about += ": -smbios type=11,path=FILE"
	case o.KeyForm != KeyFile:
		return fmt.Errorf("there is no form %q of keys", o.KeyForm)
	}
	p.files = append(p.files, planned{File{path, secretMode, len(text), about}, text, true})
	return nil
}

// realPath follows the links of what is there of a path.
func realPath(path string) (string, error) {
	real, err := filepath.EvalSymlinks(path)
	if !errors.Is(err, fs.ErrNotExist) || filepath.Dir(path) == path {
		return real, err
	}
	if _, err := os.Lstat(path); err == nil {
		return "", fmt.Errorf("%s is a link that leads nowhere", path)
	}
	parent, err := realPath(filepath.Dir(path))
	return filepath.Join(parent, filepath.Base(path)), err
}

// within answers whether a path is a folder or below it.
func within(path, folder string) bool {
	rel, err := filepath.Rel(folder, path)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, "../")
}
