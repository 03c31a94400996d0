package apt

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func FuzzLock(f *testing.F) {
	f.Add([]byte(testLock().String()))
	f.Fuzz(func(t *testing.T, text []byte) {
		l, err := parseLock(text)
		if err != nil {
			return
		}
		again, err := parseLock([]byte(l.String()))
		if err != nil || !cmp.Equal(again.String(), l.String()) {
			t.Errorf("a lock that was read is not read back: %v\n%s", err, l)
		}
		for _, p := range l.Packages {
			if err := p.check(); err != nil {
				t.Errorf("a package was read that no index may have: %v", err)
			}
		}
	})
}

func FuzzStanzas(f *testing.F) {
	f.Add([]byte("Package: a\nVersion: 1\nArchitecture: all\nSize: 7\nSHA256: " + strings.Repeat("0", 64) + "\nFilename: pool/a.deb\n\nPackage: b\nDescription: x\n y\n"))
	f.Add([]byte(" x\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		_ = stanzas(bytes.NewReader(text), func(m map[string]string) error {
			if len(m) == 0 {
				t.Error("an empty stanza")
			}
			p, err := packageOf(m)
			if err == nil && (strings.Contains(p.Pool, "..") && isPool(p.Pool) != (p.check() == nil) || strings.HasPrefix(p.Pool, "/")) {
				t.Errorf("%q passes for a path below the mirror", p.Pool)
			}
			return nil
		})
	})
}

func FuzzRelease(f *testing.F) {
	f.Add([]byte("Codename: trixie\nDate: Fri, 02 Jan 2026 03:04:05 UTC\nValid-Until: Fri, 09 Jan 2026 03:04:05 UTC\nSHA256:\n " + strings.Repeat("a", 64) + " 7 main/x\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := parseRelease(text, "trixie")
		if err == nil && r.date.IsZero() {
			t.Error("a release without a date passes")
		}
	})
}

// FuzzInRelease: nothing but what the key signed may come out.
func FuzzInRelease(f *testing.F) {
	m := newMirror(f)
	const text = "Codename: trixie\nDate: Fri, 02 Jan 2026 03:04:05 UTC\n- x\n"
	good := m.sign(f, text)
	a := m.archive(f)
	keys, err := a.keyring()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(bytes.ReplaceAll(good, []byte("\n"), []byte("\r\n")))
	f.Add(append([]byte("x\n"), good...))
	f.Fuzz(func(t *testing.T, file []byte) {
		got, err := verify(keys, file)
		if err != nil {
			return
		}
		// RFC 9580 §7.2: trailing blanks and the kind of line ends are not signed.
		if diff := cmp.Diff(lines([]byte(text)), lines(got)); diff != "" {
			t.Errorf("other text passes for signed:\n%s", diff)
		}
	})
}

func lines(b []byte) []string {
	list := strings.Split(strings.TrimRight(string(b), " \t\r\n"), "\n")
	for i := range list {
		list[i] = strings.TrimRight(list[i], " \t\r")
	}
	return list
}

func FuzzSources(f *testing.F) {
	f.Add("Types: deb\nURIs: http://a.example/debian\nSuites: x\nComponents: main\n\ndeb [a=b] http://a.example/debian x main\n")
	f.Fuzz(func(t *testing.T, text string) {
		m := pick(append(deb822Sources(text), lineSources(text)...))
		if m.Archive != "" && !strings.HasPrefix(m.Archive, "http") {
			t.Errorf("%q passes for a mirror", m.Archive)
		}
	})
}

func FuzzURIs(f *testing.F) {
	f.Add("'file:/trivet/2/pool/main/a_1%3a2_amd64.deb' a.deb 7 MD5Sum:8\n")
	f.Fuzz(func(_ *testing.T, text string) { _, _ = parseURIs(text) })
}

func TestParseURIs(t *testing.T) {
	got, err := parseURIs("Reading package lists...\n'file:/trivet/0/pool/main/a/a_1%2bb~c_amd64.deb' a_2%3a1+b~c_amd64.deb 7 MD5Sum:8\n'file:/trivet/12/x.deb' x 1 \n")
	if diff := cmp.Diff([]offer{{0, "pool/main/a/a_1+b~c_amd64.deb"}, {12, "x.deb"}}, got, cmp.AllowUnexported(offer{})); err != nil || diff != "" {
		t.Errorf("parseURIs: %v (-want +got):\n%s", err, diff)
	}
	for _, bad := range []string{"'http://x.example/a' a 1\n", "'file:/trivet/x/a' a 1\n", "'file:/trivet/0' a 1\n", "'file:/trivet/0/a", "'file:/trivet/0/%zz' a 1\n"} {
		if got, err := parseURIs(bad); err == nil {
			t.Errorf("parseURIs(%q) = %v; want an error", bad, got)
		}
	}
}

func TestStanzas(t *testing.T) {
	read := func(text string) (string, error) {
		var got strings.Builder
		err := stanzas(strings.NewReader(text), func(m map[string]string) error {
			fmt.Fprintln(&got, m)
			return nil
		})
		return got.String(), err
	}
	got, err := read("\n\nA: 1\nb:2 \nC:\n x\n\ty \n\n \nA: : 3\nD: e\n f\n")
	if want := "map[a:1 b:2 c:\nx\ny]\nmap[a:: 3 d:e\nf]\n"; err != nil || got != want {
		t.Errorf("stanzas = %q, %v; want %q", got, err, want)
	}
	for text, want := range map[string]string{
		" x\n":                                   "line 1: a continued line",
		"A: 1\n\n x\n":                           "line 3: a continued line",
		"A: 1\nB\n":                              "line 2: ",
		"A: 1\na: 2\n":                           "line 2: field a stands twice",
		"A b: 1\n":                               "line 1: ",
		": 1\n":                                  "line 1: ",
		"A: " + strings.Repeat("x", maxLine+1):   "too long",
		strings.Repeat("A: 1\n\n", maxStanzas+1): "more than 500000 stanzas",
		"A:\n" + strings.Repeat(strings.Repeat(" x", 50_000)+"\n", 90): "more than",
	} {
		if _, err := read(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: error = %v; want %q", text, err, want)
		}
	}
	var many strings.Builder
	for i := range maxFields + 1 {
		fmt.Fprintf(&many, "F%d: x\n", i)
	}
	if _, err := read(many.String()); err == nil || !strings.Contains(err.Error(), "more than 200 fields") {
		t.Errorf("many fields: error = %v", err)
	}
}

func TestParseRelease(t *testing.T) {
	digest := strings.Repeat("a", 64)
	head := "Codename: trixie\nDate: Fri, 02 Jan 2026 03:04:05 UTC\n"
	r, err := parseRelease([]byte(head+"Valid-Until: Fri, 09 Jan 2026 03:04:05 UTC\nMD5Sum:\n 00 7 main/x\nSHA256:\n "+digest+"        7 main/x\n"), "trixie")
	if err != nil || !r.date.Equal(day) || !r.until.Equal(day.AddDate(0, 0, 7)) || r.files["main/x"] != (releaseFile{digest, 7}) {
		t.Errorf("parseRelease = %+v, %v", r, err)
	}
	for text, want := range map[string]string{
		head + "\nCodename: trixie\n":            "second stanza",
		head + "Codename: sid\n":                 "stands twice",
		head + "SHA256:\n " + digest + " 7\n":    "DIGEST SIZE PATH",
		head + "SHA256:\n " + digest + " -7 x\n": "no size",
		head + "SHA256:\n abc 7 x\n":             "DIGEST SIZE PATH",
		head + "Valid-Until: tomorrow\n":         "tomorrow",
		"Codename: trixie\nDate: 2026-01-02\n":   "2026-01-02",
		"":                                       "Codename",
	} {
		if _, err := parseRelease([]byte(text), "trixie"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error = %v; want %q", text, err, want)
		}
	}
	if err := (release{date: day, until: day.Add(time.Hour)}).valid(day, day); err != nil {
		t.Errorf("a valid release: %v", err)
	}
}
