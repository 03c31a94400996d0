package rootfs

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"trivet/builder/host"
)

// writeTree makes a directory tree: names that end in / are directories,
// values that begin with "-> " are symbolic links.
func writeTree(t testing.TB, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for _, name := range sortedKeys(files) {
		at := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		target, isLink := strings.CutPrefix(files[name], "-> ")
		switch {
		case strings.HasSuffix(name, "/"):
			err = os.MkdirAll(at, 0o755)
		case isLink:
			err = os.Symlink(target, at)
		default:
			err = os.WriteFile(at, []byte(files[name]), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// planOn unpacks packages on layers below into a new directory.
func planOn(t *testing.T, below []string, debs ...testDeb) (string, error) {
	t.Helper()
	in := testInputs(t)
	list := writeAll(t, debs...)
	if err := Prepare(context.Background(), in, list); err != nil {
		t.Fatal(err)
	}
	pkgs, err := loadAll(in, list)
	if err != nil {
		t.Fatal(err)
	}
	p, err := newPlan(newView(below), pkgs)
	if err != nil {
		return "", err
	}
	root := t.TempDir()
	if err := p.lay(in, root); err != nil {
		return "", err
	}
	return root, p.writeDB(root)
}

// belowTree is a small installed system.
func belowTree(t *testing.T) []string {
	return []string{writeTree(t, map[string]string{
		"lib":                                "-> usr/lib",
		"usr/lib/old":                        "old",
		"usr/lib/taken":                      "old",
		"var/run":                            "-> /run",
		"run/":                               "",
		"etc/unowned":                        "made by a script",
		"etc/group":                          "root:x:0:\nstaff:x:50:\nspecial:x:777:\n",
		"var/lib/dpkg/status":                "Package: old\nStatus: install ok installed\nVersion: 1\nArchitecture: all\n\nPackage: watch\nStatus: install ok installed\nVersion: 1\nArchitecture: amd64\nMulti-Arch: same\n",
		"var/lib/dpkg/info/old.list":         "/.\n/usr\n/usr/lib\n/usr/lib/old\n/usr/lib/taken\n",
		"var/lib/dpkg/info/watch:amd64.list": "/.\n",
		"var/lib/dpkg/triggers/File":         "/usr/share/schemas watch:amd64\n/usr/share/other watch:amd64/noawait\n",
		"var/lib/dpkg/triggers/rebuild":      "watch:amd64\n",
		"var/lib/dpkg/diversions":            "/usr/bin/tool\n/usr/bin/tool.real\nold\n/usr/bin/mine\n/usr/bin/mine.old\na\n",
	})}
}

func TestPlanOnLayers(t *testing.T) {
	a := testDeb{
		name: "a", version: "2", fields: "Replaces: old\n",
		control: map[string]string{
			"triggers":  "# a comment\ninterest-noawait /usr/share/mine\ninterest rebuild\nactivate-noawait ldconfig\n",
			"conffiles": "/etc/a.conf\n", "postinst": "#!/bin/sh\n",
		},
		entries: []testEntry{
			dir("lib"), dir("lib/sub"), file("lib/sub/x", "x"), file("usr/bin/tool", "t"), file("usr/bin/mine", "m"), file("usr/lib/taken", "new"),
			file("var/run/a/pid", ""), file("etc/unowned", "packaged"), file("etc/a.conf", "c"), file("usr/share/schemas/s.xml", ""), file("usr/share/man/man1/a.1", ""),
		},
	}
	root, err := planOn(t, belowTree(t), a)
	if err != nil {
		t.Fatal(err)
	}
	want := strings.TrimLeft(`
etc/a.conf 0644 "c"
etc/unowned 0644 "packaged"
run/a/pid 0644 ""
usr/bin/mine 0644 "m"
usr/bin/tool.real 0644 "t"
usr/lib/sub/x 0644 "x"
usr/lib/taken 0644 "new"
usr/share/schemas/s.xml 0644 ""
var/lib/dpkg/info/a.list 0644 "/.\n/lib\n/lib/sub\n/lib/sub/x\n/usr/bin/tool\n/usr/bin/mine\n/usr/lib/taken\n/var/run/a/pid\n/etc/unowned\n/etc/a.conf\n/usr/share/schemas/s.xml\n/usr/share/man/man1/a.1\n"
`, "\n")
	text := dump(t, root)
	if diff := cmp.Diff(want, only(text, "etc/a", "etc/u", "lib", "run", "usr", "var/run", "var/lib/dpkg/info/a.list")); diff != "" {
		t.Errorf("tree (-want +got):\n%s", diff)
	}
	for name, want := range map[string]string{
		"var/lib/dpkg/info/old.list":     "/.\n/usr\n/usr/lib\n/usr/lib/old\n",
		"var/lib/dpkg/triggers/File":     "/usr/share/schemas watch:amd64\n/usr/share/other watch:amd64/noawait\n/usr/share/mine a/noawait\n",
		"var/lib/dpkg/triggers/rebuild":  "watch:amd64\na\n",
		"var/lib/dpkg/triggers/Unincorp": "/usr/share/schemas -\n",
		"etc/dpkg/dpkg.cfg.d/trivet":     DpkgConfig(),
	} {
		got, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff(want, string(got)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	checkStatus(t, root)
}

func checkStatus(t *testing.T, root string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, statusPath))
	if err != nil {
		t.Fatal(err)
	}
	list, err := parseStanzas(text)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range list {
		got = append(got, s.get("Package")+": "+s.get("Status")+strings.ReplaceAll(s.get("Conffiles"), "\n", ";"))
	}
	want := []string{
		"a: install ok unpacked; /etc/a.conf 4a8a08f09d37b73795649038408b5f33",
		"old: install ok installed", "watch: install ok installed",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("status (-want +got):\n%s", diff)
	}
}

func TestPlanConflictsBelow(t *testing.T) {
	_, err := planOn(t, belowTree(t), testDeb{name: "b", entries: []testEntry{file("lib/old", "b")}})
	if err == nil || !strings.Contains(err.Error(), "unpack package b 1: path /lib/old is also in package old 1, and neither replaces the other") {
		t.Errorf("plan: %v", err)
	}
}

// TestPlanDatabaseLink checks that a package cannot lead dpkg's database out
// of the tree.
func TestPlanDatabaseLink(t *testing.T) {
	_, err := planOn(t, nil, testDeb{name: "b", entries: []testEntry{dir("var"), dir("var/lib"), link("var/lib/dpkg", "/tmp")}})
	if err == nil || !strings.Contains(err.Error(), "path /var/lib/dpkg would be a directory, but is something else in package b") {
		t.Errorf("plan: %v", err)
	}
}

func TestPlanOwnersByName(t *testing.T) {
	needRoot(t)
	e := file("usr/x", "x").owner(0, 123)
	e.Gname = "special"
	root, err := planOn(t, belowTree(t), testDeb{name: "a", entries: []testEntry{e}})
	if err != nil {
		t.Fatal(err)
	}
	if got := only(dump(t, root), "usr/x"); got != "usr/x 0644 0:777 \"x\"\n" {
		t.Errorf("tree: %s", got)
	}
}

func TestPrivateKeyInPackage(t *testing.T) {
	key := "-----BEGIN RSA PRIVATE KEY-----\n" + strings.Repeat("MIIEpAIBAAKCAQEA", 4) + "\n-----END RSA PRIVATE KEY-----\n"
	for name, refused := range map[string]bool{"etc/ssl/x.pem": true, "usr/lib/python3/dist-packages/nova/tests/x.pem": false} {
		in := testInputs(t)
		list := writeAll(t, testDeb{name: "a", entries: []testEntry{file(name, key)}})
		if err := Prepare(context.Background(), in, list); err != nil {
			t.Fatal(err)
		}
		pkgs, err := loadAll(in, list)
		if err != nil {
			t.Fatal(err)
		}
		p, err := newPlan(newView(nil), pkgs)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.checkKeys(); (err != nil) != refused {
			t.Errorf("%s: checkKeys: %v", name, err)
		}
	}
}

func TestCompareVersions(t *testing.T) {
	rows := []struct {
		a, op, b string
	}{
		{"1", "=", "1"},
		{"1", "<<", "2"},
		{"1.10", ">>", "1.9"},
		{"1.0~rc1", "<<", "1.0"},
		{"1.0~~", "<<", "1.0~"},
		{"1:0.1", ">>", "9"},
		{"0:1", "=", "1"},
		{"1-1", ">>", "1"},
		{"1-0", "=", "1"},
		{"1.0-1+b1", ">>", "1.0-1"},
		{"1.0+dfsg", ">>", "1.0"},
		{"1.0a", "<<", "1.0+"},
		{"a", "<<", "b"},
		{"1.01", "=", "1.1"},
		{"2:27.0.0-3+deb13u6", ">>", "2:27.0.0-3+deb13u5"},
		{"1.2.3-1~bpo12+1", "<<", "1.2.3-1"},
		{"18446744073709551616", ">>", "9"},
	}
	dpkg, _ := host.Look("dpkg")
	for _, r := range rows {
		if got := (relation{"x", r.op, r.b}).holds("x", r.a); !got {
			t.Errorf("%s %s %s does not hold", r.a, r.op, r.b)
		}
		if dpkg != "" {
			op := map[string]string{"=": "eq", "<<": "lt", ">>": "gt"}[r.op]
			if err := host.Exec(t.Context(), host.Command{Args: []string{dpkg, "--compare-versions", r.a, op, r.b}}); err != nil {
				t.Errorf("dpkg says that %s %s %s does not hold", r.a, r.op, r.b)
			}
		}
	}
}

func TestParseRelations(t *testing.T) {
	got := parseRelations("a (>= 1:2), b:any | c [amd64], , d(= 3)")
	want := [][]relation{{{"a", ">=", "1:2"}}, {{"b", "", ""}, {"c [amd64]", "", ""}}, {{"d", "=", "3"}}}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(relation{})); diff != "" {
		t.Errorf("parseRelations (-want +got):\n%s", diff)
	}
}

func TestDependencyOrder(t *testing.T) {
	var pkgs []stored
	for _, p := range []struct{ name, fields string }{
		{"a", "Depends: b, virtual\n"}, {"b", "Pre-Depends: c\nDepends: a\n"}, {"c", ""}, {"z", "Provides: virtual (= 1)\n"},
	} {
		s, err := parseStanza([]byte("Package: " + p.name + "\n" + p.fields))
		if err != nil {
			t.Fatal(err)
		}
		pkgs = append(pkgs, stored{deb: Deb{Name: p.name}, stanza: s})
	}
	var got []string
	for _, p := range inDependencyOrder(pkgs) {
		got = append(got, p.deb.Name)
	}
	if diff := cmp.Diff([]string{"c", "b", "z", "a"}, got); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
}

func TestExcluded(t *testing.T) {
	for _, test := range []struct {
		path, kind string
		want       bool
	}{
		{"/usr/share/doc/a/changelog.gz", kindFile, true},
		{"/usr/share/doc/a/copyright", kindFile, false},
		{"/usr/share/doc/a/deep/copyright", kindFile, false},
		{"/usr/share/doc/a", kindDir, false},
		{"/usr/share/doc/a", kindSymlink, false},
		{"/usr/share/man/man1/ls.1.gz", kindFile, true},
		{"/usr/share/man/man1", kindDir, true},
		{"/usr/share/man", kindDir, false},
		{"/usr/share/locale/C.UTF-8/x", kindFile, false},
		{"/usr/share/locale/en/x", kindFile, false},
		{"/usr/share/locale/de/x", kindFile, true},
		{"/usr/share/documentation", kindFile, false},
		{"/usr/lib/man/x", kindFile, false},
	} {
		if got := excluded(test.path, test.kind); got != test.want {
			t.Errorf("excluded(%s, %s) = %v", test.path, test.kind, got)
		}
	}
}
