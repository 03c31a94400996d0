package rootfs

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"sort"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// A laying writes a plan into an empty directory. Directories come first, then
// files, as hard links into the store, and symbolic links last: until then the
// tree has none that a path could go through.
type laying struct {
	in    Inputs
	plan  *plan
	dir   string
	ids   owners
	names []string // the plan's paths, sorted: parents before children
}

// lay writes the plan into dir.
func (p *plan) lay(in Inputs, dir string) error {
	ids, err := p.ownerNames()
	if err != nil {
		return err
	}
	l := laying{in: in, plan: p, dir: dir, ids: ids}
	for name := range p.nodes {
		l.names = append(l.names, name)
	}
	sort.Strings(l.names)
	if err := l.directories(); err != nil {
		return err
	}
	if err := l.files(); err != nil {
		return err
	}
	return l.symlinks()
}

func (l *laying) directories() error {
	for _, name := range l.names {
		n := l.plan.nodes[name]
		if n.entry.Kind != kindDir {
			continue
		}
		if n.keep {
			if err := copyDir(l.plan.below, name, l.dir); err != nil {
				return err
			}
			continue
		}
		if err := l.makeDir(name, n.entry); err != nil {
			return err
		}
	}
	return nil
}

func (l *laying) makeDir(name string, e *entry) error {
	to := filepath.Join(l.dir, name)
	if err := unix.Mkdir(to, 0o700); err != nil {
		return &os.PathError{Op: "make directory", Path: to, Err: err}
	}
	return l.setMeta(to, e)
}

// setMeta gives the directory or copied file at to the owner, attributes and
// mode of e.
func (l *laying) setMeta(to string, e *entry) error {
	f, err := os.Open(to)
	if err != nil {
		return err
	}
	defer f.Close()
	resolved := *e
	resolved.UID, resolved.GID = l.ids.of(e)
	if err := setMeta(int(f.Fd()), &resolved); err != nil {
		return fmt.Errorf("make %s: %w", to, err)
	}
	return nil
}

// copyDir makes the directory name of the view in dir, with the owner, mode
// and attributes that the view shows. Its parent exists.
func copyDir(v *view, name, dir string) error {
	n, err := v.lookup(name)
	if err != nil {
		return err
	}
	to := filepath.Join(dir, name)
	if err := unix.Mkdir(to, 0o700); err != nil {
		return &os.PathError{Op: "make directory", Path: to, Err: err}
	}
	if err := unix.Chown(to, int(n.stat.Uid), int(n.stat.Gid)); err != nil {
		return &os.PathError{Op: "chown", Path: to, Err: err}
	}
	if err := unix.Chmod(to, n.stat.Mode&0o7777); err != nil {
		return &os.PathError{Op: "chmod", Path: to, Err: err}
	}
	return nil
}

func (l *laying) files() error {
	var names []string
	for _, name := range l.names {
		if k := l.plan.nodes[name].entry.Kind; k == kindFile || k == kindHard {
			names = append(names, name)
		}
	}
	const batch = 1000
	n := (len(names) + batch - 1) / batch
	return eachParallel(l.in.jobs(), n, func(i int) error {
		for _, name := range names[i*batch : min((i+1)*batch, len(names))] {
			if err := l.file(name); err != nil {
				return err
			}
		}
		return nil
	})
}

// file lays one regular file: a link, or a copy where the store's file cannot
// be shared because its owner or time must differ.
func (l *laying) file(name string) error {
	n := l.plan.nodes[name]
	from := l.plan.pkgs[n.pkg].content(n.entry.File)
	to := filepath.Join(l.dir, name)
	var st unix.Stat_t
	if err := unix.Lstat(from, &st); err != nil {
		return &os.PathError{Op: "look at the store's", Path: from, Err: err}
	}
	if st.Size != n.entry.Size || st.Mode != unix.S_IFREG|n.entry.Mode {
		return fmt.Errorf("the store is damaged: %s has %d bytes and mode %o, package %s has %d and %o; remove %s",
			from, st.Size, st.Mode, l.plan.pkgs[n.pkg].deb.Name, n.entry.Size, n.entry.Mode, filepath.Dir(from))
	}
	uid, gid := l.ids.of(n.entry)
	if uid == n.entry.UID && gid == n.entry.GID && n.entry.MTime <= l.in.Epoch.Unix() {
		err := unix.Link(from, to)
		if err == nil {
			return nil
		}
		if !errors.Is(err, unix.EXDEV) && !errors.Is(err, unix.EMLINK) {
			return &os.LinkError{Op: "link", Old: from, New: to, Err: err}
		}
	}
	return l.copy(from, to, n.entry)
}

func (l *laying) copy(from, to string, e *entry) error {
	if err := copyFile(from, to); err != nil {
		return err
	}
	if err := l.setMeta(to, e); err != nil {
		return err
	}
	return setTime(unix.AT_FDCWD, to, min(e.MTime, l.in.Epoch.Unix()))
}

func (l *laying) symlinks() error {
	for _, name := range l.names {
		n := l.plan.nodes[name]
		if n.entry.Kind != kindSymlink {
			continue
		}
		to := filepath.Join(l.dir, name)
		if err := os.Symlink(n.entry.Link, to); err != nil {
			return err
		}
		if uid, gid := l.ids.of(n.entry); uid != 0 || gid != 0 {
			if err := os.Lchown(to, uid, gid); err != nil {
				return err
			}
		}
		if err := setTime(unix.AT_FDCWD, to, min(n.entry.MTime, l.in.Epoch.Unix())); err != nil {
			return err
		}
	}
	return nil
}

// copyFile copies content only.
func copyFile(from, to string) error {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = dst.ReadFrom(src)
	return errors.Join(err, dst.Close())
}

// owners maps the names of owners to the numbers that the tree's /etc/passwd
// and /etc/group have for them. dpkg takes the name before the number.
type owners struct {
	users, groups map[string]int
}

// ownerNames reads the users and groups of the layers below; the base layer
// has none, and there the numbers in the packages are base-passwd's own.
func (p *plan) ownerNames() (owners, error) {
	passwd, err := p.below.read("etc/passwd")
	if err != nil {
		return owners{}, fmt.Errorf("read the tree's users: %w", err)
	}
	group, err := p.below.read("etc/group")
	if err != nil {
		return owners{}, fmt.Errorf("read the tree's groups: %w", err)
	}
	return owners{users: parseIDs(passwd), groups: parseIDs(group)}, nil
}

// parseIDs reads name → number from passwd(5) or group(5) text.
func parseIDs(text []byte) map[string]int {
	ids := map[string]int{}
	for line := range strings.SplitSeq(string(text), "\n") {
		f := strings.Split(line, ":")
		if len(f) < 3 {
			continue
		}
		if id, err := strconv.Atoi(f[2]); err == nil {
			ids[f[0]] = id
		}
	}
	return ids
}

func (o owners) of(e *entry) (uid, gid int) {
	uid, gid = e.UID, e.GID
	if id, ok := o.users[e.User]; ok && e.User != "" {
		uid = id
	}
	if id, ok := o.groups[e.Group]; ok && e.Group != "" {
		gid = id
	}
	return uid, gid
}

// scaffold makes the directory name in dir as the view shows it, with its
// parents; what the view does not have becomes root's, 0755.
func scaffold(v *view, name, dir string) error {
	if name == "." {
		return nil
	}
	if _, err := os.Lstat(filepath.Join(dir, name)); err == nil {
		return nil
	}
	if err := scaffold(v, path.Dir(name), dir); err != nil {
		return err
	}
	n, err := v.lookup(name)
	if err != nil {
		return err
	}
	if n.kind == kindDir {
		return copyDir(v, name, dir)
	}
	if n.kind != "" {
		return fmt.Errorf("path /%s is no directory in the layers below", name)
	}
	to := filepath.Join(dir, name)
	if err := unix.Mkdir(to, 0o755); err != nil {
		return &os.PathError{Op: "make directory", Path: to, Err: err}
	}
	if err := unix.Chmod(to, 0o755); err != nil {
		return &os.PathError{Op: "chmod", Path: to, Err: err}
	}
	return nil
}
