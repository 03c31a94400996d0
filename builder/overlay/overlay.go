// Package overlay reads the overlays/ folder, in which each folder is a
// picture of /, and lays the chosen ones over a root.
//
// An overlay carries no metadata: its files belong to root and are 0644, or
// 0755 where the source is executable; a symlink stays one. Two overlays with
// one path are an error, so the order of overlays has no meaning.
package overlay

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"sort"
	"strings"
)

// TemplateSuffix ends the name of a file that the agent finishes at boot.
const TemplateSuffix = ".tmpl"

// Limits keep a wrong --source from reading a whole disk.
const (
	maxFiles    = 10_000
	maxFileSize = 16 << 20 // bytes
)

// A File is one file or symlink that an overlay brings.
type File struct {
	Path     string      // in the image, without a leading slash
	From     string      // the overlay's name
	Mode     fs.FileMode // 0644 or 0755
	Link     string      // the target, if it is a symlink
	Content  []byte      // nil for a symlink
	Template bool        // the agent renders it at boot
}

// A Tree is what a set of overlays puts into an image, sorted by path.
type Tree struct{ Files []File }

// Read reads the overlays called names below dir. A name without a folder
// brings no files. The error of a collision names both overlays.
func Read(dir string, names []string) (Tree, error) {
	owner := map[string]string{}
	var t Tree
	for _, name := range names {
		files, err := readOne(filepath.Join(dir, name), name)
		if err != nil {
			return Tree{}, err
		}
		for _, f := range files {
			if other, taken := owner[f.Path]; taken {
				return Tree{}, fmt.Errorf("read overlays: /%s is in both overlays/%s and overlays/%s; keep it in one", f.Path, other, name)
			}
			owner[f.Path] = name
		}
		t.Files = append(t.Files, files...)
	}
	if len(t.Files) > maxFiles {
		return Tree{}, fmt.Errorf("read overlays: %d files, more than %d", len(t.Files), maxFiles)
	}
	sort.Slice(t.Files, func(i, j int) bool { return t.Files[i].Path < t.Files[j].Path })
	return t, t.checkParents()
}

func readOne(root, name string) ([]File, error) {
	var files []File
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(root, p)
		if err != nil {
			return err
		}
		f, err := readFile(p, filepath.ToSlash(rel), name, d)
		if err != nil {
			return fmt.Errorf("read overlay %s: %w", name, err)
		}
		files = append(files, f)
		return nil
	})
	if errors.Is(err, fs.ErrNotExist) {
		if _, stat := os.Stat(root); errors.Is(stat, fs.ErrNotExist) {
			return nil, nil
		}
	}
	return files, err
}

func readFile(from, to, overlay string, d fs.DirEntry) (File, error) {
	f := File{Path: to, From: overlay, Template: strings.HasSuffix(to, TemplateSuffix)}
	if f.Template && !strings.HasPrefix(to, "etc/") {
		return File{}, fmt.Errorf("/%s is a template outside of /etc, where nothing can be written at boot", to)
	}
	info, err := d.Info()
	if err != nil {
		return File{}, err
	}
	switch {
	case d.Type()&fs.ModeSymlink != 0:
		f.Link, err = os.Readlink(from)
		return f, err
	case !d.Type().IsRegular():
		return File{}, fmt.Errorf("/%s is neither a file, a directory nor a symlink", to)
	case info.Size() > maxFileSize:
		return File{}, fmt.Errorf("/%s has %d bytes, more than %d", to, info.Size(), maxFileSize)
	}
	f.Mode = 0o644
	if info.Mode()&0o111 != 0 {
		f.Mode = 0o755
	}
	f.Content, err = os.ReadFile(from)
	return f, err
}

// checkParents refuses a file of one overlay where another has a directory.
func (t Tree) checkParents() error {
	owner := map[string]string{}
	for _, f := range t.Files {
		owner[f.Path] = f.From
	}
	for _, f := range t.Files {
		for dir := path.Dir(f.Path); dir != "."; dir = path.Dir(dir) {
			if other, is := owner[dir]; is {
				return fmt.Errorf("read overlays: /%s is a file in overlays/%s and a directory in overlays/%s", dir, other, f.From)
			}
		}
	}
	return nil
}

// Add puts a generated file into the tree, such as the agent's binary. From
// names its maker in the error of a collision.
func (t *Tree) Add(f File) error {
	i := sort.Search(len(t.Files), func(i int) bool { return t.Files[i].Path >= f.Path })
	if i < len(t.Files) && t.Files[i].Path == f.Path {
		return fmt.Errorf("lay overlays: /%s is made by %s and is also in overlays/%s; remove it there", f.Path, f.From, t.Files[i].From)
	}
	t.Files = append(t.Files, File{})
	copy(t.Files[i+1:], t.Files[i:])
	t.Files[i] = f
	return t.checkParents()
}

// Digest is the SHA-256, in hex, of every path, mode, target and content.
func (t Tree) Digest() string {
	h := sha256.New()
	for _, f := range t.Files {
		sum := sha256.Sum256(f.Content)
		fmt.Fprintf(h, "%q %o %q %x\n", f.Path, f.Mode, f.Link, sum)
	}
	return hex.EncodeToString(h.Sum(nil))
}
