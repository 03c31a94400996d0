package qemutests

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// An explanation says why the image differs from mmdebstrap's tree at some
// paths. One that no difference needs is an error: the list stays short.
type explanation struct {
	what  string   // the kind of difference
	paths []string // patterns: ? and * within a name, ** across slashes; DIR/** is DIR too
	why   string
	maybe bool                            // it depends on the host and on its version of mmdebstrap, and may be missing
	same  func(ours, theirs []byte) error // of a content: what must be the same all the same; nil: nothing
}

// pathMatcher is a pattern of an explanation as a regular expression.
func pathMatcher(pattern string) *regexp.Regexp {
	r := regexp.QuoteMeta(pattern)
	for _, s := range [][2]string{{`/\*\*/`, `/(.*/)?`}, {`/\*\*`, `(/.*)?`}, {`\*`, `[^/]*`}, {`\?`, `[^/]`}} {
		r = strings.ReplaceAll(r, s[0], s[1])
	}
	return regexp.MustCompile("^" + r + "$")
}

// A pattern is one of an explanation, with how many differences it explained.
type pattern struct {
	explanation
	path string
	is   *regexp.Regexp
	used int
}

// explain fails for every difference that the list does not explain and for
// every pattern of the list that explains none.
func explain(t *testing.T, d treeDiff, found []difference) {
	t.Helper()
	var list []*pattern
	for _, e := range differences() {
		for _, p := range e.paths {
			list = append(list, &pattern{explanation: e, path: p, is: pathMatcher(p)})
		}
	}
	const most = 200
	unexplained := 0
	for _, f := range d.withoutOverlays(t, d.withoutSameCode(t, found)) {
		i := slices.IndexFunc(list, func(p *pattern) bool { return f.what == p.what && p.is.MatchString(f.path) })
		if i >= 0 {
			list[i].used++
			if err := d.check(list[i].explanation, f.path); err != nil {
				t.Errorf("%s; that is known (%s), but more differs: %v", f, list[i].why, err)
			}
			continue
		}
		if unexplained++; unexplained <= most {
			t.Errorf("not explained: %s", f)
		}
	}
	if unexplained > most {
		t.Errorf("and %d more that are not explained", unexplained-most)
	}
	for _, p := range list {
		if p.used == 0 && !p.maybe {
			t.Errorf("the list explains something that is not so any more; remove it: %s /%s: %s", p.what, p.path, p.why)
		}
		t.Logf("%5d × %s /%s: %s", p.used, p.what, p.path, p.why)
	}
}

func (d treeDiff) check(e explanation, name string) error {
	if e.same == nil {
		return nil
	}
	ours, err := os.ReadFile(d.ours.nodes[name].path)
	if err != nil {
		return err
	}
	theirs, err := os.ReadFile(d.theirs.nodes[name].path)
	if err != nil {
		return err
	}
	return e.same(ours, theirs)
}

// compareCode reads pairs of .pyc files from standard input, each with its
// length in four bytes before it, and says of each pair whether header (PEP
// 552) and code are the same. What marshal writes depends on which of its
// objects something else refers to, so files of the same code may differ.
const compareCode = `
import marshal, struct, sys, types

def same(a, b):
    if type(a) is not type(b):
        return False
    if isinstance(a, types.CodeType):
        names = [n for n in dir(a) if n.startswith("co_") and n != "co_lnotab" and not callable(getattr(a, n))]
        return all(same(getattr(a, n), getattr(b, n)) for n in names)
    if isinstance(a, tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, frozenset):
        return a == b
    return repr(a) == repr(b)

def read():
    head = sys.stdin.buffer.read(4)
    return sys.stdin.buffer.read(struct.unpack(">I", head)[0]) if head else None

while (a := read()) is not None:
    b = read()
    print(int(a[:16] == b[:16] and same(marshal.loads(a[16:]), marshal.loads(b[16:]))))
`

// withoutSameCode drops differences of byte code that is the same to Python:
// to the one in mmdebstrap's tree, since only its own version can read it.
func (d treeDiff) withoutSameCode(t *testing.T, found []difference) []difference {
	t.Helper()
	var rest, code []difference
	var pairs bytes.Buffer
	for _, f := range found {
		if f.what != otherContent || !strings.HasSuffix(f.path, ".pyc") {
			rest = append(rest, f)
			continue
		}
		code = append(code, f)
		for _, tr := range []tree{d.ours, d.theirs} {
			text, err := os.ReadFile(tr.nodes[f.path].path)
			if err != nil {
				t.Fatal(err)
			}
			pairs.Write([]byte{byte(len(text) >> 24), byte(len(text) >> 16), byte(len(text) >> 8), byte(len(text))})
			pairs.Write(text)
		}
	}
	cmd := exec.CommandContext(t.Context(), "chroot", d.theirs.dir, "/usr/bin/python3", "-I", "-S", "-c", compareCode)
	cmd.Stdin = &pairs
	var says bytes.Buffer
	cmd.Stderr = &says
	out, err := cmd.Output()
	answers := strings.Fields(string(out))
	if err != nil || len(answers) != len(code) {
		t.Fatalf("compare byte code: %v, %d answers for %d files\n%s", err, len(answers), len(code), says.Bytes())
	}
	same := 0
	for n, f := range code {
		if answers[n] == "1" {
			same++
		} else {
			rest = append(rest, f)
		}
	}
	t.Logf("%d files of byte code have other bytes, %d of them the same code", len(code), same)
	return rest
}

// withoutOverlays drops the differences that overlays make: derived from the
// folders, each file of which must be in the image as it is there.
func (d treeDiff) withoutOverlays(t *testing.T, found []difference) []difference {
	t.Helper()
	laid := d.overlays(t)
	for name, from := range laid {
		n, ok := d.ours.nodes[name]
		if !ok {
			t.Errorf("the image lacks /%s, which an overlay has", name)
			continue
		}
		if err := d.asOverlay(n, from); err != nil {
			t.Errorf("/%s is not as overlays have it: %v", name, err)
		}
	}
	var rest []difference
	for _, f := range found {
		if _, by := laid[f.path]; !by {
			rest = append(rest, f)
		}
	}
	return rest
}

// overlays are the files that the role's overlays put into the image, by path,
// and the directories that exist for them only: common, the role's own, and
// those of its services.
func (d treeDiff) overlays(t *testing.T) map[string]treeNode {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(d.ours.dir, "usr/share/trivet/role.json"))
	if err != nil {
		t.Fatal(err)
	}
	var role struct{ Services []struct{ Name string } }
	if err := json.Unmarshal(text, &role); err != nil {
		t.Fatal(err)
	}
	names := []string{"common", d.image.Role}
	for _, s := range role.Services {
		names = append(names, s.Name)
	}
	laid := map[string]treeNode{}
	for _, name := range names {
		dir := filepath.Join(repository, "overlays", name)
		if _, err := os.Stat(dir); err != nil {
			continue // not every service has files
		}
		for path, n := range readTree(t, dir).nodes {
			if _, there := d.theirs.nodes[path]; n.kind != unix.S_IFDIR || !there {
				laid[path] = n
			}
		}
	}
	if len(laid) < 20 {
		t.Errorf("the overlays have %d files, want some dozen", len(laid))
	}
	return laid
}

// asOverlay compares a file of the image with that of an overlay, which carries
// no metadata: root's, and 0755 where it is executable or a directory.
func (d treeDiff) asOverlay(n, from treeNode) error {
	mode := uint32(0o644)
	if from.mode&0o111 != 0 {
		mode = 0o755
	}
	if n.kind != from.kind || n.target != from.target || n.uid != 0 || n.gid != 0 {
		return fmt.Errorf("it has type %o, target %q, owner %d:%d", n.kind, n.target, n.uid, n.gid)
	}
	if from.kind != unix.S_IFREG {
		return nil
	}
	same, err := sameContent(n, from)
	if err != nil {
		return err
	}
	if !same || n.mode != mode {
		return fmt.Errorf("it has mode %04o, want %04o; the content is the same: %v (are the images older than the overlays? `make images`)", n.mode, mode, same)
	}
	return nil
}
