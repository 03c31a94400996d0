package finish

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"
)

func TestScanFindsWhatInstallingLeaves(t *testing.T) {
	const factory = "usr/share/factory/var/"
	clean := func() fstest.MapFS {
		return fstest.MapFS{"etc/machine-id": {Data: []byte("uninitialized\n")}, "etc/ssh/sshd_config": {}, factory + "lib/mysql": {Mode: os.ModeDir | 0o700}}
	}
	if err := scan(clean()); err != nil {
		t.Fatalf("a clean tree: %v", err)
	}
	for name, text := range map[string]string{
		"etc/ssh/ssh_host_rsa_key":              "x",
		factory + "lib/rabbitmq/.erlang.cookie": "x",
		factory + "lib/mysql/ibdata1":           "x",
		factory + "lib/systemd/random-seed":     "x",
		"etc/machine-id":                        "0123456789abcdef0123456789abcdef\n",
		"etc/x/some.conf":                       "a\n-----BEGIN RSA PRIVATE KEY-----\n",
		"root/.ssh/id":                          "-----BEGIN OPENSSH PRIVATE KEY-----\n",
		factory + "lib/x/key":                   "-----BEGIN EC PRIVATE KEY-----\n",
		"var/log/x":                             "x",
	} {
		tree := clean()
		tree[name] = &fstest.MapFile{Data: []byte(text)}
		top, _, _ := strings.Cut(name, "/x")
		if err := scan(tree); err == nil || !strings.Contains(err.Error(), "/"+top) {
			t.Errorf("%s: error = %v; want one that names it", name, err)
		}
	}
}

func TestTmpfilesFillAFreshVar(t *testing.T) {
	upper := t.TempDir()
	for _, d := range []string{"usr/lib/tmpfiles.d", factory + "/lib/a b%", factory + "/lib/dpkg", factory + "/log/x", factory + "/tmp/y"} {
		if err := os.MkdirAll(filepath.Join(upper, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := tmpfiles(upper); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(upper, "usr/lib/tmpfiles.d/trivet-var.conf"))
	if err != nil {
		t.Fatal(err)
	}
	want := "# What the packages made under /var, for a /var that lacks it.\n" +
		`C /var/lib/a\x20b%% - - - - /usr/share/factory/var/lib/a\x20b%%` + "\n" +
		"C /var/log/x - - - - /usr/share/factory/var/log/x\n" +
		"L+ /var/lib/dpkg - - - - /usr/share/factory/var/lib/dpkg\n"
	if string(got) != want {
		t.Errorf("tmpfiles =\n%swant\n%s", got, want)
	}
}

func TestClampTakesOnlyLaterTimes(t *testing.T) {
	dir, epoch := t.TempDir(), time.Unix(1_700_000_000, 0)
	old, young := filepath.Join(dir, "old"), filepath.Join(dir, "young")
	for path, at := range map[string]time.Time{old: epoch.Add(-time.Hour), young: epoch.Add(time.Hour)} {
		if err := os.WriteFile(path, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
	}
	if err := (Inputs{Epoch: epoch}).clamp(dir); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]time.Time{old: epoch.Add(-time.Hour), young: epoch, dir: epoch} {
		info, err := os.Stat(path)
		if err != nil || !info.ModTime().Equal(want) {
			t.Errorf("%s is of %v (%v); want %v", path, info.ModTime(), err, want)
		}
	}
}
