package rootfs

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestReadDeb(t *testing.T) {
	good := testDeb{name: "a", format: "gz"}.bytes(t)
	for _, test := range []struct {
		summary string
		body    []byte
		err     string
	}{
		{"whole", good, ""},
		{"empty", nil, "no ar magic"},
		{"no archive", []byte("#!/bin/sh\n"), "no ar magic"},
		{"cut in a member", good[:len(good)-5], "is longer than the rest of the package"},
		{"cut before the data", good[:len(arMagic)+arHeaderSize+4], "package ends without its data archive"},
		{"wrong version", arOf([2]string{"debian-binary", "3.0\n"}), `member "debian-binary" with "3.0\n"`},
		{"no version", arOf([2]string{"control.tar.gz", "x"}), "where debian-binary with version 2.x must be"},
		{"bzip2", arOf([2]string{"debian-binary", "2.0\n"}, [2]string{"control.tar.bz2", "x"}), `member "control.tar.bz2" where control.tar`},
		{"another order", arOf([2]string{"debian-binary", "2.0\n"}, [2]string{"data.tar.gz", "x"}), `member "data.tar.gz" where control.tar`},
		{"extra member", append(arOf([2]string{"debian-binary", "2.0\n"}, [2]string{"_gpgorigin", "x"}, [2]string{"control.tar", "c"}), arOf([2]string{"data.tar.zst", "d"})[len(arMagic):]...), ""},
		{"negative size", bytes.Replace(good, []byte("4         `"), []byte("-4        `"), 1), `has the size "-4        "`},
	} {
		t.Run(test.summary, func(t *testing.T) {
			_, err := readDeb(bytes.NewReader(test.body), int64(len(test.body)))
			if (err == nil) != (test.err == "") || err != nil && !strings.Contains(err.Error(), test.err) {
				t.Errorf("readDeb: %v; want %q", err, test.err)
			}
		})
	}
}

// TestStore runs packages of all formats through the store, with and without
// an xz tool.
func TestStore(t *testing.T) {
	debs := func(t *testing.T) []Deb {
		var out []Deb
		for i, format := range []string{"xz", "gz", "", "xz", "xz"} {
			name := string(rune('a' + i))
			body := strings.Repeat(name, 3000*i+1)
			d := testDeb{name: name, format: format, entries: []testEntry{file("usr/"+name, body), file("etc/"+name+".conf", "c")}}
			d.control = map[string]string{"conffiles": "/etc/" + name + ".conf\n", "md5sums": "x"}
			out = append(out, d.write(t))
		}
		return out
	}
	for name, tool := range map[string]func(context.Context, io.Reader, io.Writer) error{"with a tool": xzInGo, "without a tool": nil} {
		t.Run(name, func(t *testing.T) {
			in := testInputs(t)
			in.XZ = tool
			var done, total int64
			in.Progress = func(stage string, d, n int64) { done, total = max(done, d), n }
			in.Jobs = 1
			list := debs(t)
			if err := Prepare(context.Background(), in, list); err != nil {
				t.Fatal(err)
			}
			if done != total || done == 0 {
				t.Errorf("progress ended at %d of %d", done, total)
			}
			for _, d := range list {
				s, err := openStored(in.Cache, d)
				if err != nil {
					t.Fatal(err)
				}
				if s.Entries[2].MD5 != "4a8a08f09d37b73795649038408b5f33" { // md5sum of "c"
					t.Errorf("sum of the conffile of %s is %q", d.Name, s.Entries[2].MD5)
				}
				body, err := os.ReadFile(s.content(1))
				if err != nil || len(body) != int(s.Entries[1].Size) || body[0] != d.Name[0] {
					t.Errorf("content of %s is %.10q, %v", d.Name, body, err)
				}
			}
			if left, _ := os.ReadDir(filepath.Join(in.Cache, "tmp")); len(left) != 1 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

// TestStoreDamage checks that a damaged package is named and never kept, and
// that it does not take the ones beside it along.
func TestStoreDamage(t *testing.T) {
	whole := testDeb{name: "whole", format: "xz", entries: []testEntry{file("usr/w", strings.Repeat("w", 100_000))}}
	bad := testDeb{name: "bad", format: "xz", entries: []testEntry{file("usr/b", strings.Repeat("some text ", 50))}}.bytes(t)
	at := bytes.LastIndex(bad, []byte("\xfd7zXZ"))
	broken := bytes.Clone(bad)
	broken[at+60] ^= 0xff // in the first block
	other := testDeb{name: "other", format: "xz"}
	for name, tool := range map[string]func(context.Context, io.Reader, io.Writer) error{"with a tool": xzInGo, "without a tool": nil} {
		for what, body := range map[string][]byte{"flipped": broken, "cut": bad[:len(bad)-30]} {
			t.Run(name+" "+what, func(t *testing.T) {
				in := testInputs(t)
				in.XZ, in.Jobs = tool, 1
				d := writeDeb(t, "bad", "", body)
				err := Prepare(context.Background(), in, append(writeAll(t, whole, other), d))
				if err == nil || !strings.Contains(err.Error(), "package bad") {
					t.Errorf("Prepare: %v; want an error that names the package", err)
				}
				if _, err := openStored(in.Cache, d); err == nil {
					t.Error("the damaged package was kept")
				}
			})
		}
	}
}

func TestStoreChecksName(t *testing.T) {
	in := testInputs(t)
	d := testDeb{name: "a"}.write(t)
	d.Version = "2"
	err := Unpack(context.Background(), in, []Deb{d}, filepath.Join(t.TempDir(), "r"))
	if err == nil || !strings.Contains(err.Error(), `package a: its own control file says Version "1" where "2" was expected`) {
		t.Errorf("Unpack: %v", err)
	}
}

func TestXZPlainSize(t *testing.T) {
	one := packAs(t, "xz", bytes.Repeat([]byte("x"), 12345))
	for _, test := range []struct {
		summary string
		body    []byte
		want    int64
		ok      bool
	}{
		{"one stream", one, 12345, true},
		{"two streams", append(bytes.Clone(one), one...), 24690, true},
		{"nothing", nil, 0, true},
		{"cut", one[:len(one)-4], 0, false},
		{"junk before", append([]byte("1234"), one...), 0, false},
	} {
		got, err := xzPlainSize(bytes.NewReader(test.body), int64(len(test.body)))
		if (err == nil) != test.ok || got != test.want && test.ok {
			t.Errorf("%s: xzPlainSize = %d, %v; want %d", test.summary, got, err, test.want)
		}
	}
}

func TestControlNames(t *testing.T) {
	for _, name := range []string{"list", "../x", "a/b", ".hidden"} {
		body := tarOf(t, []testEntry{file(name, "x")})
		if _, err := readControl(bytes.NewReader(body)); err == nil {
			t.Errorf("readControl takes a file %q", name)
		}
	}
}

func TestStanza(t *testing.T) {
	text := "Package: a\nConffiles:\n /etc/x 0123\n /etc/y 4567\nDescription: short\n long\n .\n end\n"
	s, err := parseStanza([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	s.appendTo(&b)
	if diff := cmp.Diff(text, b.String()); diff != "" {
		t.Errorf("written again (-want +got):\n%s", diff)
	}
	if got := s.with(field{"package", "b"}, field{"New", ""}).get("Package"); got != "b" {
		t.Errorf("with: Package is %q", got)
	}
	for _, bad := range []string{"no colon\n", " before\n", "a b: c\n", "x: y\n\nx: z\n"} {
		if _, err := parseStanza([]byte(bad)); err == nil {
			t.Errorf("parseStanza(%q) has no error", bad)
		}
	}
}

func FuzzReadDeb(f *testing.F) {
	f.Add(testDeb{name: "a", format: "gz", entries: []testEntry{file("x", "1")}}.bytes(f))
	f.Add(arOf([2]string{"debian-binary", "2.0\n"}, [2]string{"control.tar", ""}, [2]string{"data.tar", ""}))
	f.Fuzz(func(t *testing.T, body []byte) {
		d, err := readDeb(bytes.NewReader(body), int64(len(body)))
		if err == nil && (d.data.Size() > int64(len(body)) || d.control.Size() > int64(len(body))) {
			t.Error("a member is larger than the package")
		}
	})
}

func FuzzReadEntries(f *testing.F) {
	f.Add(tarOf(f, []testEntry{dir("usr"), file("usr/x", "1"), hard("usr/y", "usr/x"), link("z", "/etc")}))
	f.Fuzz(func(t *testing.T, body []byte) {
		list, err := readEntries(bytes.NewReader(body), func(e *entry, r io.Reader) error {
			e.File = 1
			_, err := io.Copy(io.Discard, r)
			return err
		})
		if err != nil {
			return
		}
		for _, e := range list {
			if filepath.IsAbs(e.Path) || e.Path != filepath.Clean(e.Path) || e.Path == ".." || strings.HasPrefix(e.Path, "../") || strings.ContainsAny(e.Path, "\n\x00") {
				t.Errorf("entry with the path %q", e.Path)
			}
		}
	})
}

func FuzzReadControl(f *testing.F) {
	f.Add(tarOf(f, []testEntry{file("control", "Package: a\n"), file("postinst", "#!/bin/sh\n")}))
	f.Fuzz(func(t *testing.T, body []byte) {
		files, err := readControl(bytes.NewReader(body))
		if err != nil {
			return
		}
		for _, c := range files {
			if strings.ContainsAny(c.Name, "/.") {
				t.Errorf("control file %q", c.Name)
			}
		}
	})
}

func FuzzParseStanzas(f *testing.F) {
	f.Add([]byte("Package: a\nDescription: x\n y\n\nPackage: b\n"))
	f.Fuzz(func(t *testing.T, body []byte) {
		list, err := parseStanzas(body)
		if err != nil {
			return
		}
		again, err := parseStanzas(formatStatus(append([]stanza(nil), list...)))
		if err != nil || len(again) != len(list) {
			t.Errorf("%d stanzas become %d, %v", len(list), len(again), err)
		}
	})
}

func FuzzXZPlainSize(f *testing.F) {
	f.Add(packAs(f, "xz", []byte("hello")))
	f.Fuzz(func(t *testing.T, body []byte) {
		if n, err := xzPlainSize(bytes.NewReader(body), int64(len(body))); err == nil && n < 0 {
			t.Errorf("size %d", n)
		}
	})
}

func FuzzParseDiversions(f *testing.F) {
	f.Add([]byte("/bin/sh\n/bin/sh.distrib\ndash\n"))
	f.Fuzz(func(t *testing.T, body []byte) {
		d, err := parseDiversions(body)
		if err != nil {
			return
		}
		for _, v := range d {
			if strings.HasPrefix(v.to, "/") || strings.Contains("/"+v.to+"/", "/../") {
				t.Errorf("diversion to %q", v.to)
			}
		}
	})
}

// TestPrepareWithoutWorkForTheTool: a worker that found nothing for xz(1) lets
// it end at once, which xz takes for an unknown format.
func TestPrepareWithoutWorkForTheTool(t *testing.T) {
	in := testInputs(t)
	in.Jobs, in.XZ = 3, xzInGo
	var debs []Deb
	for _, name := range []string{"one", "two", "three"} {
		debs = append(debs, testDeb{name: name, version: "1", entries: []testEntry{dir("usr")}}.write(t))
	}
	if err := Prepare(t.Context(), in, debs); err != nil {
		t.Errorf("packages that need no xz: %v", err)
	}
}
