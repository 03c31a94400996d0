package overlay

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Lay writes the tree into upper, the empty top directory of an overlay mount
// over the directories below (lowest first). A directory that below has keeps
// its owner and mode; every mtime is epoch.
func (t Tree) Lay(upper string, below []string, epoch time.Time) error {
	l := layer{upper: upper, below: below, epoch: epoch, made: map[string]bool{".": true}}
	for _, f := range t.Files {
		if err := l.dir(path.Dir(f.Path)); err != nil {
			return fmt.Errorf("lay overlays/%s: %w", f.From, err)
		}
		if err := l.file(f); err != nil {
			return fmt.Errorf("lay overlays/%s: %w", f.From, err)
		}
	}
	return l.stamp()
}

type layer struct {
	upper string
	below []string
	epoch time.Time
	made  map[string]bool
}

// dir makes one directory and its parents as they are in the layers below.
func (l *layer) dir(rel string) error {
	if l.made[rel] {
		return nil
	}
	if err := l.dir(path.Dir(rel)); err != nil {
		return err
	}
	mode, uid, gid := fs.FileMode(0o755), 0, 0
	if info := l.find(rel); info != nil {
		switch {
		case info.Mode()&fs.ModeSymlink != 0:
			return fmt.Errorf("/%s is a symlink in the packages; name the directory that it points to", rel)
		case !info.IsDir():
			return fmt.Errorf("/%s is a file in the packages, not a directory", rel)
		}
		mode = info.Mode() & (fs.ModePerm | fs.ModeSticky | fs.ModeSetgid | fs.ModeSetuid)
		if st, ok := info.Sys().(*syscall.Stat_t); ok {
			uid, gid = int(st.Uid), int(st.Gid)
		}
	}
	to := filepath.Join(l.upper, rel)
	if err := os.Mkdir(to, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := os.Lchown(to, uid, gid); err != nil {
		return err
	}
	l.made[rel] = true
	return os.Chmod(to, mode)
}

// find is the topmost entry of the layers below, nil if none has it.
func (l *layer) find(rel string) fs.FileInfo {
	for i := len(l.below) - 1; i >= 0; i-- {
		if info, err := os.Lstat(filepath.Join(l.below[i], rel)); err == nil {
			return info
		}
	}
	return nil
}

func (l *layer) file(f File) error {
	if info := l.find(f.Path); info != nil && info.IsDir() {
		return fmt.Errorf("/%s is a directory in the packages", f.Path)
	}
	to := filepath.Join(l.upper, f.Path)
	if f.Link != "" {
		if err := os.Symlink(f.Link, to); err != nil {
			return err
		}
	} else {
		if err := os.WriteFile(to, f.Content, f.Mode); err != nil {
			return err
		}
		if err := os.Chmod(to, f.Mode); err != nil { // whatever the umask took
			return err
		}
	}
	if err := os.Lchown(to, 0, 0); err != nil {
		return err
	}
	return l.touch(to)
}

// stamp sets the directories' times last, since each new entry changes them.
func (l *layer) stamp() error {
	for rel := range l.made {
		if rel == "." || strings.HasPrefix(rel, "..") {
			continue
		}
		if err := l.touch(filepath.Join(l.upper, rel)); err != nil {
			return err
		}
	}
	return nil
}

func (l *layer) touch(name string) error {
	ts := []unix.Timespec{unix.NsecToTimespec(l.epoch.UnixNano()), unix.NsecToTimespec(l.epoch.UnixNano())}
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, name, ts, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("set the time of %s: %w", name, err)
	}
	return nil
}
