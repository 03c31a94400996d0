package apt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const webPool = "/debian/pool/main/web_1.0_amd64.deb"

// web is a package of m as a lock has it, with its bytes.
func (m *mirror) web() (Package, []byte) {
	m.add("web")
	deb := m.files[webPool]
	return Package{Name: "web", Version: "1.0", Arch: "amd64", Source: "web", SHA256: sumBytes(deb), Size: int64(len(deb)), Pool: strings.TrimPrefix(webPool, "/debian/")}, deb
}

// TestFetchFromALyingMirror: a mirror may do what it likes; what comes into
// the store is right, or nothing is.
func TestFetchFromALyingMirror(t *testing.T) {
	var tries atomic.Int64
	redirect := func(to string) func(w http.ResponseWriter, r *http.Request, file []byte) bool {
		return func(w http.ResponseWriter, r *http.Request, _ []byte) bool {
			http.Redirect(w, r, to, http.StatusFound)
			return true
		}
	}
	for name, tc := range map[string]struct {
		lie  func(w http.ResponseWriter, r *http.Request, file []byte) bool
		want string // "": it must work in the end
		part bool   // what came so far must stay
	}{
		"busy, then fine": {lie: func(w http.ResponseWriter, _ *http.Request, _ []byte) bool {
			if tries.Add(1) < 3 {
				w.WriteHeader(http.StatusServiceUnavailable)
				return true
			}
			return false
		}},
		"too many asked, then fine": {lie: func(w http.ResponseWriter, _ *http.Request, _ []byte) bool {
			if tries.Add(1) < 2 {
				w.WriteHeader(http.StatusTooManyRequests)
				return true
			}
			return false
		}},
		"cut half-way, then resumed": {lie: func(w http.ResponseWriter, r *http.Request, file []byte) bool {
			if r.Header.Get("Range") == "" {
				w.Header().Set("Content-Length", fmt.Sprint(len(file)))
				_, _ = w.Write(file[:len(file)/2])
				return true
			}
			return false
		}},
		"cut half-way, then without ranges": {lie: func(w http.ResponseWriter, _ *http.Request, file []byte) bool {
			if tries.Add(1) == 1 {
				w.Header().Set("Content-Length", fmt.Sprint(len(file)))
				_, _ = w.Write(file[:len(file)/2])
			} else {
				_, _ = w.Write(file)
			}
			return true
		}},
		"resumed at another place, then fine": {lie: func(w http.ResponseWriter, _ *http.Request, file []byte) bool {
			switch tries.Add(1) {
			case 1:
				w.Header().Set("Content-Length", fmt.Sprint(len(file)))
				_, _ = w.Write(file[:len(file)/2])
			case 2:
				w.WriteHeader(http.StatusPartialContent)
				_, _ = w.Write(file[:len(file)/2])
			default:
				return false
			}
			return true
		}},
		"cut half-way each time, no ranges": {lie: func(w http.ResponseWriter, _ *http.Request, file []byte) bool {
			_, _ = w.Write(file[:len(file)/2])
			return true
		}, want: "ended after", part: true},
		"other bytes": {lie: func(w http.ResponseWriter, _ *http.Request, file []byte) bool {
			_, _ = w.Write(bytes.ToUpper(file))
			return true
		}, want: "other content"},
		"endless": {lie: func(w http.ResponseWriter, r *http.Request, file []byte) bool {
			for r.Context().Err() == nil {
				if _, err := w.Write(file); err != nil {
					break
				}
			}
			return true
		}, want: "other content"},
		"silent": {lie: func(w http.ResponseWriter, r *http.Request, _ []byte) bool {
			w.Header().Set("Content-Length", "10")
			w.(http.Flusher).Flush()
			select {
			case <-r.Context().Done():
			case <-time.After(5 * time.Second):
			}
			return true
		}, want: "sent nothing for"},
		"gone": {lie: func(w http.ResponseWriter, r *http.Request, _ []byte) bool {
			http.NotFound(w, r)
			return true
		}, want: "trivet lock"},
		"forbidden": {lie: func(w http.ResponseWriter, _ *http.Request, _ []byte) bool {
			if tries.Add(1) > 1 {
				return false // asking again would help; it must not be done
			}
			w.WriteHeader(http.StatusForbidden)
			return true
		}, want: "403"},
		"in rings":         {lie: redirect(webPool), want: "5 redirects"},
		"to another place": {lie: redirect("ftp://127.0.0.1/x"), want: "redirect to ftp"},
	} {
		t.Run(name, func(t *testing.T) {
			tries.Store(0)
			m := newMirror(t)
			p, deb := m.web()
			m.lies(tc.lie)
			a := m.archive(t)
			paths, err := a.Fetch(context.Background(), []Package{p})
			if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), "fetch web 1.0")) {
				t.Fatalf("error = %v; want %q", err, tc.want)
			}
			if tc.want == "" {
				text, err := os.ReadFile(paths[p.SHA256])
				if err != nil || !bytes.Equal(text, deb) {
					t.Errorf("the store has other bytes (%v)", err)
				}
			}
			var left []string
			for _, path := range inStore(t, a) {
				if path != a.store(p.SHA256) || tc.want != "" {
					left = append(left, path)
				}
			}
			if tc.part != (len(left) == 1 && left[0] == a.store(p.SHA256)+".part") && len(left) > 0 {
				t.Errorf("left in the store: %v; want a part file: %v", left, tc.part)
			}
		})
	}
}

func inStore(t *testing.T, a Archive) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(a.Cache, "debs", "*", "*"))
	if err != nil {
		t.Fatal(err)
	}
	hidden, err := filepath.Glob(filepath.Join(a.Cache, "debs", "*", ".*"))
	if err != nil {
		t.Fatal(err)
	}
	return append(files, hidden...)
}

// lay puts text where an earlier process left the part file of p.
func lay(t *testing.T, a Archive, p Package, text []byte) string {
	t.Helper()
	path := a.store(p.SHA256) + ".part"
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, text, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestFetchGoesOnWhereAKilledProcessStopped(t *testing.T) {
	for name, tc := range map[string]struct {
		left     func(deb []byte) []byte
		wantAsks int64
	}{
		"half of it":         {func(deb []byte) []byte { return deb[:len(deb)/2] }, 1},
		"all of it":          {func(deb []byte) []byte { return deb }, 0},
		"half of another":    {func(deb []byte) []byte { return bytes.Repeat([]byte("x"), len(deb)/2) }, 2},
		"another":            {func(deb []byte) []byte { return bytes.Repeat([]byte("x"), len(deb)) }, 1},
		"more than there is": {func(deb []byte) []byte { return append(append([]byte{}, deb...), 'x') }, 1},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMirror(t)
			p, deb := m.web()
			a := m.archive(t)
			lay(t, a, p, tc.left(deb))
			var sent atomic.Int64
			m.lies(func(w http.ResponseWriter, r *http.Request, file []byte) bool {
				http.ServeContent(countingWriter{w, &sent}, r, "", time.Time{}, bytes.NewReader(file))
				return true
			})
			paths, err := a.Fetch(context.Background(), []Package{p})
			if err != nil {
				t.Fatal(err)
			}
			if text, err := os.ReadFile(paths[p.SHA256]); err != nil || !bytes.Equal(text, deb) {
				t.Errorf("the store has other bytes (%v)", err)
			}
			if n := m.hits.Load(); n != tc.wantAsks {
				t.Errorf("the mirror was asked %d times; want %d", n, tc.wantAsks)
			}
			if name == "half of it" && sent.Load() != p.Size-p.Size/2 {
				t.Errorf("the mirror sent %d bytes; want the missing %d", sent.Load(), p.Size-p.Size/2)
			}
			if len(inStore(t, a)) != 1 {
				t.Errorf("left in the store: %v; want the package only", inStore(t, a))
			}
		})
	}
}

type countingWriter struct {
	http.ResponseWriter
	n *atomic.Int64
}

func (c countingWriter) Write(b []byte) (int, error) {
	c.n.Add(int64(len(b)))
	return c.ResponseWriter.Write(b)
}

// Another process that is at the same file may be stopped or dead slow.
func TestFetchBesideAnotherProcess(t *testing.T) {
	m := newMirror(t)
	p, deb := m.web()
	a := m.archive(t)
	path := lay(t, a, p, []byte("half"))
	other, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if err := unix.Flock(int(other.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	paths, err := a.Fetch(context.Background(), []Package{p})
	if err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(paths[p.SHA256]); err != nil || !bytes.Equal(text, deb) {
		t.Errorf("the store has other bytes (%v)", err)
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != "half" {
		t.Errorf("the other process's part file is %q, %v; want it untouched", text, err)
	}
}

func TestFetchAtOnce(t *testing.T) {
	m := newMirror(t)
	p, deb := m.web()
	a := m.archive(t)
	var wg sync.WaitGroup
	for range 8 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for range 10 {
				paths, err := a.Fetch(context.Background(), []Package{p})
				if err != nil {
					t.Error(err)
					return
				}
				// Another one may have removed it just now, for all to begin anew.
				if text, err := os.ReadFile(paths[p.SHA256]); !errors.Is(err, fs.ErrNotExist) && !bytes.Equal(text, deb) {
					t.Errorf("the store has other bytes (%v)", err)
				}
				os.Remove(paths[p.SHA256])
			}
		}()
	}
	wg.Wait()
}

func TestFetchOfAFullStoreAsksNobody(t *testing.T) {
	m := newMirror(t)
	p, _ := m.web()
	a := m.archive(t)
	if _, err := a.Fetch(context.Background(), []Package{p, p}); err != nil || m.hits.Load() != 1 {
		t.Fatalf("first fetch: %v, %d questions; want 1", err, m.hits.Load())
	}
	a.Mirrors = Mirrors{}
	if _, err := a.Fetch(context.Background(), []Package{p}); err != nil {
		t.Errorf("second fetch: %v", err)
	}
	if err := os.Truncate(a.store(p.SHA256), 3); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Fetch(context.Background(), []Package{p}); err == nil || !strings.Contains(err.Error(), "--mirror") {
		t.Errorf("third fetch, of a cut file without a mirror: error = %v; want one that asks for --mirror", err)
	}
}

func TestFetchSaysHowFarItIs(t *testing.T) {
	m := newMirror(t)
	p, deb := m.web()
	a := m.archive(t)
	lay(t, a, p, deb[:1000])
	var last, total int64 // Progress is called from one goroutine when there is one file
	a.Progress = func(_ string, done, all int64) { last, total = done, all }
	if _, err := a.Fetch(context.Background(), []Package{p}); err != nil {
		t.Fatal(err)
	}
	if last != p.Size || total != p.Size {
		t.Errorf("progress ended at %d of %d; want %d", last, total, p.Size)
	}
}

func TestFetchRefusesPathsOutside(t *testing.T) {
	m := newMirror(t)
	good, _ := m.web()
	for _, edit := range []func(p *Package){
		func(p *Package) { p.Pool = "../../x" },
		func(p *Package) { p.SHA256 = "../../../" + p.SHA256 },
		func(p *Package) { p.Size = 0 },
	} {
		p := good
		edit(&p)
		if _, err := m.archive(t).Fetch(context.Background(), []Package{p}); err == nil {
			t.Errorf("%+v was fetched", p)
		}
	}
}

func TestFetchNeverPrintsAPassword(t *testing.T) {
	m := newMirror(t)
	p, _ := m.web()
	a := m.archive(t)
	a.patience.attempts = 1
	a.Mirrors.Archive = "http://operator:geheim@127.0.0.1:1/debian"
	if _, err := a.Fetch(context.Background(), []Package{p}); err == nil || strings.Contains(err.Error(), "geheim") {
		t.Errorf("error = %v; want one without the password", err)
	}
	a.Mirrors.Archive = "ftp://operator:geheim@127.0.0.1/debian"
	if _, err := a.Fetch(context.Background(), []Package{p}); err == nil || strings.Contains(err.Error(), "geheim") {
		t.Errorf("error = %v; want one without the password", err)
	}
}

func TestFetchEndsWithItsContext(t *testing.T) {
	m := newMirror(t)
	p, _ := m.web()
	ctx, cancel := context.WithCancel(context.Background())
	m.lies(func(http.ResponseWriter, *http.Request, []byte) bool {
		cancel()
		time.Sleep(50 * time.Millisecond)
		return true
	})
	if _, err := m.archive(t).Fetch(ctx, []Package{p}); !errors.Is(err, context.Canceled) {
		t.Errorf("error = %v; want context canceled", err)
	}
}

func TestRedirects(t *testing.T) {
	check := newClient(patience{}, nil).CheckRedirect
	via := func(url string, n int) (list []*http.Request) {
		for range n {
			req, err := http.NewRequest(http.MethodGet, url, nil)
			if err != nil {
				t.Fatal(err)
			}
			list = append(list, req)
		}
		return list
	}
	for _, tc := range []struct {
		from, to string
		n        int
		ok       bool
	}{
		{"http://a.example/", "http://b.example/", 1, true},
		{"http://a.example/", "https://b.example/", 5, true},
		{"http://a.example/", "http://b.example/", 6, false},
		{"https://a.example/", "http://b.example/", 1, false},
		{"http://a.example/", "file:///etc/passwd", 1, false},
	} {
		if err := check(via(tc.to, 1)[0], via(tc.from, tc.n)); (err == nil) != tc.ok {
			t.Errorf("redirect number %d from %s to %s: %v; want ok: %v", tc.n, tc.from, tc.to, err, tc.ok)
		}
	}
}

func TestRefusals(t *testing.T) {
	for code, want := range map[int]bool{400: true, 403: true, 408: false, 429: false, 500: false, 503: false} {
		err := answered(&http.Response{StatusCode: code, Header: http.Header{"Retry-After": {"7"}}})
		var r *refusal
		if !errors.As(err, &r) || r.final() != want || r.after != 7*time.Second {
			t.Errorf("answer %d: %+v; want final: %v, after 7 s", code, r, want)
		}
	}
	if err := answered(&http.Response{StatusCode: 410}); !errors.Is(err, errGone) {
		t.Errorf("answer 410: %v; want gone", err)
	}
	if r := new(refusal); !errors.As(answered(&http.Response{StatusCode: 503, Header: http.Header{"Retry-After": {"86400"}}}), &r) || r.after != maxAfter {
		t.Errorf("a mirror that asks for a day gets %v; want %v", r.after, maxAfter)
	}
}
