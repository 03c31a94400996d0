package qemutests

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"trivet/builder/apt"
)

// mirror builds from mirrors that misbehave: a server on loopback that has the
// packages of the lock from the cache, and all else from the mirror of the
// host's apt. A build that got a bad answer fails, says of which file, and
// leaves nothing that would make a later one wrong.
func (d *disturbance) mirror(t *testing.T) {
	t.Run("stalls for ever", func(t *testing.T) {
		t.Parallel() // it waits for minutes and costs nothing
		m, dir := d.newMirror(t), t.TempDir()
		m.set(stallAfter(32 << 20))
		e := d.buildFrom(t, m, dir)
		e.mustFail(t, 1, `fetch \S+ \S+: download http://127\.0\.0\.1.*\.deb: .*(no byte|stall|timeout|nothing)`, "--mirror")
		d.leftNothing(t, dir)
	})
	t.Run("bad answers", d.badAnswers)
	t.Run("bad indices", d.badIndices)
}

// badAnswers: a mirror that is wrong about the packages themselves.
func (d *disturbance) badAnswers(t *testing.T) {
	t.Parallel()
	m, dir := d.newMirror(t), t.TempDir()
	// One cache for all, so that the last build would find what any left.
	for _, f := range []struct {
		name  string
		file  string // the package that it is about, which the cache must not have yet
		fault func(pattern string) fault
		say   string
	}{
		{"ends half-way", `_amd64\.deb$`, func(string) fault { return cutAfter(40 << 20) }, `fetch \S+ \S+: download http://127\.0\.0\.1.*\.deb: `},
		{"truncates a package", `/systemd_.*\.deb$`, on(sendHalf), `fetch systemd \S+: download .*systemd_.*\.deb: .*(ended after|ends at byte)`},
		{"lies about a package", `/openssh-server_.*\.deb$`, on(changeBit), `fetch openssh-server \S+: download .*: the mirror sent other content`},
		{"lacks a package", `/rsync_.*\.deb$`, on(lacks), `fetch rsync \S+: download .*404.*trivet lock`},
	} {
		m.forget(t, filepath.Join(dir, "cache"), f.file)
		m.set(f.fault(f.file))
		e := d.buildFrom(t, m, dir)
		t.Logf("a mirror that %s: %s", f.name, lastLine(e.said))
		e.mustFail(t, 1, f.say)
		d.leftNothing(t, dir)
	}
	m.set(restless())
	d.mustBeRight(t, filepath.Join(dir, "cache"), filepath.Join(dir, "out"), m.args()...)
}

// badIndices: a mirror that is wrong about what packages there are.
func (d *disturbance) badIndices(t *testing.T) {
	t.Parallel()
	reachableMirror(t)
	m, dir := d.newMirror(t), t.TempDir()
	asks := *d
	asks.lock = ""
	for _, f := range []struct {
		name  string
		fault fault
		say   string
	}{
		{"changes InRelease", onFile(`/InRelease$`, changeBit), `verify InRelease of trixie`},
		{"truncates InRelease", onFile(`/trixie/InRelease$`, sendHalf), `verify InRelease of trixie`},
		{"changes an index", onFile(`/binary-amd64/`, changeBit), `dists/trixie\S*/binary-amd64/\S+: the mirror sent other content`},
		{"truncates an index", onFile(`/binary-amd64/`, sendHalf), `dists/trixie\S*/binary-amd64/\S+: .*(ended after|ends at byte)`},
		{"ends while it sends an index", onFile(`/trixie/main/binary-amd64/`, breakOff), `dists/trixie/main/binary-amd64/\S+: .*EOF`},
	} {
		m.set(f.fault)
		e := asks.buildFrom(t, m, dir)
		t.Logf("a mirror that %s: %s", f.name, lastLine(e.said))
		e.mustFail(t, 1, f.say)
		asks.leftNothing(t, dir)
	}
	m.set(restless())
	if lock := d.lockFrom(t, m, dir); !strings.Contains(lock, "\npackage base systemd ") {
		t.Errorf("a lock with the mirror that is only restless does not have systemd:\n%s", lock)
	}
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)-1]
}

func (d *disturbance) buildFrom(t *testing.T, m *mirror, dir string) ended {
	t.Helper()
	return d.build(t, filepath.Join(dir, "cache"), filepath.Join(dir, "out"), m.args()...)
}

// lockFrom resolves the role anew and returns the text of the lock.
func (d *disturbance) lockFrom(t *testing.T, m *mirror, dir string) string {
	t.Helper()
	file := filepath.Join(dir, "new.lock")
	oracle(t, append([]string{d.program, "lock", "--source", d.source, "--cache", filepath.Join(dir, "cache"), "--output", file}, append(m.args(), failingRole)...)...)
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// leftNothing wants no file in the output directory.
func (d *disturbance) leftNothing(t *testing.T, dir string) {
	t.Helper()
	if left := listDir(t, filepath.Join(dir, "out")); len(left) > 0 {
		t.Errorf("a build that failed left %q in the output directory", left)
	}
}

// A mirror answers for the host's mirror, in its own way.
type mirror struct {
	url               string
	archive, security string            // base URLs of the host's mirror, "" without one
	debs              map[string]string // packages in the cache of whoever runs the test, by their path in the pool
	mu                sync.Mutex
	fault             fault
}

// A fault answers a request for a file.
type fault func(w http.ResponseWriter, q *http.Request, file io.ReadSeeker)

func (m *mirror) set(f fault) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fault = f
}

func (m *mirror) args() []string { return []string{"--mirror", m.url + "/debian"} }

func (d *disturbance) newMirror(t *testing.T) *mirror {
	t.Helper()
	m := &mirror{debs: map[string]string{}}
	if host, err := apt.HostMirrors("/etc/apt"); err == nil {
		m.archive, m.security = strings.TrimRight(host.Archive, "/"), strings.TrimRight(host.Security, "/")
	}
	text, err := os.ReadFile(filepath.Join(filepath.Dir(d.source), failingRole+".lock"))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range regexp.MustCompile(`(?m)^package .* ([0-9a-f]{64}) .* (pool/\S+)$`).FindAllStringSubmatch(string(text), -1) {
		m.debs["/"+p[2]] = filepath.Join(userCache(t), "debs", p[1][:2], p[1]+".deb")
	}
	server := httptest.NewServer(m)
	t.Cleanup(server.Close)
	m.url = server.URL
	return m
}

func (m *mirror) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	m.mu.Lock()
	fault := m.fault
	m.mu.Unlock()
	base, path := m.archive, strings.TrimPrefix(q.URL.Path, "/debian")
	if rest, ok := strings.CutPrefix(q.URL.Path, "/debian-security"); ok {
		base, path = m.security, rest
	}
	if f, err := os.Open(m.debs[path]); err == nil {
		defer f.Close()
		fault(w, q, f)
		return
	}
	up, err := http.NewRequestWithContext(q.Context(), http.MethodGet, base+path, nil)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	resp, err := http.DefaultClient.Do(up)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		http.Error(w, resp.Status, resp.StatusCode)
		return
	}
	fault(w, q, bytes.NewReader(body))
}

// forget removes the packages that match from a cache, as if they had not been
// fetched yet.
func (m *mirror) forget(t *testing.T, cache, pattern string) {
	t.Helper()
	for path, deb := range m.debs {
		if !regexp.MustCompile(pattern).MatchString(path) {
			continue
		}
		name := filepath.Base(deb)
		if err := os.Remove(filepath.Join(cache, "debs", name[:2], name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
	}
}

func wellBehaved(w http.ResponseWriter, q *http.Request, file io.ReadSeeker) {
	http.ServeContent(w, q, "", time.Time{}, file)
}

// on is onFile without its pattern.
func on(f fault) func(pattern string) fault {
	return func(pattern string) fault { return onFile(pattern, f) }
}

// onFile has the fault for the files whose URL matches, and none for others.
func onFile(pattern string, f fault) fault {
	name := regexp.MustCompile(pattern)
	return func(w http.ResponseWriter, q *http.Request, file io.ReadSeeker) {
		if name.MatchString(q.URL.Path) {
			f(w, q, file)
			return
		}
		wellBehaved(w, q, file)
	}
}

func lacks(w http.ResponseWriter, q *http.Request, _ io.ReadSeeker) { http.NotFound(w, q) }

// whole reads the whole file.
func whole(file io.ReadSeeker) []byte {
	text, err := io.ReadAll(file)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	return text
}

// sendHalf has half of the file and takes it for the whole.
func sendHalf(w http.ResponseWriter, q *http.Request, file io.ReadSeeker) {
	text := whole(file)
	wellBehaved(w, q, bytes.NewReader(text[:len(text)/2]))
}

// changeBit changes one bit in the middle of the file.
func changeBit(w http.ResponseWriter, q *http.Request, file io.ReadSeeker) {
	text := whole(file)
	text[len(text)/2] ^= 1
	wellBehaved(w, q, bytes.NewReader(text))
}

// breakOff announces the whole file and closes the connection after half of it.
func breakOff(w http.ResponseWriter, _ *http.Request, file io.ReadSeeker) {
	text := whole(file)
	w.Header().Set("Content-Length", fmt.Sprint(len(text)))
	w.Write(text[:len(text)/2])
	panic(http.ErrAbortHandler)
}

// A meter lets so many bytes of an answer pass and then calls over.
type meter struct {
	http.ResponseWriter
	left *atomic.Int64
	over func()
}

func (m meter) Write(p []byte) (int, error) {
	if m.left.Add(-int64(len(p))) < 0 {
		if f, ok := m.ResponseWriter.(http.Flusher); ok {
			f.Flush()
		}
		m.over()
	}
	return m.ResponseWriter.Write(p)
}

// cutAfter serves so many bytes in all; then the mirror is gone, in the middle
// of files.
func cutAfter(bytes int64) fault {
	left := &atomic.Int64{}
	left.Store(bytes)
	return func(w http.ResponseWriter, q *http.Request, file io.ReadSeeker) {
		wellBehaved(meter{w, left, func() { panic(http.ErrAbortHandler) }}, q, file)
	}
}

// stallAfter serves so many bytes in all; then no answer goes on or begins, and
// connections stay open.
func stallAfter(bytes int64) fault {
	left := &atomic.Int64{}
	left.Store(bytes)
	return func(w http.ResponseWriter, q *http.Request, file io.ReadSeeker) {
		wellBehaved(meter{w, left, func() {
			<-q.Context().Done()
			panic(http.ErrAbortHandler)
		}}, q, file)
	}
}

// restless is a mirror that one can still build from: of each file it first
// sends a third and closes the connection, then says that it is busy, and then
// sends what is asked for.
func restless() fault {
	var mu sync.Mutex
	asked := map[string]int{}
	return func(w http.ResponseWriter, q *http.Request, file io.ReadSeeker) {
		mu.Lock()
		asked[q.URL.Path]++
		n := asked[q.URL.Path]
		mu.Unlock()
		switch n {
		case 1:
			size, err := file.Seek(0, io.SeekEnd)
			if err != nil {
				panic(http.ErrAbortHandler)
			}
			cutAfter(size/3)(w, q, file)
		case 2:
			http.Error(w, "busy", http.StatusServiceUnavailable)
		default:
			wellBehaved(w, q, file)
		}
	}
}
