package rootfs

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// A view is what an overlay of layers would show, looked up from outside: no
// lookup follows a symbolic link on the host.
type view struct {
	layers []string // lowest first
	nodes  map[string]viewNode
}

// A viewNode is one path of a view.
type viewNode struct {
	kind   string   // kindFile, kindDir, kindSymlink; "" when there is nothing
	host   string   // where it lies on the host; of a directory, the topmost
	target string   // of a symbolic link
	dirs   []string // of a directory: all that the overlay merges, topmost first
	stat   unix.Stat_t
}

func newView(layers []string) *view {
	return &view{layers: layers, nodes: map[string]viewNode{}}
}

// lookup returns what the view has at the clean relative path name, without
// following a symbolic link in any component.
func (v *view) lookup(name string) (viewNode, error) {
	if n, ok := v.nodes[name]; ok {
		return n, nil
	}
	var dirs []string
	if name == "." {
		for i := len(v.layers) - 1; i >= 0; i-- {
			dirs = append(dirs, v.layers[i])
		}
	} else {
		parent, err := v.lookup(path.Dir(name))
		if err != nil {
			return viewNode{}, err
		}
		for _, d := range parent.dirs {
			dirs = append(dirs, filepath.Join(d, path.Base(name)))
		}
	}
	n, err := merge(dirs)
	if err != nil {
		return viewNode{}, err
	}
	v.nodes[name] = n
	return n, nil
}

// merge looks at the candidates for one path, topmost first, by overlayfs'
// rules (Documentation/filesystems/overlayfs.rst): a character device 0/0 is a
// whiteout, directories merge down to the first opaque one, anything else
// hides what is below.
func merge(candidates []string) (viewNode, error) {
	var n viewNode
	for _, host := range candidates {
		var st unix.Stat_t
		err := unix.Lstat(host, &st)
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
			continue
		}
		if err != nil {
			return n, &os.PathError{Op: "lstat", Path: host, Err: err}
		}
		if st.Mode&unix.S_IFMT != unix.S_IFDIR {
			if n.kind == "" {
				return leaf(host, st)
			}
			return n, nil
		}
		if n.kind == "" {
			n = viewNode{kind: kindDir, host: host, stat: st}
		}
		n.dirs = append(n.dirs, host)
		if opaque(host) {
			break
		}
	}
	return n, nil
}

func leaf(host string, st unix.Stat_t) (viewNode, error) {
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFLNK:
		target, err := os.Readlink(host)
		return viewNode{kind: kindSymlink, host: host, target: target, stat: st}, err
	case unix.S_IFCHR:
		if st.Rdev == 0 {
			return viewNode{}, nil // whiteout
		}
	}
	return viewNode{kind: kindFile, host: host, stat: st}, nil
}

// The attribute that makes an overlay's directory hide the ones below it: the
// first as root, the second with the mount option userxattr.
const (
	opaqueTrusted = "trusted.overlay.opaque"
	opaqueUser    = "user.overlay.opaque"
)

func opaque(dir string) bool {
	var b [1]byte
	for _, name := range []string{opaqueTrusted, opaqueUser} {
		if n, err := unix.Lgetxattr(dir, name, b[:]); err == nil && n == 1 && b[0] == 'y' {
			return true
		}
	}
	return false
}

// maxLinks bounds how many symbolic links one path may go through (the
// kernel's MAXSYMLINKS).
const maxLinks = 40

// resolve follows every symbolic link in name inside of root, where look says
// what is at a path, and returns the path of what it comes to; the last
// components may be missing. Nothing climbs above the root.
func resolve(name string, look func(string) (kind, target string, err error)) (string, error) {
	at := "."
	rest := strings.Split(name, "/")
	for links := 0; len(rest) > 0; {
		part := rest[0]
		rest = rest[1:]
		switch part {
		case "", ".":
			continue
		case "..":
			at = path.Dir(at)
			continue
		}
		next := path.Join(at, part)
		kind, target, err := look(next)
		if err != nil {
			return "", err
		}
		if kind != kindSymlink {
			at = next
			continue
		}
		if links++; links > maxLinks {
			return "", fmt.Errorf("path /%s goes through more than %d symbolic links", name, maxLinks)
		}
		if strings.HasPrefix(target, "/") {
			at = "."
		}
		rest = append(strings.Split(target, "/"), rest...)
	}
	return at, nil
}

// read returns the content of the file at name, symbolic links followed; nil
// when there is none.
func (v *view) read(name string) ([]byte, error) {
	n, err := v.follow(name)
	if err != nil || n.kind != kindFile {
		return nil, err
	}
	return os.ReadFile(n.host)
}

// follow is lookup with symbolic links followed.
func (v *view) follow(name string) (viewNode, error) {
	real, err := resolve(name, func(p string) (string, string, error) {
		n, err := v.lookup(p)
		return n.kind, n.target, err
	})
	if err != nil {
		return viewNode{}, err
	}
	return v.lookup(real)
}

// list returns the names in the directory name, symbolic links followed.
func (v *view) list(name string) ([]string, error) {
	n, err := v.follow(name)
	if err != nil {
		return nil, err
	}
	var out []string
	seen := map[string]bool{}
	for _, dir := range n.dirs {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if seen[e.Name()] {
				continue
			}
			seen[e.Name()] = true
			if !isWhiteout(e) {
				out = append(out, e.Name())
			}
		}
	}
	return out, nil
}

func isWhiteout(e os.DirEntry) bool {
	if e.Type()&os.ModeCharDevice == 0 {
		return false
	}
	info, err := e.Info()
	if err != nil {
		return false
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && st.Rdev == 0
}
