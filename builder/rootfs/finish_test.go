package rootfs

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"trivet/builder/host"
)

var update = flag.Bool("update", false, "write the golden files anew")

// overlayOf writes files into the top layer, as an overlay does.
func overlayOf(files map[string]string) func(string) error {
	return func(upper string) error {
		for _, name := range sortedKeys(files) {
			at := filepath.Join(upper, name)
			if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
				return err
			}
			if err := os.WriteFile(at, []byte(files[name]), 0o644); err != nil {
				return err
			}
		}
		return nil
	}
}

// varDeb is a package with all kinds of things under /var.
func varDeb() testDeb {
	return testDeb{name: "service", entries: []testEntry{
		dir("etc"), dir("etc/service").mode(0o750).owner(0, 8),
		dir("var"), dir("var/lib"), dir("var/log"), dir("var/cache"), dir("var/spool"),
		dir("var/lib/service").mode(0o750).owner(700, 8), file("var/lib/service/seed", "s").mode(0o640).owner(700, 8),
		dir("var/lib/empty").mode(0o2770).owner(700, 700), dir("var/lib/declared"), dir("var/lib/declared/sub").owner(7, 7),
		file("var/lib/loose", "l"), link("var/lib/linked", "../cache/linked"), file("var/lib/with blank", ""),
		dir("var/lib/openstack-dashboard"), dir("var/lib/openstack-dashboard/static"), file("var/lib/openstack-dashboard/static/x.js", "js"),
		dir("var/lib/openstack-dashboard/other"),
		dir("var/log/service").mode(0o750), dir("var/cache/debconf"), file("var/cache/debconf/config.dat", "c"),
		file("usr/lib/tmpfiles.d/service.conf", "# comment\nd /var/lib/declared 0700 - - -\nz /var/lib/service - - - -\n"),
	}}
}

func TestFinish(t *testing.T) {
	in := testInputs(t)
	base := miniBase(t)
	for i, e := range base.entries {
		if e.Name == "./etc/passwd" {
			base.entries[i].body += "svc:x:700:700::/var/lib/missing:/bin/false\nlow:x:7:7::/var/low:/bin/false\n"
		}
	}
	below := installAll(t, in, []testDeb{base}, []testDeb{varDeb()})
	top, err := Finish(t.Context(), in, below, overlayOf(map[string]string{"etc/service/a.conf": "a", "var/lib/mine/x": "x"}), FinishOptions{Digest: "1"})
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(top, tmpfilesPath))
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile("testdata/trivet-var.conf", got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("testdata/trivet-var.conf")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("tmpfiles.d (-want +got):\n%s", diff)
	}
	all := append(below[:len(below):len(below)], top)
	script := `cat /etc/machine-id; echo /var /var/* /var/*/*
		dpkg-query -W -f '${db:Status-Abbrev} ${Package}\n' service
		cat /usr/share/factory/var/lib/mine/x; echo; cat /usr/share/factory/var/lib/service/seed; echo`
	wantTree := "uninitialized\n/var /var/lib /var/lib/dpkg\nii  service\nx\ns\n"
	if diff := cmp.Diff(wantTree, inTree(t, all, script)); diff != "" {
		t.Errorf("the image says (-want +got):\n%s", diff)
	}
	wantTop := "etc/service/ 0750 0:8\nusr/share/factory/var/lib/empty/ 2770 700:700\nusr/share/factory/var/lib/service/ 0750 700:8\nusr/share/factory/var/lib/service/seed 0640 700:8 \"s\"\nvar/ 0755\nvar/lib/ 0755\nvar/lib/dpkg -> ../../usr/lib/dpkg-db\n"
	var have string
	for line := range strings.Lines(dump(t, top)) {
		for _, p := range []string{"etc/service/ ", "usr/share/factory/var/lib/service", "usr/share/factory/var/lib/empty", "var/", "usr/share/factory/var/cache/debconf"} {
			if strings.HasPrefix(line, p) {
				have += line
			}
		}
	}
	if diff := cmp.Diff(wantTop, have); diff != "" {
		t.Errorf("the top layer (-want +got):\n%s", diff)
	}
}

func TestFinishErrors(t *testing.T) {
	in := testInputs(t)
	below := installAll(t, in, []testDeb{miniBase(t)})
	for _, test := range []struct {
		summary string
		files   map[string]string
		err     string
	}{
		{"a directory in place of a link", map[string]string{"lib/x": ""}, "overlay path /lib is a directory, and in the packages a link to usr/lib"},
		{"a file in place of a directory", map[string]string{"usr/lib64": ""}, "overlay path /usr/lib64 would change a directory into a file"},
		{"a secret file", map[string]string{"var/lib/trivet/master": "s"}, "the image would hold a secret: /var/lib/trivet/master"},
		{"an empty secret file", map[string]string{"var/lib/trivet/master": ""}, ""},
		{"a host key", map[string]string{"root/.ssh/authorized_keys": "ssh-ed25519 A"}, "/root/.ssh/authorized_keys"},
		{"a key", map[string]string{"srv/k": "x\n-----BEGIN EC PRIVATE KEY-----\n" + strings.Repeat("A", 64) + "\n"}, "/srv/k: holds a private key"},
		{"a word about keys", map[string]string{"srv/k": "if line == '-----BEGIN EC PRIVATE KEY-----':\n  pass\n"}, ""},
		{"an identity", map[string]string{"etc/ssh/ssh_host_rsa_key": "k"}, "overlay path /etc/ssh/ssh_host_rsa_key: no image may hold it"},
		{"an open account", map[string]string{"etc/shadow": "root::1::::::\n"}, "user root may log in without a password"},
	} {
		t.Run(test.summary, func(t *testing.T) {
			_, err := Finish(t.Context(), in, below, overlayOf(test.files), FinishOptions{Digest: test.summary})
			if (err == nil) != (test.err == "") || err != nil && !strings.Contains(err.Error(), test.err) {
				t.Errorf("Finish: %v; want %q", err, test.err)
			}
		})
	}
}

// TestTmpfilesRestore lets the host's systemd-tmpfiles fill an empty /var from
// the factory by the lines that are written for it.
func TestTmpfilesRestore(t *testing.T) {
	needRoot(t)
	tool, err := host.Look("systemd-tmpfiles")
	if err != nil {
		t.Skip("needs systemd-tmpfiles")
	}
	in := testInputs(t)
	below := installAll(t, in, []testDeb{miniBase(t)}, []testDeb{varDeb()})
	top, err := Finish(t.Context(), in, below, overlayOf(nil), FinishOptions{})
	if err != nil {
		t.Fatal(err)
	}
	// systemd-tmpfiles --root takes the factory of that root.
	root := t.TempDir()
	if err := os.MkdirAll(filepath.Join(root, "usr/share"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(root, "var"), 0o755); err != nil {
		t.Fatal(err)
	}
	for from, to := range map[string]string{factoryDir: factoryDir, tmpfilesPath: "trivet-var.conf"} {
		if err := os.Rename(filepath.Join(top, from), filepath.Join(root, to)); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 { // as at each boot
		var out strings.Builder
		c := host.Command{Args: []string{tool, "--root=" + root, "--create", filepath.Join(root, "trivet-var.conf")}, Stdout: &out, Stderr: &out}
		if err := host.Exec(t.Context(), c); err != nil {
			t.Fatalf("%v\n%s", err, out.String())
		}
	}
	got := only(dump(t, filepath.Join(root, "var")), "lib/service", "lib/linked", "lib/dpkg", "lib/openstack-dashboard")
	want := "lib/dpkg -> ../../usr/lib/dpkg-db\nlib/linked -> ../cache/linked\nlib/openstack-dashboard/static -> /usr/share/factory/var/lib/openstack-dashboard/static\nlib/service/seed 0640 700:8 \"s\"\n"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("/var of the machine (-want +got):\n%s", diff)
	}
}

// TestFactoryBelow checks that Finish over a layer of Factory gives the same
// image as Finish alone, and adds only what the overlay has.
func TestFactoryBelow(t *testing.T) {
	in := testInputs(t)
	packages := installAll(t, in, []testDeb{miniBase(t)}, []testDeb{varDeb()})
	files := map[string]string{"var/lib/service/extra": "e", "var/lib/mine/x": "x", "etc/new": "n"}
	alone, err := Finish(t.Context(), in, packages, overlayOf(files), FinishOptions{Digest: "1"})
	if err != nil {
		t.Fatal(err)
	}
	factory, err := Factory(t.Context(), in, packages)
	if err != nil {
		t.Fatal(err)
	}
	below := append(packages[:len(packages):len(packages)], factory)
	top, err := Finish(t.Context(), in, below, overlayOf(files), FinishOptions{Digest: "1"})
	if err != nil {
		t.Fatal(err)
	}
	got, want := show(t, append(below, top)...), show(t, append(packages[:len(packages):len(packages)], alone)...)
	strip := func(s string) string {
		var out []string
		for line := range strings.Lines(s) {
			if !strings.HasPrefix(line, "usr/lib/tmpfiles.d/trivet-var") {
				out = append(out, line)
			}
		}
		return strings.Join(out, "")
	}
	if diff := cmp.Diff(strip(want), strip(got)); diff != "" {
		t.Errorf("the image (-alone +over a factory layer):\n%s", diff)
	}
	conf, err := os.ReadFile(filepath.Join(top, overlayTmpfilesPath))
	if err != nil {
		t.Fatal(err)
	}
	wantConf := "# Written by trivet: what the packages of this image have under /var.\nC+ /var/lib/mine 0755 0 0 -\nC  /var/lib/service/extra 0644 0 0 -\n"
	if diff := cmp.Diff(wantConf, string(conf)); diff != "" {
		t.Errorf("tmpfiles.d of the overlay (-want +got):\n%s", diff)
	}
	text := dump(t, top)
	for _, line := range []string{"usr/share/factory/var/lib/service/ 0750 700:8\n", "var/lib/dpkg -> ../../usr/lib/dpkg-db\n"} {
		if !strings.Contains(text, line) {
			t.Errorf("the top layer has no line %q", line)
		}
	}
	if strings.Contains(text, "seed") || strings.Contains(text, "dpkg-db/status") {
		t.Errorf("the top layer repeats the factory:\n%s", text)
	}
}
