package rootfs

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"trivet/builder/host"
)

// miniBase is a package of the host's own dpkg, shell and their libraries: the
// smallest tree in which maintainer scripts run.
func miniBase(t *testing.T) testDeb {
	t.Helper()
	needRoot(t)
	var files []testEntry
	seen := map[string]bool{}
	add := func(path, from string) {
		if seen[path] {
			return
		}
		seen[path] = true
		body, err := os.ReadFile(from)
		if err != nil {
			t.Skipf("needs a Debian host: %v", err)
		}
		files = append(files, file(strings.TrimPrefix(path, "/"), string(body)).mode(0o755))
	}
	programs := []string{"sh", "dpkg", "dpkg-query", "dpkg-divert", "dpkg-trigger", "dpkg-deb", "tar", "rm", "cat", "touch", "mkdir", "mv", "ln", "diff"}
	for _, name := range programs {
		path, err := host.Look(name)
		if err != nil {
			t.Skipf("needs a Debian host: %v", err)
		}
		add("/usr/bin/"+name, path)
		var out bytes.Buffer
		if err := host.Exec(t.Context(), host.Command{Args: []string{"ldd", path}, Stdout: &out}); err != nil {
			t.Skipf("needs a Debian host: %v", err)
		}
		for f := range strings.FieldsSeq(out.String()) {
			if strings.HasPrefix(f, "/") {
				to := f
				if !strings.HasPrefix(f, "/usr/") {
					to = "/usr" + f
				}
				add(to, f)
			}
		}
	}
	stub := "#!/bin/sh\nexit 0\n"
	for _, name := range []string{"usr/sbin/ldconfig", "usr/sbin/start-stop-daemon"} {
		files = append(files, file(name, stub).mode(0o755))
	}
	files = append(files, dir("usr/lib64"), dir("proc"), dir("sys"), dir("dev"), dir("run"), dir("tmp"), dir("var"), dir("var/lib"),
		file("etc/passwd", "root:x:0:0::/root:/bin/sh\n"), file("etc/group", "root:x:0:\nmail:x:8:\n"), file("etc/shadow", "root:*:1::::::\n"))
	return testDeb{name: "dpkg", fields: "Essential: yes\n", entries: files}
}

// installAll makes layers of packages, each on those before.
func installAll(t *testing.T, in Inputs, layers ...[]testDeb) []string {
	t.Helper()
	dirs, err := tryInstall(t, in, layers...)
	if err != nil {
		t.Fatal(err)
	}
	return dirs
}

func tryInstall(t *testing.T, in Inputs, layers ...[]testDeb) ([]string, error) {
	t.Helper()
	var dirs []string
	for i, debs := range layers {
		dir, err := Install(t.Context(), in, dirs, Layer{Name: string(rune('a' + i)), Debs: writeAll(t, debs...)})
		if err != nil {
			return dirs, err
		}
		dirs = append(dirs, dir)
	}
	return dirs, nil
}

// inTree runs a shell program in the layers, read-only, and returns what it says.
func inTree(t *testing.T, layers []string, script string) string {
	t.Helper()
	var out strings.Builder
	s := host.Sandbox{Mounts: []host.Mount{{Target: "/", Layers: layers}}}
	if err := s.Run(t.Context(), host.Command{Args: []string{"sh", "-ec", script}, Stdout: &out, Stderr: &out}); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	return out.String()
}

func TestInstall(t *testing.T) {
	in := testInputs(t)
	base := []testDeb{miniBase(t), {
		name: "watcher", control: map[string]string{
			"triggers": "interest-noawait /usr/share/watched\ninterest-noawait ring\n",
			"postinst": "#!/bin/sh\necho \"watcher $*\" >>/var/lib/said\n",
		},
	}}
	upper := []testDeb{
		{
			name: "a", version: "1:2-3", fields: "Depends: b\n",
			control: map[string]string{
				"preinst": "#!/bin/sh\nset -e\n[ \"$DPKG_MAINTSCRIPT_PACKAGE $DPKG_MAINTSCRIPT_NAME $DPKG_MAINTSCRIPT_ARCH $*\" = 'a preinst all install' ]\n" +
					"dpkg-divert --package a --add --rename --divert /usr/bin/tool.b /usr/bin/tool >/dev/null\ntest ! -e /usr/bin/tool\ntouch /var/lib/early\n",
				"postinst":  "#!/bin/sh\nset -e\necho \"a $* $SOURCE_DATE_EPOCH $DEBIAN_FRONTEND\" >>/var/lib/said\ndpkg-trigger ring\nrm /usr/share/a/temp\n",
				"conffiles": "/etc/a.conf\n",
				"md5sums":   "",
			},
			entries: []testEntry{file("usr/bin/tool", "of a"), file("etc/a.conf", "conf"), file("usr/share/watched/x", "1"), file("usr/share/a/temp", "")},
		},
		{
			name: "b", control: map[string]string{"postinst": "#!/bin/sh\necho \"b $*\" >>/var/lib/said\n"},
			entries: []testEntry{file("usr/bin/tool", "of b")},
		},
	}
	dirs := installAll(t, in, base, upper)
	got := inTree(t, dirs, `dpkg --audit >&2; dpkg-query -W -f '${Package} ${db:Status-Abbrev}\n'; cat /var/lib/said; cat /usr/bin/tool /usr/bin/tool.b /etc/a.conf; echo; dpkg-query -S /usr/bin/tool; dpkg-query -W -f '${Conffiles}\n' a; dpkg -V a b || true`)
	want := strings.TrimLeft(`
a ii 
b ii 
dpkg ii 
watcher ii 
watcher configure 
b configure 
a configure  1700000000 noninteractive
watcher triggered ring /usr/share/watched
of aof bconf
diversion by a from: /usr/bin/tool
diversion by a to: /usr/bin/tool.b
b, a: /usr/bin/tool
 /etc/a.conf 3a8e4c06e471595f6eb262bb9b5582d9
missing     /usr/share/a/temp
`, "\n")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the tree says (-want +got):\n%s", diff)
	}
	wantFiles := "usr/bin/tool 0644 \"of a\"\nusr/bin/tool.b 0644 \"of b\"\nusr/share/watched/x 0644 \"1\"\nvar/lib/early 0644 \"\"\n"
	if diff := cmp.Diff(wantFiles, only(dump(t, dirs[1]), "usr", "var/lib/early")); diff != "" {
		t.Errorf("the layer has (-want +got):\n%s", diff)
	}
}

func TestInstallTwiceIsTheSame(t *testing.T) {
	base := miniBase(t)
	noisy := testDeb{name: "noisy", control: map[string]string{
		"postinst": "#!/bin/sh\nset -e\numask 077\nmkdir -p /var/lib/rabbitmq /var/log/apt /etc/ssh\necho $$ >/var/lib/rabbitmq/.erlang.cookie\ncat /proc/sys/kernel/random/uuid >/etc/ssh/ssh_host_rsa_key\ncat /proc/uptime >/var/log/dpkg.log\nmkdir /etc/made\n",
	}}
	var dumps []string
	for _, jobs := range []int{1, 3} {
		in := testInputs(t)
		in.Jobs = jobs
		dirs := installAll(t, in, []testDeb{base, noisy})
		dumps = append(dumps, dump(t, dirs[0]))
	}
	if diff := cmp.Diff(dumps[0], dumps[1]); diff != "" {
		t.Errorf("two builds differ:\n%s", diff)
	}
	want := "etc/made/ 0700\netc/ssh/ 0700\nvar/lib/rabbitmq/ 0700\nvar/log/apt/ 0700\n"
	got := ""
	for line := range strings.Lines(dumps[0]) {
		for _, p := range []string{"etc/made", "etc/ssh", "var/lib/rabbitmq", "var/log/"} {
			if strings.HasPrefix(line, p) && !strings.HasPrefix(line, "var/log/ ") {
				got += line
			}
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("what the script left (-want +got):\n%s", diff)
	}
}

func TestInstallCached(t *testing.T) {
	in := testInputs(t)
	base := miniBase(t)
	first := installAll(t, in, []testDeb{base})
	in.Log = failWriter{t}
	if again := installAll(t, in, []testDeb{base}); again[0] != first[0] {
		t.Errorf("the second build gives %s, the first gave %s", again[0], first[0])
	}
	in.Log = nil
	in.Epoch = in.Epoch.AddDate(0, 0, 1)
	if other := installAll(t, in, []testDeb{base}); other[0] == first[0] {
		t.Error("another epoch gives the same layer")
	}
}

// failWriter fails the test when anything is logged.
type failWriter struct{ t *testing.T }

func (f failWriter) Write(p []byte) (int, error) {
	f.t.Errorf("work was done: %s", p)
	return len(p), nil
}

func TestInstallErrors(t *testing.T) {
	base, in := miniBase(t), testInputs(t)
	key := "-----BEGIN PRIVATE KEY-----\n" + strings.Repeat("MIIEvQIBADANBgkq", 5) + "\n-----END PRIVATE KEY-----\n"
	for _, test := range []struct {
		summary string
		deb     testDeb
		err     string
	}{
		{"postinst fails", testDeb{name: "bad", control: map[string]string{"postinst": "#!/bin/sh\necho it is broken >&2\nexit 3\n"}}, "configure package bad"},
		{"postinst says why", testDeb{name: "bad", control: map[string]string{"postinst": "#!/bin/sh\necho it is broken >&2\nexit 3\n"}}, "it is broken"},
		{"preinst fails", testDeb{name: "bad", control: map[string]string{"preinst": "#!/bin/sh\nexit 4\n"}}, "preinst of package bad ended with code 4"},
		{"missing dependency", testDeb{name: "bad", fields: "Depends: nowhere\n"}, "bad depends on nowhere"},
		{"a script makes a key", testDeb{name: "bad", control: map[string]string{"postinst": "#!/bin/sh\ncat >/etc/key.pem <<E\n" + key + "E\n"}}, "the image would hold a secret: /etc/key.pem: holds a private key"},
		{"a script sets a password", testDeb{name: "bad", control: map[string]string{"postinst": "#!/bin/sh\necho 'root:$6$x:1::::::' >/etc/shadow\n"}}, "/etc/shadow: user root has a password"},
		{"a script makes a database link", testDeb{name: "bad", control: map[string]string{"postinst": "#!/bin/sh\nrm -rf /var/log\nmkdir -p /var\ntouch /var/x\n"}}, ""},
	} {
		t.Run(test.summary, func(t *testing.T) {
			_, err := tryInstall(t, in, []testDeb{base}, []testDeb{test.deb})
			if (err == nil) != (test.err == "") || err != nil && !strings.Contains(err.Error(), test.err) {
				t.Errorf("Install: %v; want %q", err, test.err)
			}
			if left, _ := filepath.Glob(filepath.Join(in.Cache, "tmp/*-*")); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

// TestVolatileThroughLink checks that cleaning up does not follow a link that
// a script made out of the tree.
func TestVolatileThroughLink(t *testing.T) {
	outside := t.TempDir()
	if err := os.WriteFile(filepath.Join(outside, "keep"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	in := testInputs(t)
	installAll(t, in, []testDeb{miniBase(t)}, []testDeb{{name: "sly", control: map[string]string{
		"postinst": "#!/bin/sh\nset -e\nmkdir -p /var/lib /var/log\nln -s " + outside + " /var/lib/mysql\nln -s " + outside + " /var/log/apt\n",
	}}})
	if _, err := os.Stat(filepath.Join(outside, "keep")); err != nil {
		t.Error(err)
	}
}

func TestInstallCancelled(t *testing.T) {
	in := testInputs(t)
	base := miniBase(t)
	ctx, cancel := context.WithCancel(t.Context())
	in.Progress = func(stage string, _, _ int64) {
		if stage == "configure" {
			cancel()
		}
	}
	slow := testDeb{name: "slow", fields: "Depends: dpkg\n", control: map[string]string{"postinst": "#!/bin/sh\nwhile :; do :; done\n"}}
	_, err := Install(ctx, in, nil, Layer{Name: "a", Debs: writeAll(t, base, slow)})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Install: %v; want that it was cancelled", err)
	}
	if left, _ := filepath.Glob(filepath.Join(in.Cache, "tmp/*-*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// TestInstallUmask checks that the caller's umask is in no mode of a layer.
func TestInstallUmask(t *testing.T) {
	base := miniBase(t)
	upper := testDeb{name: "a", control: map[string]string{"preinst": "#!/bin/sh\numask >/var/lib/mask\n", "postinst": "#!/bin/sh\nmkdir /srv /srv/x\n"}, entries: []testEntry{file("opt/x", "")}}
	old := unix.Umask(0o077)
	defer unix.Umask(old)
	dirs := installAll(t, testInputs(t), []testDeb{base}, []testDeb{upper})
	top, err := Finish(t.Context(), Inputs{Cache: filepath.Dir(filepath.Dir(dirs[0])), Epoch: testEpoch}, dirs, overlayOf(nil), FinishOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range append(dirs, top) {
		if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o755 {
			t.Errorf("root of the layer has the mode %v, %v", info.Mode(), err)
		}
		for line := range strings.Lines(dump(t, dir)) {
			if strings.Contains(line, " 0600") || strings.Contains(line, " 0700") {
				t.Errorf("mode in %s: %.80s", dir, line)
			}
		}
	}
}
