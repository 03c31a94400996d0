package rootfs

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// A folding moves directories that lay over one another in an overlay into one
// directory that shows the same, over the same layers below.
type folding struct {
	below *view // the layers below the result
	dst   string
}

// over moves the tree src over the result. src is left with at most some empty
// directories. Whiteouts stay where they still hide something below.
func (f *folding) over(src string) error {
	return f.dir(src, ".", true)
}

// dir moves what is in src/name into dst/name, which is a directory. merge is
// false where dst/name was src's itself and everything is in place already.
func (f *folding) dir(src, name string, merge bool) error {
	entries, err := os.ReadDir(filepath.Join(src, name))
	if err != nil {
		return err
	}
	for _, e := range entries {
		at := path.Join(name, e.Name())
		var err error
		switch {
		case isWhiteout(e):
			err = f.whiteout(src, at, merge)
		case e.IsDir():
			err = f.directory(src, at, merge)
		case merge:
			err = f.file(src, at)
		default:
			err = stripOverlay(filepath.Join(f.dst, at))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// whiteout removes what src hides, and keeps the whiteout if layers below have
// something to hide.
func (f *folding) whiteout(src, name string, merge bool) error {
	n, err := f.below.lookup(name)
	if err != nil {
		return err
	}
	if !merge {
		if n.kind == "" {
			return os.Remove(filepath.Join(f.dst, name))
		}
		return nil
	}
	if err := os.RemoveAll(filepath.Join(f.dst, name)); err != nil || n.kind == "" {
		return err
	}
	return os.Rename(filepath.Join(src, name), filepath.Join(f.dst, name))
}

func (f *folding) file(src, name string) error {
	from, to := filepath.Join(src, name), filepath.Join(f.dst, name)
	if err := stripOverlay(from); err != nil {
		return err
	}
	err := os.Rename(from, to)
	if errors.Is(err, unix.EISDIR) || errors.Is(err, unix.EEXIST) || errors.Is(err, unix.ENOTEMPTY) {
		if err := os.RemoveAll(to); err != nil {
			return err
		}
		err = os.Rename(from, to)
	}
	return err
}

// directory moves the directory src/name over what dst has there.
func (f *folding) directory(src, name string, merge bool) error {
	from, to := filepath.Join(src, name), filepath.Join(f.dst, name)
	if !merge {
		return f.inPlace(src, name)
	}
	var have unix.Stat_t
	err := unix.Lstat(to, &have)
	isDir := err == nil && have.Mode&unix.S_IFMT == unix.S_IFDIR
	if isDir && !opaque(from) {
		if err := copyDirMeta(from, to); err != nil {
			return err
		}
		return f.dir(src, name, true)
	}
	if err == nil {
		if err := os.RemoveAll(to); err != nil {
			return err
		}
	}
	if err := os.Rename(from, to); err != nil {
		return err
	}
	return f.inPlace(src, name)
}

// inPlace cleans a directory that was moved as a whole.
func (f *folding) inPlace(src, name string) error {
	to := filepath.Join(f.dst, name)
	hides := opaque(to)
	if err := stripOverlay(to); err != nil {
		return err
	}
	if hides {
		n, err := f.below.lookup(name)
		if err != nil {
			return err
		}
		if n.kind == kindDir {
			if err := setOpaque(to); err != nil {
				return err
			}
		}
	}
	return f.dir(f.dst, name, false)
}

// copyDirMeta gives the directory to the owner and mode of from.
func copyDirMeta(from, to string) error {
	var st unix.Stat_t
	if err := unix.Lstat(from, &st); err != nil {
		return &os.PathError{Op: "lstat", Path: from, Err: err}
	}
	if err := unix.Lchown(to, int(st.Uid), int(st.Gid)); err != nil {
		return &os.PathError{Op: "chown", Path: to, Err: err}
	}
	if err := unix.Chmod(to, st.Mode&0o7777); err != nil {
		return &os.PathError{Op: "chmod", Path: to, Err: err}
	}
	return nil
}

// stripOverlay removes the notes that overlayfs keeps in extended attributes
// of its upper directory (origin, impure, …): they name inodes of this run.
func stripOverlay(path string) error {
	buf := make([]byte, 4096)
	n, err := unix.Llistxattr(path, buf)
	if errors.Is(err, unix.ENOTSUP) {
		return nil
	}
	if err != nil {
		return &os.PathError{Op: "list the attributes of", Path: path, Err: err}
	}
	for name := range strings.SplitSeq(string(buf[:n]), "\x00") {
		if strings.HasPrefix(name, "trusted.overlay.") || strings.HasPrefix(name, "user.overlay.") {
			if err := unix.Lremovexattr(path, name); err != nil {
				return &os.PathError{Op: "remove an attribute of", Path: path, Err: err}
			}
		}
	}
	return nil
}

// setOpaque makes the directory hide what is below it in an overlay.
func setOpaque(dir string) error {
	err := unix.Lsetxattr(dir, opaqueTrusted, []byte("y"), 0)
	if errors.Is(err, unix.EPERM) {
		err = unix.Lsetxattr(dir, opaqueUser, []byte("y"), 0) // in a user namespace
	}
	if err != nil {
		return fmt.Errorf("make %s opaque: %w", dir, err)
	}
	return nil
}
