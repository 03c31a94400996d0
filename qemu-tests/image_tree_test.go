package qemutests

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// A tree is a directory with everything below it, by path without a leading
// slash.
type tree struct {
	dir   string
	nodes map[string]treeNode
}

// A treeNode is one file of a tree, of whatever type.
type treeNode struct {
	path     string // on the host
	kind     uint32 // S_IFREG, S_IFDIR, …
	mode     uint32 // the twelve permission bits
	uid, gid uint32
	size     int64
	mtime    int64 // in seconds
	target   string
	attrs    string // extended attributes, such as capabilities
}

func readTree(t *testing.T, dir string) tree {
	t.Helper()
	tr := tree{dir: dir, nodes: map[string]treeNode{}}
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		n, err := readNode(path)
		tr.nodes[path[len(dir)+1:]] = n
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

func readNode(path string) (treeNode, error) {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return treeNode{}, &os.PathError{Op: "lstat", Path: path, Err: err}
	}
	n := treeNode{path: path, kind: st.Mode & unix.S_IFMT, mode: st.Mode & 0o7777, uid: st.Uid, gid: st.Gid, size: st.Size, mtime: st.Mtim.Sec}
	var err error
	if n.kind == unix.S_IFLNK {
		if n.target, err = os.Readlink(path); err != nil {
			return treeNode{}, err
		}
	}
	n.attrs, err = attributes(path)
	return n, err
}

// attributes are the extended attributes of a file, without those by which
// overlayfs keeps its books in the directory that it writes to.
func attributes(path string) (string, error) {
	list := make([]byte, 4096)
	n, err := unix.Llistxattr(path, list)
	if err != nil || n == 0 {
		return "", err
	}
	var all []string
	for _, name := range strings.Split(strings.TrimRight(string(list[:n]), "\x00"), "\x00") {
		if strings.HasPrefix(name, "trusted.overlay.") {
			continue
		}
		value := make([]byte, 4096)
		m, err := unix.Lgetxattr(path, name, value)
		if err != nil {
			return "", &os.PathError{Op: "read attribute " + name, Path: path, Err: err}
		}
		all = append(all, fmt.Sprintf("%s=%x", name, value[:m]))
	}
	slices.Sort(all)
	return strings.Join(all, " "), nil
}

// The places to which an image moves what packages put elsewhere.
const (
	factoryVar = factory + "/var"
	dpkgHome   = "usr/lib/dpkg-db"
)

// fromFactory moves the image's /var, and dpkg's database, back to where the
// packages had them. What the image itself has below /var is no more than the
// link to the database; anything else stays in the way and is found.
func (tr tree) fromFactory() {
	moved := map[string]treeNode{}
	for name, n := range tr.nodes {
		switch {
		case name == "var" || name == "var/lib" || name == "var/lib/dpkg" && n.target == "../../"+dpkgHome:
			continue
		case name == factoryVar || strings.HasPrefix(name, factoryVar+"/"):
			name = "var" + strings.TrimPrefix(name, factoryVar)
		case name == dpkgHome || strings.HasPrefix(name, dpkgHome+"/"):
			name = "var/lib/dpkg" + strings.TrimPrefix(name, dpkgHome)
		}
		moved[name] = n
	}
	clear(tr.nodes)
	maps.Copy(tr.nodes, moved)
}

// A treeDiff compares the tree of an image with another.
type treeDiff struct {
	image        image
	ours, theirs tree
	made         int64 // files of theirs that are younger were made by scripts, not unpacked: their time is the run's
}

// The kinds of differences.
const (
	onlyOurs     = "only the image has"
	onlyTheirs   = "only mmdebstrap has"
	otherType    = "another type of"
	otherMode    = "another mode of"
	otherOwner   = "another owner of"
	otherTarget  = "another target of"
	otherAttr    = "other attributes of"
	otherTime    = "another time of"
	otherContent = "another content of"
)

// A difference is one thing that is not the same at one path.
type difference struct {
	what, path string
	detail     string
}

func (d difference) String() string {
	return strings.TrimSpace(fmt.Sprintf("%s /%s %s", d.what, d.path, d.detail))
}

// compare returns all differences, sorted by path.
func (d treeDiff) compare(t *testing.T) []difference {
	t.Helper()
	var all []difference
	var mu sync.Mutex
	var g errgroup.Group
	g.SetLimit(runtime.NumCPU())
	for name, a := range d.ours.nodes {
		g.Go(func() error {
			found, err := d.node(name, a)
			mu.Lock()
			defer mu.Unlock()
			all = append(all, found...)
			return err
		})
	}
	err := g.Wait()
	for name := range d.theirs.nodes {
		if _, both := d.ours.nodes[name]; !both {
			all = append(all, difference{onlyTheirs, name, ""})
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(all, func(a, b difference) int { return strings.Compare(a.path+"\x00"+a.what, b.path+"\x00"+b.what) })
	return all
}

// node compares one file of ours.
func (d treeDiff) node(name string, a treeNode) ([]difference, error) {
	b, both := d.theirs.nodes[name]
	if !both {
		return []difference{{onlyOurs, name, ""}}, nil
	}
	var found []difference
	differ := func(what, format string, ours, theirs any) {
		found = append(found, difference{what, name, fmt.Sprintf("("+format+", mmdebstrap "+format+")", ours, theirs)})
	}
	if a.kind != b.kind {
		differ(otherType, "%o", a.kind, b.kind)
		return found, nil
	}
	if a.mode != b.mode {
		differ(otherMode, "%04o", a.mode, b.mode)
	}
	if a.uid != b.uid || a.gid != b.gid {
		differ(otherOwner, "%s", fmt.Sprint(a.uid, ":", a.gid), fmt.Sprint(b.uid, ":", b.gid))
	}
	if a.target != b.target {
		differ(otherTarget, "%s", a.target, b.target)
	}
	if a.attrs != b.attrs {
		differ(otherAttr, "%q", a.attrs, b.attrs)
	}
	if a.kind != unix.S_IFDIR && b.mtime <= d.made && a.mtime != b.mtime {
		differ(otherTime, "%d", a.mtime, b.mtime)
	}
	if a.kind != unix.S_IFREG {
		return found, nil
	}
	same, err := sameContent(a, b)
	if !same {
		differ(otherContent, "%d bytes", a.size, b.size)
	}
	return found, err
}

func sameContent(a, b treeNode) (bool, error) {
	if a.size != b.size {
		return false, nil
	}
	f, err := os.OpenFile(a.path, os.O_RDONLY|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return false, err
	}
	defer f.Close()
	g, err := os.OpenFile(b.path, os.O_RDONLY|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return false, err
	}
	defer g.Close()
	x, y := make([]byte, 256<<10), make([]byte, 256<<10)
	for {
		n, err := io.ReadFull(f, x)
		m, err2 := io.ReadFull(g, y)
		if !bytes.Equal(x[:n], y[:m]) {
			return false, nil
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return err == err2, nil
		}
		if err := errors.Join(err, err2); err != nil {
			return false, err
		}
	}
}

// TestTreeDiffFindsDifferences compares two small trees.
func TestTreeDiffFindsDifferences(t *testing.T) {
	long := strings.Repeat("x", 300<<10)
	made := map[string]map[string]string{
		"ours":   {"same": "1", "etc/content": "1", "etc/long": long + "1", "etc/mode": "1", "etc/time": "1", "etc/kind": "1", "new": "1", factoryVar + "/lib/x": "1", dpkgHome + "/status": "1"},
		"theirs": {"same": "1", "etc/content": "2", "etc/long": long + "2", "etc/mode": "1", "etc/time": "1", "etc/kind/x": "1", "old": "1", "var/lib/x": "1", "var/lib/dpkg/status": "1"},
	}
	dir, then := t.TempDir(), time.Unix(1_700_000_000, 0)
	for side, files := range made {
		for name, text := range files {
			path := filepath.Join(dir, side, name)
			spoil(t, path, text)
			if err := os.Chtimes(path, then, then); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Symlink(side, filepath.Join(dir, side, "link")); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.Chmod(filepath.Join(dir, "ours/etc/mode"), 0o4755), os.Chtimes(filepath.Join(dir, "ours/etc/time"), then, then.Add(time.Second))); err != nil {
		t.Fatal(err)
	}
	d := treeDiff{ours: readTree(t, filepath.Join(dir, "ours")), theirs: readTree(t, filepath.Join(dir, "theirs")), made: then.Unix()}
	d.ours.fromFactory()
	var got []string
	for _, f := range d.compare(t) {
		got = append(got, f.what+" "+f.path)
	}
	want := []string{
		otherContent + " etc/content", otherType + " etc/kind", onlyTheirs + " etc/kind/x", otherContent + " etc/long", otherMode + " etc/mode", otherTime + " etc/time",
		otherTarget + " link", onlyOurs + " new", onlyTheirs + " old", onlyOurs + " usr", onlyOurs + " usr/lib", onlyOurs + " usr/share", onlyOurs + " usr/share/factory",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("differences (-want +got):\n%s", diff)
	}
}

func TestPathMatcher(t *testing.T) {
	for pattern, paths := range map[string]map[string]bool{
		"etc/rc?.d/*":                 {"etc/rc0.d/K01x": true, "etc/rc0.d/a/b": false, "etc/rc.d/x": false},
		"var/cache/apt/**":            {"var/cache/apt": true, "var/cache/apt/a/b": true, "var/cache/apt2": false},
		"usr/**/tests/**/__pycache__": {"usr/a/tests/__pycache__": true, "usr/tests/b/c/__pycache__": true, "usr/atests/__pycache__": false},
		"var/lib/mysql/*/**":          {"var/lib/mysql": false, "var/lib/mysql/a": true, "var/lib/mysql/a/b": true},
	} {
		for path, want := range paths {
			if got := pathMatcher(pattern).MatchString(path); got != want {
				t.Errorf("pattern %s matches %s: %v, want %v", pattern, path, got, want)
			}
		}
	}
}
