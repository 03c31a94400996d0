package apt

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestHostMirrorsReadsBothFormats(t *testing.T) {
	for name, tc := range map[string]struct {
		file, text string
		want       Mirrors
	}{
		"one-line": {
			"sources.list", "# x\ndeb [arch=amd64 signed-by=/k] http://a.example/debian bookworm main\ndeb http://b.example/debian-security bookworm-security main\n",
			Mirrors{"http://a.example/debian", "http://b.example/debian-security"},
		},
		"deb822": {
			"sources.list.d/debian.sources", "Types: deb\nURIs: https://a.example/debian/\nSuites: x\n\nTypes: deb\nURIs:\n https://c.example/debian-security\n",
			Mirrors{"https://a.example/debian", "https://c.example/debian-security"},
		},
		"no security":   {"sources.list", "deb http://a.example/mirror/debian x main", Mirrors{"http://a.example/mirror/debian", "http://a.example/mirror/debian-security"}},
		"other vendors": {"sources.list", "deb http://v.example/apt x main\ndeb http://a.example/debian x main", Mirrors{"http://a.example/debian", "http://a.example/debian-security"}},
	} {
		etc := t.TempDir()
		path := filepath.Join(etc, tc.file)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(tc.text), 0o644); err != nil {
			t.Fatal(err)
		}
		if got, err := HostMirrors(etc); err != nil || got != tc.want {
			t.Errorf("%s: HostMirrors = %v, %v; want %v", name, got, err, tc.want)
		}
	}
	if _, err := HostMirrors(t.TempDir()); err == nil || !strings.Contains(err.Error(), "--mirror") {
		t.Errorf("no sources: error = %v; want one that names --mirror", err)
	}
}

func testLock() Lock {
	return Lock{
		Version: 1, Suite: "trixie", Arch: "amd64", Date: day, Request: strings.Repeat("a", 64),
		Packages: []Package{{
			Set: "base", Name: "libc6", Version: "1:2.41-12+deb13u1", Arch: "amd64", SHA256: strings.Repeat("0", 64), Size: 7,
			Pool: "pool/main/g/glibc/libc6_2.41_amd64.deb", Source: "glibc(2.41)", Security: true, Essential: true,
		}},
	}
}

func TestLockIsReadBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.lock")
	if err := testLock().WriteFile(path); err != nil {
		t.Fatal(err)
	}
	got, err := ReadLock(path)
	if err != nil || got.Digest() != testLock().Digest() {
		t.Errorf("ReadLock = %v, %v; want what was written", got, err)
	}
	if err := got.Check("other"); err == nil || !strings.Contains(err.Error(), "trivet lock") {
		t.Errorf("Check = %v; want the command to renew", err)
	}
}

func TestReadLockNamesTheLine(t *testing.T) {
	good := testLock().String()
	for edit, want := range map[string]string{
		"version 1>version 9":                        ":2:1: lock version",
		"suite trixie>sweet trixie":                  `:3:1: unknown key "sweet"`,
		"arch amd64>suite amd64":                     `:4:1: "suite" stands twice`,
		" pool/main/g> ../../main/g":                 ":7:1: package libc6: \"../../main/g",
		" 7 > -7 ":                                   ":7:1: package libc6: the size",
		"package base libc6>package libc6":           ":7:1: a package has 10 fields",
		"request " + strings.Repeat("a", 64) + "\n>": `:6:1: no line "request"`,
	} {
		old, new, _ := strings.Cut(edit, ">")
		path := filepath.Join(t.TempDir(), "x.lock")
		if err := os.WriteFile(path, []byte(strings.Replace(good, old, new, 1)), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadLock(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error = %v; want %q", edit, err, want)
		}
	}
}

func FuzzLock(f *testing.F) {
	f.Add([]byte(testLock().String()))
	f.Fuzz(func(t *testing.T, text []byte) {
		l, _, err := parseLock(text)
		if err != nil {
			return
		}
		again, _, err := parseLock([]byte(l.String()))
		if err != nil || again.String() != l.String() {
			t.Errorf("a lock that was read is not read back: %v", err)
		}
	})
}

func FuzzStanzas(f *testing.F) {
	f.Add([]byte("Package: a\nVersion: 1\nSize: 7\n\nPackage: b\nDescription: x\n y\n"))
	f.Fuzz(func(_ *testing.T, text []byte) {
		_ = stanzas(bytes.NewReader(text), func(m map[string]string) error { _, err := packageOf(m); return err })
	})
}

func FuzzRelease(f *testing.F) {
	f.Add([]byte("Codename: trixie\nDate: Fri, 02 Jan 2026 03:04:05 UTC\nSHA256:\n " + strings.Repeat("a", 64) + " 7 main/x\n"))
	f.Fuzz(func(_ *testing.T, text []byte) {
		_, _ = parseRelease(text, "trixie", time.Time{})
		_, _ = verify(nil, text)
	})
}

func FuzzSources(f *testing.F) {
	f.Add("Types: deb\nURIs: http://a.example/debian\n\ndeb [a=b] http://a.example/debian x main\n")
	f.Fuzz(func(_ *testing.T, text string) { pick(append(deb822URLs(text), lineURLs(text)...)) })
}

func FuzzURIs(f *testing.F) {
	f.Add("'file:/c/apt/lists/00/pool/main/a_1%3a2_amd64.deb' a.deb 7 MD5Sum:8\n")
	f.Fuzz(func(_ *testing.T, text string) { _, _ = parseURIs(text) })
}
