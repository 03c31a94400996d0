package qemutests

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
)

// mmdebstrapTime bounds one run of mmdebstrap: 800 packages in four minutes on
// two cores, and as much again for a slower machine, thrice.
const mmdebstrapTime = 25 * time.Minute

// TestImageTreeIsThatOfMmdebstrap makes the controller's tree a second time,
// with Debian's mmdebstrap and apt from the very package files of the image,
// and compares: the same files, types, modes, owners, contents, times and
// extended attributes. What differs must be in the list of differences(), and
// all of that list must be there.
func TestImageTreeIsThatOfMmdebstrap(t *testing.T) {
	eachImage(t, func(t *testing.T, i image) {
		if i.Base != "controller" {
			t.Skip("the controller has the most packages of all roles; one comparison is enough")
		}
		for _, tool := range []string{"mmdebstrap", "systemd-sysusers", "dpkg-deb", "unshare", "chroot"} {
			need(t, tool)
		}
		if os.Geteuid() != 0 {
			t.Skip("owners and modes of files can only be compared by root")
		}
		mayMount(t)
		say := stopwatch(t)
		say("compare the trees of %d packages", len(i.Packages))
		trees := t.TempDir()
		ours, theirs := filepath.Join(trees, "ours"), filepath.Join(trees, "theirs")
		oracle(t, "unsquashfs", "-n", "-q", "-d", ours, i.file(".root"))
		say("unpacked the image")
		m := debTree{repo: newDebRepo(t, i), say: say}
		m.run(t, theirs)
		say("mmdebstrap is done")
		d := treeDiff{image: i, ours: readTree(t, ours), theirs: readTree(t, theirs), made: i.date(t).Unix()}
		d.ours.fromFactory()
		say("read %d and %d files", len(d.ours.nodes), len(d.theirs.nodes))
		found := d.compare(t)
		say("found %d differences", len(found))
		explain(t, d, found)
	})
}

// stopwatch returns a function that logs a line with the seconds since.
func stopwatch(t *testing.T) func(format string, args ...any) {
	start := time.Now()
	return func(format string, args ...any) {
		t.Logf("%4.0f s  %s", time.Since(start).Seconds(), fmt.Sprintf(format, args...))
	}
}

// date is that of the archive: no file of the image is younger.
func (i image) date(t *testing.T) time.Time {
	t.Helper()
	var m struct{ Date time.Time }
	i.read(t, ".manifest.json", &m)
	if m.Date.IsZero() {
		t.Fatalf("the manifest of %s has no date", i.Base)
	}
	return m.Date
}

func (i image) read(t *testing.T, ending string, into any) {
	t.Helper()
	text, err := os.ReadFile(i.file(ending))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, into); err != nil {
		t.Fatalf("read %s%s: %v", i.Base, ending, err)
	}
}

// A debRepo is a small archive on loopback that has the packages of an image
// and nothing else, so that apt has no choice of versions.
type debRepo struct {
	names    []string
	packages []byte            // the index, Packages
	release  []byte            // its digest (https://wiki.debian.org/DebianRepository/Format)
	debs     map[string]string // file names by SHA-256
	url      string
}

// newDebRepo serves the packages of i from the cache in which it was built.
func newDebRepo(t *testing.T, i image) *debRepo {
	t.Helper()
	var m struct {
		Packages []struct{ Name, SHA256 string }
	}
	i.read(t, ".manifest.json", &m)
	r := &debRepo{debs: map[string]string{}}
	cache := userCache(t)
	for _, p := range m.Packages {
		r.names = append(r.names, p.Name)
		r.debs[p.SHA256] = filepath.Join(cache, "debs", p.SHA256[:2], p.SHA256+".deb")
	}
	r.fetch(t, i)
	stanzas := make([]string, len(m.Packages))
	var g errgroup.Group
	g.SetLimit(runtime.NumCPU())
	for n, p := range m.Packages {
		g.Go(func() (err error) {
			stanzas[n], err = stanza(t.Context(), p.SHA256, r.debs[p.SHA256])
			return err
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	r.packages = []byte(strings.Join(stanzas, "\n"))
	r.release = fmt.Appendf(nil, "Suite: trixie\nCodename: trixie\nDate: %s\nArchitectures: amd64\nSHA256:\n %x %d Packages\n",
		time.Now().UTC().Format(time.RFC1123), sha256.Sum256(r.packages), len(r.packages))
	server := httptest.NewServer(r)
	t.Cleanup(server.Close)
	r.url = server.URL
	return r
}

// userCache is the cache of whoever runs the test, as trivet finds it.
func userCache(t *testing.T) string {
	t.Helper()
	if dir := os.Getenv("TRIVET_CACHE"); dir != "" {
		return dir
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "trivet")
}

// fetch lets trivet bring the packages again if the cache was pruned since.
func (r *debRepo) fetch(t *testing.T, i image) {
	t.Helper()
	for _, path := range r.debs {
		if _, err := os.Stat(path); err != nil {
			t.Logf("build %s again for its packages: %v", i.Base, err)
			build(t, t.TempDir(), "--locked", i.file(".lock"), i.Role)
			return
		}
	}
}

// stanza is the entry of one package in an index.
func stanza(ctx context.Context, sum, path string) (string, error) {
	st, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	control, err := exec.CommandContext(ctx, "dpkg-deb", "--field", path).Output()
	if err != nil {
		return "", fmt.Errorf("read the control file of %s: %w", path, err)
	}
	return fmt.Sprintf("%sFilename: %s.deb\nSize: %d\nSHA256: %s\n", control, sum, st.Size(), sum), nil
}

func (r *debRepo) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	name := filepath.Base(q.URL.Path)
	sum, isDeb := strings.CutSuffix(name, ".deb")
	switch {
	case isDeb && r.debs[sum] != "":
		http.ServeFile(w, q, r.debs[sum])
	case name == "Packages":
		w.Write(r.packages)
	case name == "Release":
		w.Write(r.release)
	default:
		http.NotFound(w, q)
	}
}

// A debTree is a tree that mmdebstrap makes of the packages of a repo.
type debTree struct {
	repo *debRepo
	say  func(string, ...any)
}

// mmdebstrapScript gives mmdebstrap a directory on which the thousands of
// fsync(2) of dpkg cost nothing, where the kernel can (overlayfs, "volatile"),
// in a mount namespace of its own. $1 takes the tree; the rest is the command.
const mmdebstrapScript = `
tree=$1; shift
mkdir -p "$tree" "$tree.empty" "$tree.work" "$tree.mnt"
mount -t overlay -o "volatile,lowerdir=$tree.empty,upperdir=$tree,workdir=$tree.work" trivet-test "$tree.mnt" ||
	mount --bind "$tree" "$tree.mnt"
exec "$@"`

// run makes the tree in the directory dir.
func (m debTree) run(t *testing.T, dir string) {
	t.Helper()
	conf := t.TempDir()
	pinned, err := filepath.Abs(filepath.Join(repository, "overlays/common/usr/lib/sysusers.d/trivet.conf"))
	if err != nil {
		t.Fatal(err)
	}
	excludes, err := os.ReadFile(filepath.Join(filepath.Dir(dir), "ours/etc/dpkg/dpkg.cfg.d/trivet"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(conf, "dpkg"), append(excludes, "force-unsafe-io\nforce-confnew\n"...), 0o644); err != nil {
		t.Fatal(err)
	}
	args := []string{
		"--mount", "--pid", "--fork", "--kill-child", "sh", "-ec", mmdebstrapScript, "sh", dir,
		"mmdebstrap", "--mode=root", "--format=directory", "--variant=essential", "--architectures=amd64",
		"--include=" + strings.Join(m.repo.names, ","),
		"--dpkgopt=" + filepath.Join(conf, "dpkg"),
		"--aptopt=APT::Install-Recommends \"false\"", "--aptopt=Acquire::http::Proxy \"DIRECT\"",
		// The image's users have fixed numbers before the first package asks for one.
		"--essential-hook=systemd-sysusers --root=\"$1\" " + pinned,
		"trixie", dir + ".mnt", "deb [trusted=yes] " + m.repo.url + " ./",
	}
	ctx, cancel := context.WithTimeout(t.Context(), mmdebstrapTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, "unshare", args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Env = []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C.UTF-8", "TZ=UTC",
		"DEBIAN_FRONTEND=noninteractive", "TMPDIR=" + conf,
		"PERL_HASH_SEED=0", "PYTHONHASHSEED=0", // as trivet has them, for files that are written from hash tables
	}
	out := &progressLines{say: m.say}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Run(); err != nil {
		t.Fatalf("mmdebstrap: %v\n%s", err, out.tail())
	}
}

// progressLines passes on mmdebstrap's own lines, which begin with a letter and
// a colon, and keeps the end of all lines for an error.
type progressLines struct {
	mu   sync.Mutex
	say  func(string, ...any)
	rest []byte
	last []string
}

func (p *progressLines) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rest = append(p.rest, b...)
	for {
		line, rest, ok := bytes.Cut(p.rest, []byte("\n"))
		if !ok {
			return len(b), nil
		}
		p.rest = rest
		text := string(line[bytes.LastIndexByte(line, '\r')+1:])
		if len(text) > 3 && (text[:3] == "I: " || text[:3] == "W: " || text[:3] == "E: ") {
			p.say("mmdebstrap: %s", text[3:])
		}
		p.last = append(p.last, text)
		p.last = p.last[max(0, len(p.last)-60):]
	}
}

func (p *progressLines) tail() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.last, "\n")
}
