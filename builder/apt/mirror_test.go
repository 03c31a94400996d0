package apt

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
	"github.com/ulikunitz/xz"
)

// A mirror is a small signed archive on a real HTTP server. Its handler can be
// made to lie.
type mirror struct {
	*httptest.Server
	files map[string][]byte
	lie   func(w http.ResponseWriter, r *http.Request, file []byte) bool // true: it answered
	key   *openpgp.Entity
	hits  atomic.Int64
}

func newMirror(t *testing.T) *mirror {
	t.Helper()
	key, err := openpgp.NewEntity("Test Archive", "", "test@invalid", nil)
	if err != nil {
		t.Fatal(err)
	}
	m := &mirror{files: map[string][]byte{}, key: key}
	m.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m.hits.Add(1)
		file, ok := m.files[r.URL.Path]
		switch {
		case !ok:
			http.NotFound(w, r)
		case m.lie != nil && m.lie(w, r, file):
		default:
			http.ServeContent(w, r, "", time.Unix(1_700_000_000, 0), bytes.NewReader(file))
		}
	}))
	t.Cleanup(m.Close)
	return m
}

func sum(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

// add puts a package into the pool and returns its stanza.
func (m *mirror) add(name, depends string, essential bool) string {
	deb := bytes.Repeat([]byte("deb "+name+" "), 5000)
	pool := "pool/main/" + name + "_1.0_amd64.deb"
	m.files["/debian/"+pool] = deb
	s := fmt.Sprintf("Package: %s\nVersion: 1.0\nArchitecture: amd64\nMaintainer: x\nDescription: y\nFilename: %s\nSize: %d\nSHA256: %s\n", name, pool, len(deb), sum(deb))
	if depends != "" {
		s += "Depends: " + depends + "\n"
	}
	if essential {
		s += "Essential: yes\n"
	}
	return s + "\n"
}

// publish signs three pockets; the first has the stanzas.
func (m *mirror) publish(t *testing.T, date time.Time, extra, stanzas string) {
	t.Helper()
	for i, pocket := range []string{"/debian/dists/trixie", "/debian/dists/trixie-updates", "/sec/dists/trixie-security"} {
		plain := []byte(stanzas)
		if i > 0 {
			plain = nil
		}
		var packed bytes.Buffer
		w, err := xz.NewWriter(&packed)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = w.Write(plain)
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		m.files[pocket+"/main/binary-amd64/by-hash/SHA256/"+sum(packed.Bytes())] = packed.Bytes()
		text := fmt.Sprintf("Codename: %s\nDate: %s\n%sSHA256:\n %s %d main/binary-amd64/Packages\n %s %d main/binary-amd64/Packages.xz\n",
			filepath.Base(pocket), date.UTC().Format("Mon, 02 Jan 2006 15:04:05 UTC"), extra, sum(plain), len(plain), sum(packed.Bytes()), packed.Len())
		m.files[pocket+"/InRelease"] = m.sign(t, text)
	}
}

func (m *mirror) sign(t *testing.T, text string) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := clearsign.Encode(&out, m.key.PrivateKey, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = w.Write([]byte(text))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func (m *mirror) archive(t *testing.T) Archive {
	t.Helper()
	var ring bytes.Buffer
	if err := m.key.Serialize(&ring); err != nil {
		t.Fatal(err)
	}
	return Archive{
		Mirrors: Mirrors{Archive: m.URL + "/debian", Security: m.URL + "/sec"}, Suite: "trixie", Arch: "amd64", Cache: t.TempDir(), Keyring: ring.Bytes(),
		patience: patience{stall: 300 * time.Millisecond, backoff: time.Millisecond, attempts: 4},
	}
}

var day = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func TestResolveAndFetchFromASignedArchive(t *testing.T) {
	if _, err := os.Stat("/usr/bin/apt-get"); err != nil {
		t.Skip("skipped: this host has no apt-get, which resolves")
	}
	m := newMirror(t)
	m.publish(t, day, "", m.add("libc", "", true)+m.add("web", "lib", false)+m.add("lib", "", false)+m.add("extra", "lib", false))
	a := m.archive(t)
	ctx := context.Background()
	idx, err := a.Refresh(ctx)
	if err != nil {
		t.Fatal(err)
	}
	lock, err := a.Resolve(ctx, idx, []Set{{"base", []string{"web"}}, {"role", []string{"extra"}}})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, p := range lock.Packages {
		got = append(got, p.Set+"/"+p.Name)
	}
	if want := "base/lib base/libc base/web role/extra"; strings.Join(got, " ") != want {
		t.Errorf("resolved %v; want %s", got, want)
	}
	if !lock.Date.Equal(day) {
		t.Errorf("lock of %v; want the archive's date %v", lock.Date, day)
	}
	paths, err := a.Fetch(ctx, lock.Packages)
	if err != nil {
		t.Fatal(err)
	}
	before := m.hits.Load()
	if _, err := a.Fetch(ctx, lock.Packages); err != nil || m.hits.Load() != before {
		t.Errorf("a second fetch asked the mirror %d times (%v); want 0", m.hits.Load()-before, err)
	}
	for digest, path := range paths {
		if text, err := os.ReadFile(path); err != nil || sum(text) != digest {
			t.Errorf("%s has another digest (%v)", path, err)
		}
	}
	if _, err = a.Resolve(ctx, idx, []Set{{"base", []string{"wbe"}}}); err == nil || !strings.Contains(err.Error(), `did you mean "web"`) {
		t.Errorf("error = %v; want a suggestion", err)
	}
}

func TestRefreshRefuses(t *testing.T) {
	other := newMirror(t)
	for name, tc := range map[string]struct {
		spoil func(m *mirror)
		want  string
	}{
		"text changed after signing": {func(m *mirror) {
			m.edit(func(b []byte) []byte { return bytes.Replace(b, []byte("Date: Fri"), []byte("Date: Sat"), 1) })
		}, "signature"},
		"text before the message":   {func(m *mirror) { m.edit(func(b []byte) []byte { return append([]byte("Codename: evil\n"), b...) }) }, "does not begin with a signed message"},
		"text behind the signature": {func(m *mirror) { m.edit(func(b []byte) []byte { return append(b, "\nCodename: evil\n"...) }) }, "follow the signature"},
		"another key":               {func(m *mirror) { m.edit(func([]byte) []byte { return other.sign(t, "Codename: trixie\n") }) }, "none of the pinned keys"},
		"another suite":             {func(m *mirror) { m.edit(func([]byte) []byte { return m.sign(t, "Codename: sid\nDate: x\n") }) }, `Codename is "sid"`},
		"a page of a portal":        {func(m *mirror) { m.edit(func([]byte) []byte { return []byte("<html>log in</html>") }) }, "does not begin with a signed message"},
		"expired":                   {func(m *mirror) { m.publish(t, day, "Valid-Until: Fri, 09 Jan 2026 00:00:00 UTC\n", "") }, "valid until 2026-01-09"},
		"another package list": {func(m *mirror) {
			for name, file := range m.files {
				if strings.Contains(name, "by-hash") {
					m.files[name] = bytes.Repeat([]byte("x"), len(file))
				}
			}
		}, "other content"},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMirror(t)
			m.publish(t, day, "", m.add("web", "", false))
			tc.spoil(m)
			if _, err := m.archive(t).Refresh(context.Background()); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error = %v; want %q", err, tc.want)
			}
		})
	}
}

func (m *mirror) edit(change func([]byte) []byte) {
	const name = "/debian/dists/trixie/InRelease"
	m.files[name] = change(m.files[name])
}

func TestRefreshRefusesAnOlderArchive(t *testing.T) {
	m := newMirror(t)
	m.publish(t, day, "", m.add("web", "", false))
	a := m.archive(t)
	if _, err := a.Refresh(context.Background()); err != nil {
		t.Fatal(err)
	}
	m.publish(t, day.Add(-time.Hour), "", m.add("web", "", false))
	m.lie = func(w http.ResponseWriter, _ *http.Request, file []byte) bool { _, _ = w.Write(file); return true } // no 304
	if _, err := a.Refresh(context.Background()); err == nil || !strings.Contains(err.Error(), "older than") {
		t.Errorf("error = %v; want a refusal of the older InRelease", err)
	}
}

// TestFetchFromALyingMirror: a mirror may do what it likes; what comes into the store is right, or nothing is.
func TestFetchFromALyingMirror(t *testing.T) {
	var tries atomic.Int64
	for name, tc := range map[string]struct {
		lie  func(w http.ResponseWriter, r *http.Request, file []byte) bool
		want string // "" = it must work in the end
	}{
		"busy, then fine": {func(w http.ResponseWriter, _ *http.Request, _ []byte) bool {
			if tries.Add(1) < 3 {
				w.WriteHeader(http.StatusServiceUnavailable)
				return true
			}
			return false
		}, ""},
		"cut half-way, then resumed": {func(w http.ResponseWriter, r *http.Request, file []byte) bool {
			if r.Header.Get("Range") == "" {
				w.Header().Set("Content-Length", fmt.Sprint(len(file)))
				_, _ = w.Write(file[:len(file)/2])
				return true
			}
			return false
		}, ""},
		"cut half-way each time, no ranges": {func(w http.ResponseWriter, _ *http.Request, file []byte) bool {
			_, _ = w.Write(file[:len(file)/2])
			return true
		}, "ended after"},
		"other bytes": {func(w http.ResponseWriter, _ *http.Request, file []byte) bool {
			_, _ = w.Write(bytes.ToUpper(file))
			return true
		}, "other content"},
		"endless": {func(w http.ResponseWriter, r *http.Request, file []byte) bool {
			for r.Context().Err() == nil {
				if _, err := w.Write(file); err != nil {
					break
				}
			}
			return true
		}, "other content"},
		"silent": {func(w http.ResponseWriter, r *http.Request, _ []byte) bool {
			w.Header().Set("Content-Length", "10")
			w.(http.Flusher).Flush()
			select {
			case <-r.Context().Done():
			case <-time.After(5 * time.Second):
			}
			return true
		}, "sent nothing for"},
		"gone": {func(w http.ResponseWriter, r *http.Request, _ []byte) bool { http.NotFound(w, r); return true }, "trivet lock"},
		"in rings": {func(w http.ResponseWriter, r *http.Request, _ []byte) bool {
			http.Redirect(w, r, r.URL.Path, http.StatusFound)
			return true
		}, "5 redirects"},
	} {
		t.Run(name, func(t *testing.T) {
			tries.Store(0)
			m := newMirror(t)
			m.add("web", "", false)
			deb := m.files["/debian/pool/main/web_1.0_amd64.deb"]
			m.lie = tc.lie
			a := m.archive(t)
			paths, err := a.Fetch(context.Background(), []Package{{Name: "web", Version: "1.0", SHA256: sum(deb), Size: int64(len(deb)), Pool: "pool/main/web_1.0_amd64.deb"}})
			if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
				t.Fatalf("error = %v; want %q", err, tc.want)
			}
			if tc.want == "" {
				text, err := os.ReadFile(paths[sum(deb)])
				if err != nil || !bytes.Equal(text, deb) {
					t.Errorf("the store has other bytes (%v)", err)
				}
			}
			left, err := filepath.Glob(filepath.Join(a.Cache, "debs", "*", "*"))
			if err != nil || tc.want != "" && len(left) > 0 {
				t.Errorf("left in the store: %v (%v)", left, err)
			}
		})
	}
}

func TestFetchEndsWithItsContext(t *testing.T) {
	m := newMirror(t)
	m.add("web", "", false)
	ctx, cancel := context.WithCancel(context.Background())
	m.lie = func(http.ResponseWriter, *http.Request, []byte) bool {
		cancel()
		time.Sleep(50 * time.Millisecond)
		return true
	}
	_, err := m.archive(t).Fetch(ctx, []Package{{Name: "web", SHA256: sum(nil), Size: 7, Pool: "pool/main/web_1.0_amd64.deb"}})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error = %v; want context canceled", err)
	}
}
