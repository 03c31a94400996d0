package overlay

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// write makes files below a new directory; a value that begins with "-> " is a symlink.
func write(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if target, is := strings.CutPrefix(text, "-> "); is {
			err = os.Symlink(target, p)
		} else {
			err = os.WriteFile(p, []byte(text), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestReadRefuses(t *testing.T) {
	for name, tc := range map[string]struct {
		files map[string]string
		want  string
	}{
		"one path twice":        {map[string]string{"a/etc/x": "1", "b/etc/x": "1"}, "/etc/x is in both overlays/a and overlays/b"},
		"file and directory":    {map[string]string{"a/etc/x": "1", "b/etc/x/y": "1"}, "/etc/x is a file in overlays/a and a directory in overlays/b"},
		"template out of place": {map[string]string{"a/usr/x.tmpl": "1"}, "/usr/x.tmpl is a template outside of /etc"},
	} {
		_, err := Read(write(t, tc.files), []string{"a", "b"})
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: error = %v; want %q", name, err, tc.want)
		}
	}
}

func TestDigestFollowsEveryChange(t *testing.T) {
	seen := map[string]string{}
	for name, files := range map[string]map[string]string{
		"first":   {"a/etc/x": "1"},
		"content": {"a/etc/x": "2"},
		"path":    {"a/etc/y": "1"},
		"link":    {"a/etc/x": "-> 1"},
		"more":    {"a/etc/x": "1", "b/etc/y": ""},
	} {
		tree, err := Read(write(t, files), []string{"a", "b", "no-such-folder"})
		if err != nil {
			t.Fatal(err)
		}
		if other, twice := seen[tree.Digest()]; twice {
			t.Errorf("%s has the digest of %s", name, other)
		}
		seen[tree.Digest()] = name
	}
}

func TestLayKeepsTheDirectoriesOfThePackages(t *testing.T) {
	src := write(t, map[string]string{"a/etc/keys/x": "1", "a/etc/link": "-> keys"})
	tree, err := Read(src, []string{"a"})
	if err != nil {
		t.Fatal(err)
	}
	below, upper, epoch := t.TempDir(), t.TempDir(), time.Unix(1_700_000_000, 0)
	if err := os.MkdirAll(filepath.Join(below, "etc/keys"), 0o700); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() != 0 {
		t.Skip("skipped: laying files sets their owner to root, and this test runs as an ordinary user")
	}
	if err := tree.Lay(upper, []string{below}, epoch); err != nil {
		t.Fatal(err)
	}
	for name, mode := range map[string]os.FileMode{"etc/keys": os.ModeDir | 0o700, "etc/keys/x": 0o644, "etc/link": os.ModeSymlink | 0o777} {
		info, err := os.Lstat(filepath.Join(upper, name))
		if err != nil || info.Mode() != mode || !info.ModTime().Equal(epoch) {
			t.Errorf("%s = %v %v (%v); want %v %v", name, info.Mode(), info.ModTime(), err, mode, epoch)
		}
	}
}

func TestLayRefusesToWriteThroughASymlink(t *testing.T) {
	tree, err := Read(write(t, map[string]string{"a/lib/x": "1"}), []string{"a"})
	if err != nil {
		t.Fatal(err)
	}
	err = tree.Lay(t.TempDir(), []string{write(t, map[string]string{"lib": "-> usr/lib"})}, time.Unix(0, 0))
	if err == nil || !strings.Contains(err.Error(), "/lib is a symlink in the packages") {
		t.Errorf("error = %v; want one about the symlink", err)
	}
}
