package rootfs

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"sort"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Where the image keeps what packages put under /var, and the file that brings
// it to the /var of a machine at each boot (tmpfiles.d(5)).
const (
	factoryDir   = "usr/share/factory"
	tmpfilesPath = "usr/lib/tmpfiles.d/trivet-var.conf"

	// what only an overlay puts there
	overlayTmpfilesPath = "usr/lib/tmpfiles.d/trivet-var-overlay.conf"
)

// dpkgHome is where an image has dpkg's database: it says what the sealed
// /usr holds, so it belongs to the image and not to the machine's /var. The
// image's own /var, which the machine's hides, has a link to it as well, so
// that tools which look into images find it.
const dpkgHome = "usr/lib/dpkg-db"

// imageOnly are paths under /var whose content belongs to the image. On a
// machine they are links into the factory, so that a new image brings its own.
func imageOnly() []string {
	return []string{
		"var/lib/openstack-dashboard/static", // made of the dashboard's sources by its postinst
	}
}

// notInFactory are paths under /var that no machine needs: what only
// installing packages uses.
func notInFactory() []string {
	return []string{
		"var/lib/dpkg", "var/cache/debconf", "var/cache/apt", "var/lib/apt", "var/lib/ucf", "var/cache/ldconfig",
		"var/lib/pam", "var/cache/dbconfig-common", "var/log/apt", "var/log/dbconfig-common", "var/log/README",
		"var/cache/adduser",
	}
}

// Factory makes the layer over all package layers that moves what they have
// under /var to the factory, and dpkg's database to dpkgHome. Finish does the
// same where Factory's layer is not among the layers below; with it, a change
// of an overlay leaves this part, the larger one, as it is.
func Factory(ctx context.Context, in Inputs, below []string) (string, error) {
	lines, err := belowLines(in, below)
	if err != nil {
		return "", fmt.Errorf("move /var to the factory: %w", err)
	}
	key, err := keyOf(in, "factory 2", lines)
	if err != nil {
		return "", fmt.Errorf("move /var to the factory: %w", err)
	}
	return cached(ctx, in, key, func(t *temp) (string, error) {
		f := finishing{build: build{in: in, below: below, tmp: t}}
		if f.top, err = t.sub("top"); err != nil {
			return "", err
		}
		root, err := os.OpenRoot(f.top)
		if err != nil {
			return "", err
		}
		defer root.Close()
		if err := f.factory(root); err != nil {
			return "", fmt.Errorf("move /var to the factory: %w", err)
		}
		return f.top, in.setTimes(f.top)
	})
}

// factory moves what the image has under /var to the factory, dpkg's database
// to dpkgHome, and writes the tmpfiles.d lines that bring it back. What a
// layer of Factory below has done already is not done again: then only files
// of an overlay are left under /var.
func (f *finishing) factory(root *os.Root) error {
	v := newView(f.stack("top"))
	declared, err := declaredPaths(v)
	if err != nil {
		return err
	}
	for _, dir := range []string{factoryDir, path.Dir(tmpfilesPath), path.Dir(dpkgHome)} {
		if err := f.scaffold(dir); err != nil {
			return err
		}
	}
	db, err := v.lookup(dpkgDir)
	if err != nil {
		return err
	}
	m := move{view: v, top: f.top, skip: notInFactory()}
	if err := m.tree("var", factoryDir+"/var"); err != nil {
		return err
	}
	t := tmpfiles{view: v, declared: declared}
	if err := t.dir("var", 0); err != nil {
		return err
	}
	name := tmpfilesPath
	if db.kind == kindDir {
		if err := (&move{view: v, top: f.top}).tree(dpkgDir, dpkgHome); err != nil {
			return err
		}
		t.line("L+", "/"+dpkgDir, "-", "-", "-", "../../"+dpkgHome)
	} else {
		name = overlayTmpfilesPath
	}
	if err := t.homes(); err != nil {
		return err
	}
	if len(t.lines) > 0 {
		w := dbWriter{root: root}
		if w.write(name, t.text()); w.err != nil {
			return w.err
		}
	}
	return f.emptyVar(v)
}

// emptyVar makes the image's own /var: nothing but the link to dpkg's database.
func (f *finishing) emptyVar(v *view) error {
	at := filepath.Join(f.top, "var")
	if err := os.RemoveAll(at); err != nil {
		return err
	}
	if err := copyDir(v, "var", f.top); err != nil {
		return err
	}
	if err := setOpaque(at); err != nil {
		return err
	}
	if err := copyDir(v, "var/lib", f.top); err != nil {
		return err
	}
	return os.Symlink("../../"+dpkgHome, filepath.Join(at, "lib/dpkg"))
}

// A move links or copies a part of a view to another place of the top layer.
type move struct {
	view *view
	top  string
	skip []string
}

// tree moves the path from, of whatever kind, to the path to.
func (m *move) tree(from, to string) error {
	if slices.Contains(m.skip, from) {
		return nil
	}
	n, err := m.view.lookup(from)
	if err != nil {
		return err
	}
	at := filepath.Join(m.top, to)
	switch n.kind {
	case kindSymlink:
		if err := os.Symlink(n.target, at); err != nil {
			return err
		}
		return os.Lchown(at, int(n.stat.Uid), int(n.stat.Gid))
	case kindFile:
		return m.file(n, at)
	case kindDir:
		if err := m.dir(n, to); err != nil {
			return err
		}
		names, err := m.view.list(from)
		if err != nil {
			return err
		}
		sort.Strings(names)
		for _, name := range names {
			if err := m.tree(path.Join(from, name), path.Join(to, name)); err != nil {
				return err
			}
		}
	}
	return nil
}

// dir makes the directory to: as a layer below has it, or else as n is.
func (m *move) dir(n viewNode, to string) error {
	there, err := m.view.lookup(to)
	if err != nil {
		return err
	}
	if there.kind == kindDir {
		return copyDir(m.view, to, m.top)
	}
	at := filepath.Join(m.top, to)
	if err := unix.Mkdir(at, 0o700); err != nil {
		return &os.PathError{Op: "make directory", Path: at, Err: err}
	}
	return copyDirMeta(n.host, at)
}

func (m *move) file(n viewNode, at string) error {
	if n.stat.Mode&unix.S_IFMT != unix.S_IFREG {
		return fmt.Errorf("%s is neither a file, a link nor a directory", n.host)
	}
	err := unix.Link(n.host, at)
	if err == nil || !errors.Is(err, unix.EXDEV) && !errors.Is(err, unix.EMLINK) {
		return err
	}
	if err := copyFile(n.host, at); err != nil {
		return err
	}
	if err := copyDirMeta(n.host, at); err != nil {
		return err
	}
	return setTime(unix.AT_FDCWD, at, n.stat.Mtim.Sec)
}

// declaredPaths are the paths for which the image's tmpfiles.d has a line that
// makes them already. A second line would only be a warning at each boot.
func declaredPaths(v *view) (map[string]bool, error) {
	out := map[string]bool{}
	for _, dir := range []string{"usr/lib/tmpfiles.d", "etc/tmpfiles.d"} {
		names, err := v.list(dir)
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			if !strings.HasSuffix(name, ".conf") {
				continue
			}
			text, err := v.read(path.Join(dir, name))
			if err != nil {
				return nil, err
			}
			declare(out, text)
		}
	}
	return out, nil
}

// declare reads one tmpfiles.d file.
func declare(out map[string]bool, text []byte) {
	sc := bufio.NewScanner(bytes.NewReader(text))
	for sc.Scan() {
		f := strings.Fields(sc.Text())
		if len(f) < 2 || strings.HasPrefix(f[0], "#") {
			continue
		}
		// The types that make something, without their modifiers (+ ! - = ~ ^ $).
		if kind := strings.TrimRight(f[0], "+!-=~^$"); kind != "" && strings.Contains("fFdDvqQpLcbC", kind) {
			out[strings.Trim(f[1], `"`)] = true
		}
	}
}

// tmpfiles writes the lines that fill an empty /var.
type tmpfiles struct {
	view     *view
	declared map[string]bool
	lines    []string
}

// wholeAt is the depth below /var from which a directory with something in it
// is brought as a whole, in one line: /var/lib/NAME, /var/log/NAME.
const wholeAt = 2

// dir writes the lines for what is in the directory name, depth levels below
// /var. A directory is split into its parts above wholeAt, and where a part
// needs a line of its own.
func (t *tmpfiles) dir(name string, depth int) error {
	names, err := t.view.list(name)
	if err != nil {
		return err
	}
	sort.Strings(names)
	for _, base := range names {
		at := path.Join(name, base)
		if slices.Contains(notInFactory(), at) {
			continue
		}
		n, err := t.view.lookup(at)
		if err != nil {
			return err
		}
		if err := t.node(at, n, depth+1); err != nil {
			return err
		}
	}
	return nil
}

func (t *tmpfiles) node(at string, n viewNode, depth int) error {
	mode, uid, gid := fmt.Sprintf("%04o", n.stat.Mode&0o7777), fmt.Sprint(n.stat.Uid), fmt.Sprint(n.stat.Gid)
	declared := t.declared["/"+at]
	switch {
	case slices.Contains(imageOnly(), at):
		t.line("L+", "/"+at, "-", "-", "-", "/"+factoryDir+"/"+at)
	case at == dpkgDir: // a layer of Factory
	case n.kind == kindSymlink && !declared:
		t.line("L", "/"+at, "-", "-", "-", n.target)
	case n.kind == kindFile && !declared:
		t.line("C", "/"+at, mode, uid, gid, "")
	case n.kind == kindDir:
		split, err := t.split(at, depth)
		if err != nil {
			return err
		}
		if !split && !declared {
			t.line("C+", "/"+at, mode, uid, gid, "")
			return nil
		}
		if !declared {
			t.line("d", "/"+at, mode, uid, gid, "")
		}
		return t.dir(at, depth)
	}
	return nil
}

// homes adds the missing homes of system users under /var. adduser makes a
// home with the user; a pinned user was there before.
func (t *tmpfiles) homes() error {
	passwd, err := t.view.read("etc/passwd")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(passwd)) {
		f := strings.Split(strings.TrimSpace(line), ":")
		if len(f) != 7 {
			continue
		}
		uid, err := strconv.Atoi(f[2])
		// Below 100 are base-passwd's own users, whose homes Debian leaves out.
		if err != nil || uid < 100 || !strings.HasPrefix(f[5], "/var/") || t.declared[f[5]] || path.Clean(f[5]) != f[5] {
			continue
		}
		n, err := t.view.follow(strings.TrimPrefix(f[5], "/"))
		if err != nil {
			return err
		}
		made, err := t.view.lookup(factoryDir + f[5]) // by a line of a directory above
		if err != nil {
			return err
		}
		if n.kind == "" && made.kind == "" {
			t.line("d", f[5], "0755", f[2], f[3], "")
		}
	}
	return nil
}

// split says whether the directory needs lines for its parts: it is above
// wholeAt, it has nothing in it, or something in it is special.
func (t *tmpfiles) split(at string, depth int) (bool, error) {
	if depth < wholeAt {
		return true, nil
	}
	for _, special := range append(imageOnly(), notInFactory()...) {
		if strings.HasPrefix(special, at+"/") {
			return true, nil
		}
	}
	for d := range t.declared {
		if strings.HasPrefix(d, "/"+at+"/") {
			return true, nil
		}
	}
	names, err := t.view.list(at)
	return len(names) == 0, err
}

// line adds one line. The path and the argument are quoted, and a percent sign
// would begin a specifier.
func (t *tmpfiles) line(kind, name, mode, uid, gid, arg string) {
	l := fmt.Sprintf("%-2s %s %s %s %s -", kind, quoteTmpfiles(name), mode, uid, gid)
	if arg != "" {
		l += " " + quoteTmpfiles(arg)
	}
	t.lines = append(t.lines, l)
}

func quoteTmpfiles(s string) string {
	s = strings.ReplaceAll(s, "%", "%%")
	if strings.ContainsAny(s, " \t\"'\\") {
		return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
	}
	return s
}

func (t *tmpfiles) text() []byte {
	return []byte("# Written by trivet: what the packages of this image have under /var.\n" + strings.Join(t.lines, "\n") + "\n")
}
