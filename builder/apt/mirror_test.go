package apt

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	"github.com/ulikunitz/xz"
)

// A mirror is a small signed archive on a real HTTP server. Its handler can be
// made to lie.
type mirror struct {
	*httptest.Server
	mu    sync.Mutex
	files map[string][]byte // by URL path
	lie   func(w http.ResponseWriter, r *http.Request, file []byte) bool
	key   *openpgp.Entity
	hits  atomic.Int64
}

func newMirror(t testing.TB) *mirror {
	t.Helper()
	// An elliptic curve: RSA keys take long to make.
	key, err := openpgp.NewEntity("Test Archive", "", "test@invalid", &packet.Config{Algorithm: packet.PubKeyAlgoEdDSA})
	if err != nil {
		t.Fatal(err)
	}
	m := &mirror{files: map[string][]byte{}, key: key}
	m.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m.hits.Add(1)
		m.mu.Lock()
		file, ok := m.files[r.URL.Path]
		lie := m.lie
		m.mu.Unlock()
		switch {
		case !ok:
			http.NotFound(w, r)
		case lie != nil && lie(w, r, file):
		default:
			w.Header().Set("ETag", `"`+sumBytes(file)+`"`)
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(file))
		}
	}))
	t.Cleanup(m.Close)
	return m
}

func (m *mirror) set(path string, file []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.files[path] = file
}

// lies makes the handler ask lie first; true means that it answered.
func (m *mirror) lies(lie func(w http.ResponseWriter, r *http.Request, file []byte) bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lie = lie
}

// add puts a package into the pool of the archive and returns its stanza with
// the further lines.
func (m *mirror) add(name string, lines ...string) string {
	return m.put("/debian/", "pool/main/"+name+"_1.0_amd64.deb", name, "1.0", lines...)
}

// fix puts a newer version of a package into the pool of the security archive.
func (m *mirror) fix(name string, lines ...string) string {
	return m.put("/sec/", "pool/updates/main/"+name+"_1.0+deb13u1_amd64.deb", name, "1.0+deb13u1", lines...)
}

func (m *mirror) put(base, pool, name, version string, lines ...string) string {
	deb := bytes.Repeat([]byte("deb "+name+" "+version+" "), 5000)
	m.set(base+pool, deb)
	s := fmt.Sprintf("Package: %s\nVersion: %s\nInstalled-Size: 17\nArchitecture: amd64\nMaintainer: x\nDescription: y\n z\nFilename: %s\nSize: %d\nSHA256: %s\n",
		name, version, pool, len(deb), sumBytes(deb))
	for _, l := range lines {
		s += l + "\n"
	}
	return s + "\n"
}

// publish signs three pockets; extra goes into each InRelease.
func (m *mirror) publish(t testing.TB, date time.Time, extra, main, security string) {
	t.Helper()
	for pocket, stanzas := range map[string]string{"/debian/dists/trixie": main, "/debian/dists/trixie-updates": "", "/sec/dists/trixie-security": security} {
		plain := []byte(stanzas)
		var packed bytes.Buffer
		w, err := xz.NewWriter(&packed)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = w.Write(plain)
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		m.set(pocket+"/main/binary-amd64/by-hash/SHA256/"+sumBytes(packed.Bytes()), packed.Bytes())
		text := fmt.Sprintf("Codename: %s\nDate: %s\n%sSHA256:\n %s %d main/binary-amd64/Packages\n %s %d main/binary-amd64/Packages.xz\n",
			filepath.Base(pocket), date.UTC().Format("Mon, 02 Jan 2006 15:04:05 UTC"), extra, sumBytes(plain), len(plain), sumBytes(packed.Bytes()), packed.Len())
		m.set(pocket+"/InRelease", m.sign(t, text))
	}
}

func (m *mirror) sign(t testing.TB, text string) []byte {
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

func (m *mirror) archive(t testing.TB) Archive {
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

// edit changes the InRelease of the first pocket.
func (m *mirror) edit(change func([]byte) []byte) {
	const name = "/debian/dists/trixie/InRelease"
	m.set(name, change(m.files[name]))
}

// refreshed is what Refresh must return.
func refreshed(t *testing.T, a Archive) Indices {
	t.Helper()
	idx, err := a.Refresh(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return idx
}
