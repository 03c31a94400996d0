package apt

import (
	"bytes"
	"context"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestRefreshRefuses(t *testing.T) {
	other := newMirror(t)
	tomorrow := time.Now().Add(24 * time.Hour)
	for name, tc := range map[string]struct {
		spoil func(m *mirror)
		want  string
	}{
		"text changed after signing": {func(m *mirror) {
			m.edit(func(b []byte) []byte { return bytes.Replace(b, []byte("Date: Fri"), []byte("Date: Sat"), 1) })
		}, "signature"},
		"text before the message":   {func(m *mirror) { m.edit(func(b []byte) []byte { return append([]byte("Codename: evil\n"), b...) }) }, "does not begin with a signed message"},
		"text behind the signature": {func(m *mirror) { m.edit(func(b []byte) []byte { return append(b, "\nCodename: evil\n"...) }) }, "follow the signature"},
		"a header with text": {func(m *mirror) {
			m.edit(func(b []byte) []byte {
				return bytes.Replace(b, []byte("\nHash:"), []byte("\nCodename: evil\nHash:"), 1)
			})
		}, "no signed message"},
		"another key":   {func(m *mirror) { m.edit(func([]byte) []byte { return other.sign(t, "Codename: trixie\n") }) }, "none of the pinned keys"},
		"another suite": {func(m *mirror) { m.edit(func([]byte) []byte { return m.sign(t, "Codename: sid\nDate: x\n") }) }, `Codename is "sid"`},
		"another pocket": {func(m *mirror) {
			m.edit(func([]byte) []byte { return m.files["/debian/dists/trixie-updates/InRelease"] })
		}, `Codename is "trixie-updates"`},
		"no date": {func(m *mirror) { m.edit(func([]byte) []byte { return m.sign(t, "Codename: trixie\n") }) }, "date"},
		"no package list": {func(m *mirror) {
			m.edit(func([]byte) []byte { return m.sign(t, "Codename: trixie\nDate: Fri, 02 Jan 2026 03:04:05 UTC\n") })
		}, "--arch"},
		"a page of a portal": {func(m *mirror) {
			m.edit(func([]byte) []byte { return []byte("<html>log in</html>") })
		}, "does not begin with a signed message"},
		"expired":        {func(m *mirror) { m.publish(t, day, "Valid-Until: Fri, 09 Jan 2026 00:00:00 UTC\n", "", "") }, "valid until 2026-01-09"},
		"of tomorrow":    {func(m *mirror) { m.publish(t, tomorrow, "", "", "") }, "in the future"},
		"unknown suites": {func(m *mirror) { clear(m.files) }, "404"},
		"endless":        {func(m *mirror) { m.edit(func(b []byte) []byte { return append(b, make([]byte, maxRelease)...) }) }, "more than"},
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
			m.publish(t, day, "", m.add("web"), "")
			tc.spoil(m)
			if _, err := m.archive(t).Refresh(context.Background()); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error = %v; want %q", err, tc.want)
			}
		})
	}
}

func TestRefreshRefusesAnOlderArchive(t *testing.T) {
	m := newMirror(t)
	m.publish(t, day, "", m.add("web"), "")
	a := m.archive(t)
	refreshed(t, a)
	m.publish(t, day.Add(-time.Hour), "", m.add("web"), "")
	for range 2 { // the refusal must not wear off
		if _, err := a.Refresh(context.Background()); err == nil || !strings.Contains(err.Error(), "older than") {
			t.Errorf("error = %v; want a refusal of the older InRelease", err)
		}
	}
	m.publish(t, day.Add(time.Hour), "", m.add("web"), "")
	refreshed(t, a)
}

func TestRefreshOfAnUnchangedArchive(t *testing.T) {
	m := newMirror(t)
	m.publish(t, day, "", m.add("web"), "")
	a := m.archive(t)
	first := refreshed(t, a)
	before := m.hits.Load()
	var full atomic.Int64
	m.lies(func(_ http.ResponseWriter, r *http.Request, _ []byte) bool {
		if r.Header.Get("If-None-Match") == "" {
			full.Add(1)
		}
		return false
	})
	if again := refreshed(t, a); again.Digest != first.Digest || !again.Date.Equal(day) {
		t.Errorf("second Refresh = %v %v; want %v %v", again.Digest, again.Date, first.Digest, day)
	}
	if n := m.hits.Load() - before; n != 3 || full.Load() != 0 {
		t.Errorf("the mirror was asked %d times, %d of them for everything; want 3 and 0", n, full.Load())
	}
	m.lies(func(w http.ResponseWriter, _ *http.Request, file []byte) bool { _, _ = w.Write(file); return true })
	if again := refreshed(t, a); again.Digest != first.Digest {
		t.Errorf("Refresh from a mirror without conditional answers = %v; want %v", again.Digest, first.Digest)
	}
}

func TestRefreshMendsItsCache(t *testing.T) {
	m := newMirror(t)
	m.publish(t, day, "", m.add("web"), "")
	a := m.archive(t)
	first := refreshed(t, a)
	files, err := filepath.Glob(filepath.Join(a.Cache, "apt", "release", "*"))
	if err != nil || len(files) != 6 {
		t.Fatalf("files in the cache: %v, %v; want 6", files, err)
	}
	for _, f := range files {
		if err := os.WriteFile(f, []byte("{}"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if again := refreshed(t, a); again.Digest != first.Digest {
		t.Errorf("Refresh over a damaged cache = %v; want %v", again.Digest, first.Digest)
	}
}

// A 304 must not keep an expired InRelease alive.
func TestRefreshRefusesAnExpiredCache(t *testing.T) {
	m := newMirror(t)
	m.publish(t, day, "Valid-Until: Fri, 09 Jan 2026 00:00:00 UTC\n", "", "")
	a := m.archive(t)
	a.At = day
	refreshed(t, a)
	a.At = time.Time{}
	if _, err := a.Refresh(context.Background()); err == nil || !strings.Contains(err.Error(), "valid until") {
		t.Errorf("error = %v; want expired", err)
	}
}

func TestRefreshNeedsUsableInputs(t *testing.T) {
	m := newMirror(t)
	for want, edit := range map[string]func(a *Archive){
		"--mirror":     func(a *Archive) { a.Mirrors = Mirrors{} },
		"suite":        func(a *Archive) { a.Suite = "../trixie" },
		"architecture": func(a *Archive) { a.Arch = `amd64"; evil "` },
		"keyring":      func(a *Archive) { a.Keyring = []byte("x") },
	} {
		a := m.archive(t)
		edit(&a)
		if _, err := a.Refresh(context.Background()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error = %v; want %q", err, want)
		}
	}
	if n := m.hits.Load(); n != 0 {
		t.Errorf("the mirror was asked %d times; want 0", n)
	}
}

func TestPinnedKeys(t *testing.T) {
	keys, err := Archive{}.keyring()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, k := range keys {
		for name := range k.Identities {
			got = append(got, name)
		}
	}
	for _, want := range []string{"Debian Archive Automatic Signing Key (13/trixie)", "Debian Security Archive Automatic Signing Key (13/trixie)", "Debian Stable Release Key (13/trixie)"} {
		if !strings.Contains(strings.Join(got, "\n"), want) {
			t.Errorf("pinned keys are %q; want one of %q", got, want)
		}
	}
	if len(keys) != 3 {
		t.Errorf("%d keys are pinned; want 3", len(keys))
	}
}
