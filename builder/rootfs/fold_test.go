package rootfs

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"trivet/builder/host"
)

// TestFold lets the kernel's overlay make a change over two directories, folds
// them, and compares what an overlay shows before and after.
func TestFold(t *testing.T) {
	needRoot(t)
	base := t.TempDir() // one file system for all
	place := func(name string, files map[string]string) string {
		to := filepath.Join(base, name)
		if err := os.Rename(writeTree(t, files), to); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(to, 0o755); err != nil {
			t.Fatal(err)
		}
		return to
	}
	kernel := map[string]string{"proc/": "", "sys/": "", "dev/": "", "run/": "", "tmp/": ""}
	below := map[string]string{"a/keep": "1", "a/gone": "1", "b/x": "1", "b/sub/y": "1", "c": "1", "deep/er/file": "1"}
	for k := range kernel {
		below[k] = ""
	}
	low := place("low", below)
	mid := place("mid", map[string]string{"a/mid": "2", "a/mid-gone": "2", "d/z": "2", "e/f": "2"})
	script := `cd /
		rm a/gone a/mid-gone            # a whiteout that is needed, one that is not
		rm -r b && mkdir b && echo new >b/n   # opaque
		rm -r d && mkdir -p d/e && echo q >d/e/q  # opaque over mid only
		rm c && mkdir c && echo dir >c/in     # a file becomes a directory
		rm -r e && echo file >e               # a directory becomes a file
		rm -r deep && mkdir -p deep/er && rm -rf deep/er  # hides what is two levels below
		chmod 700 a; chmod 4755 a/keep; ln a/keep a/keep2; ln -s /etc a/link`
	upper := filepath.Join(base, "up")
	s := host.Sandbox{Mounts: append([]host.Mount{{Target: "/", Layers: []string{low, mid}, Upper: upper, Work: filepath.Join(base, "work")}}, hostPrograms()...)}
	var errs strings.Builder
	if err := s.Run(t.Context(), host.Command{Args: []string{"/bin/sh", "-ec", script}, Stderr: &errs}); err != nil {
		t.Fatalf("%v\n%s", err, errs.String())
	}
	removeEmpty(t, upper, "bin", "lib", "lib64", "usr")
	want := show(t, low, mid, upper)
	f := folding{below: newView([]string{low}), dst: mid}
	if err := f.over(upper); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, show(t, low, mid)); diff != "" {
		t.Errorf("the overlay after folding (-want +got):\n%s", diff)
	}
	wantDir := "a/ 0700\na/gone whiteout\na/keep 4755 \"1\"\na/keep2 4755 = a/keep\na/link -> /etc\na/mid 0644 \"2\"\nb/ 0755\nb/n 0644 \"new\\n\"\nc/ 0755\nc/in 0644 \"dir\\n\"\nd/ 0755\nd/e/ 0755\nd/e/q 0644 \"q\\n\"\ndeep/ 0755\ne 0644 \"file\\n\"\n"
	if diff := cmp.Diff(wantDir, dump(t, mid)); diff != "" {
		t.Errorf("the folded directory (-want +got):\n%s", diff)
	}
	for name, want := range map[string]bool{"b": true, "d": false, "deep": true} {
		if got := opaque(filepath.Join(mid, name)); got != want {
			t.Errorf("directory %s is opaque: %v, want %v", name, got, want)
		}
	}
	checkNoOverlayNotes(t, mid)
}

// hostPrograms binds the host's programs, for scripts in small trees.
func hostPrograms() []host.Mount {
	var out []host.Mount
	for _, d := range []string{"/usr", "/bin", "/lib", "/lib64"} {
		if info, err := os.Stat(d); err == nil && info.IsDir() {
			out = append(out, host.Mount{Target: d, Layers: []string{d}})
		}
	}
	return out
}

func removeEmpty(t *testing.T, root string, names ...string) {
	t.Helper()
	for _, n := range names {
		if err := os.Remove(filepath.Join(root, n)); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
	}
}

// show lists what a view of the layers has.
func show(t *testing.T, layers ...string) string {
	t.Helper()
	var out strings.Builder
	v := newView(layers)
	var walk func(name string)
	walk = func(name string) {
		n, err := v.lookup(name)
		if err != nil {
			t.Fatal(err)
		}
		body := []byte(n.target)
		if n.kind == kindFile {
			if body, err = os.ReadFile(n.host); err != nil {
				t.Fatal(err)
			}
		}
		if len(body) > 60 {
			body = fmt.Append(nil, len(body), " bytes ", digest(body))
		}
		out.WriteString(name + " " + n.kind + " " + string(body) + "\n")
		names, err := v.list(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range sorted(names) {
			if n.kind == kindDir {
				walk(filepath.Join(name, k))
			}
		}
	}
	walk(".")
	return out.String()
}

func sorted(names []string) []string {
	m := map[string]bool{}
	for _, n := range names {
		m[n] = true
	}
	return sortedKeys(m)
}

func checkNoOverlayNotes(t *testing.T, root string) {
	t.Helper()
	err := filepath.Walk(root, func(p string, _ os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		buf := make([]byte, 1024)
		n, err := unix.Llistxattr(p, buf)
		for name := range strings.SplitSeq(string(buf[:max(n, 0)]), "\x00") {
			if strings.Contains(name, "overlay") && name != opaqueTrusted && name != opaqueUser {
				t.Errorf("%s has the attribute %s", p, name)
			}
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}
