package apt

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"trivet/builder/host"
)

func needApt(t *testing.T) {
	t.Helper()
	if _, err := host.Look("apt-get"); err != nil {
		t.Skip("skipped: this host has no apt-get, which resolves")
	}
}

// asked resolves and returns SET/NAME of all packages.
func asked(t *testing.T, a Archive, idx Indices, sets ...Set) []string {
	t.Helper()
	lock, err := a.Resolve(context.Background(), idx, sets)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, p := range lock.Packages {
		got = append(got, p.Set+"/"+p.Name)
	}
	return got
}

func TestResolveMakesLayers(t *testing.T) {
	needApt(t)
	m := newMirror(t)
	m.publish(t, day, "",
		m.add("libc", "Essential: yes", "Multi-Arch: same")+m.add("must", "Priority: required", "Depends: libc (>=  1.0),libc")+
			m.add("web", "Depends: lib | other, libc (>= 1.0)", "Recommends: extra", "Provides: httpd, www (= 1)")+
			m.add("lib", "Breaks: old (<< 1)", "Source: libsrc (0.9)")+m.add("other")+m.add("extra", "Depends: lib, httpd")+m.add("g++"), "")
	a := m.archive(t)
	idx := refreshed(t, a)
	m.Close() // from here on nothing may ask the network
	got := asked(t, a, idx, Set{"base", []string{"web"}}, Set{"none", nil}, Set{"role", []string{"extra", "g++", "web"}})
	if diff := cmp.Diff([]string{"base/lib", "base/libc", "base/must", "base/web", "role/extra", "role/g++"}, got); diff != "" {
		t.Errorf("layers (-want +got):\n%s", diff)
	}
	lock, err := a.Resolve(context.Background(), idx, []Set{{"base", []string{"lib"}}})
	if err != nil {
		t.Fatal(err)
	}
	want := Package{
		Set: "base", Name: "lib", Version: "1.0", Arch: "amd64", SHA256: sumBytes(m.files["/debian/pool/main/lib_1.0_amd64.deb"]),
		Size: int64(len(m.files["/debian/pool/main/lib_1.0_amd64.deb"])), Pool: "pool/main/lib_1.0_amd64.deb", Source: "libsrc(0.9)",
	}
	if diff := cmp.Diff(want, lock.Packages[0]); diff != "" {
		t.Errorf("first package (-want +got):\n%s", diff)
	}
	if !lock.Date.Equal(day) || !lock.Packages[1].Essential {
		t.Errorf("lock of %v, %+v; want the archive's date %v and an essential libc", lock.Date, lock.Packages[1], day)
	}
}

func TestResolvePrefersSecurityFixes(t *testing.T) {
	needApt(t)
	m := newMirror(t)
	m.publish(t, day, "", m.add("web", "Depends: lib")+m.add("lib"), m.fix("lib"))
	a := m.archive(t)
	lock, err := a.Resolve(context.Background(), refreshed(t, a), []Set{{"base", []string{"web"}}})
	if err != nil {
		t.Fatal(err)
	}
	if p := lock.Packages[0]; p.Name != "lib" || !p.Security || p.Version != "1.0+deb13u1" || p.Pool != "pool/updates/main/lib_1.0+deb13u1_amd64.deb" {
		t.Errorf("lib is %+v; want the one of the security archive", p)
	}
	if lock.Packages[1].Security {
		t.Error("web is said to lie on the security archive")
	}
	paths, err := a.Fetch(context.Background(), lock.Packages)
	if err != nil {
		t.Fatal(err)
	}
	for digest, path := range paths {
		if text, err := os.ReadFile(path); err != nil || sumBytes(text) != digest {
			t.Errorf("%s has another digest (%v)", path, err)
		}
	}
}

func TestResolveErrors(t *testing.T) {
	needApt(t)
	m := newMirror(t)
	m.publish(t, day, "", m.add("postfix", "Provides: mta", "Conflicts: mta")+m.add("exim", "Provides: mta", "Conflicts: mta")+
		m.add("cron", "Depends: exim | mta")+m.add("broken", "Depends: nothing-has-this"), "")
	a := m.archive(t)
	idx := refreshed(t, a)
	for want, sets := range map[string][]Set{
		`no package is called "exmi", which set base asks for; did you mean "exim"?`: {{"base", []string{"exmi"}}},
		`no package is called "exi.*", which set role asks for`:                      {{"base", nil}, {"role", []string{"exi.*"}}},
		`"exim=1.0"`: {{"base", []string{"exim=1.0"}}},
		`"exim-"`:    {{"base", []string{"exim-"}}},
		`package "mta" of set base is virtual; name one that provides it, such as "exim"`: {{"base", []string{"mta"}}},
		`set role: apt-get: exit code 100`:                                                {{"base", []string{"cron"}}, {"role", []string{"postfix"}}},
		`nothing-has-this`:                                                                {{"base", []string{"broken"}}},
		`that is not a name`:                                                              {{"a b", []string{"cron"}}},
	} {
		if _, err := a.Resolve(context.Background(), idx, sets); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: error = %v; want %q", sets, err, want)
		}
	}
	// Put into one set, the same packages go together.
	got := asked(t, a, idx, Set{"base", []string{"cron", "postfix"}})
	if diff := cmp.Diff([]string{"base/cron", "base/postfix"}, got); diff != "" {
		t.Errorf("one set (-want +got):\n%s", diff)
	}
	if left, err := filepath.Glob(filepath.Join(a.Cache, "apt", ".tmp-*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestResolveKeepsItsAnswer(t *testing.T) {
	needApt(t)
	m := newMirror(t)
	m.publish(t, day, "", m.add("web"), "")
	a := m.archive(t)
	idx := refreshed(t, a)
	sets := []Set{{"base", []string{"web"}}}
	first, err := a.Resolve(context.Background(), idx, sets)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(a.Cache, "apt", "lists")); err != nil {
		t.Fatal(err)
	}
	again, err := a.Resolve(context.Background(), idx, sets)
	if err != nil {
		t.Fatalf("the second answer needs the lists: %v", err)
	}
	if diff := cmp.Diff(first, again); diff != "" {
		t.Errorf("answers differ (-first +second):\n%s", diff)
	}
	// The archive goes on without a change that concerns these packages: the
	// lock, and with it the image, stays the same.
	m.publish(t, day.AddDate(0, 0, 1), "", m.add("web")+m.add("unrelated"), "")
	later, err := a.Resolve(context.Background(), refreshed(t, a), sets)
	if err != nil {
		t.Fatal(err)
	}
	if later.Digest() != first.Digest() {
		t.Errorf("the lock changed although no package did:\n%s\n%s", first, later)
	}
}

func TestResolveFindsDamagedLists(t *testing.T) {
	needApt(t)
	m := newMirror(t)
	m.publish(t, day, "", m.add("web"), "")
	a := m.archive(t)
	idx := refreshed(t, a)
	for _, l := range idx.lists {
		text, err := os.ReadFile(l.path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(l.path, bytes.Replace(text, []byte("SHA256: "), []byte("SHA256: 0"), 1), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := a.Resolve(context.Background(), idx, []Set{{"base", []string{"web"}}}); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("error = %v; want damaged", err)
	}
	asked(t, a, refreshed(t, a), Set{"base", []string{"web"}})
}

// The host's apt configuration, sources and state must not be looked at.
func TestSolverIsPrivate(t *testing.T) {
	needApt(t)
	m := newMirror(t)
	m.publish(t, day, "", m.add("web"), "")
	a := m.archive(t)
	s, err := a.newSolver(refreshed(t, a))
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	var out bytes.Buffer
	err = host.Exec(context.Background(), host.Command{Args: []string{"apt-config", "dump"}, Dir: s.dir, Env: []string{"APT_CONFIG=apt.conf"}, Stdout: &out})
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{`Dir "./"`, `Dir::State "state"`, `Dir::State::status "status"`, `Dir::Etc "etc"`, `Dir::Cache "cache"`, `APT::Install-Recommends "false"`, `APT::Architecture "amd64"`} {
		if !strings.Contains(out.String(), line+";\n") {
			t.Errorf("apt's configuration has no line %s", line)
		}
	}
	for _, foreign := range []string{"NeverAutoRemove", "Post-Invoke", "Pre-Install-Pkgs", "Proxy"} {
		if strings.Contains(out.String(), foreign) {
			t.Errorf("apt's configuration has %s of the host:\n%s", foreign, out.String())
		}
	}
	out.Reset()
	err = host.Exec(context.Background(), host.Command{Args: []string{"apt-cache", "policy", "web", "apt"}, Dir: s.dir, Env: []string{"APT_CONFIG=apt.conf"}, Stdout: &out})
	if err != nil {
		t.Fatal(err)
	}
	want := "web:\n  Installed: (none)\n  Candidate: 1.0\n  Version table:\n     1.0 500\n        500 file:/trivet/0 trixie/main amd64 Packages\n"
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("what apt knows (-want +got):\n%s", diff)
	}
}

func TestRequestDigest(t *testing.T) {
	base := RequestDigest("trixie", "amd64", []Set{{"a", []string{"x", "y"}}, {"b", []string{"z"}}})
	if got := RequestDigest("trixie", "amd64", []Set{{"a", []string{"y", "x"}}, {"b", []string{"z"}}}); got != base {
		t.Error("the order of names changes the digest")
	}
	for _, other := range [][]Set{{{"a", []string{"x"}}, {"b", []string{"y", "z"}}}, {{"b", []string{"z"}}, {"a", []string{"x", "y"}}}, {{"a", []string{"x y"}}, {"b", []string{"z"}}}} {
		if RequestDigest("trixie", "amd64", other) == base {
			t.Errorf("%v has the digest of another request", other)
		}
	}
	if RequestDigest("sid", "amd64", nil) == RequestDigest("trixie", "amd64", nil) {
		t.Error("the suite does not change the digest")
	}
}
