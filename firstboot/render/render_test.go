package render

import (
	"flag"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"trivet/firstboot/node"
	"trivet/roles"
)

func updating() bool { return flag.Lookup("update").Value.String() == "true" }

func TestMain(m *testing.M) {
	flag.Bool("update", false, "rewrite the golden files")
	flag.Parse()
	os.Exit(m.Run())
}

// example returns the node of a role whose configuration is golden.
func example(t *testing.T, role roles.Role) Data {
	t.Helper()
	return exampleOf(t, role, "testdata/"+role.Name+".yaml")
}

func exampleOf(t *testing.T, role roles.Role, file string) Data {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	d, err := node.Parse(file, text, "")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range declared(role) {
		d.Config.Secrets[name] = node.NewSecret("secret-of-" + strings.ReplaceAll(name, "/", "-"))
	}
	return NewData(d.Config, "eth0", role)
}

func declared(role roles.Role) []string {
	var names []string
	for _, s := range role.Services {
		names = append(names, s.Secrets...)
	}
	return names
}

// overlayRoot copies the templates of the role's overlays, as the builder would,
// into a folder.
func overlayRoot(t *testing.T, role roles.Role) string {
	t.Helper()
	root := t.TempDir()
	for _, name := range role.Overlays() {
		from := filepath.Join("../../overlays", name)
		err := filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, Suffix) {
				return err
			}
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			rel, err := filepath.Rel(from, path)
			if err != nil {
				return err
			}
			return write(filepath.Join(root, rel), text)
		})
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
	}
	return root
}

func write(path string, text []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, text, 0o644)
}

// TestGolden renders every template of every role for an example node. A change
// shows as a readable difference; `make golden` takes it over.
func TestGolden(t *testing.T) {
	all, err := roles.LoadAll("../../roles")
	if err != nil {
		t.Fatal(err)
	}
	for _, role := range all {
		t.Run(role.Name, func(t *testing.T) {
			root, to := overlayRoot(t, role), t.TempDir()
			written, err := Files(root, to, example(t, role), declared(role))
			if err != nil {
				t.Fatal(err)
			}
			golden := filepath.Join("testdata/golden", role.Name)
			if updating() {
				if err := os.RemoveAll(golden); err != nil {
					t.Fatal(err)
				}
			}
			for _, path := range written {
				got, err := os.ReadFile(filepath.Join(to, path))
				if err != nil {
					t.Fatal(err)
				}
				if updating() {
					if err := write(filepath.Join(golden, path), got); err != nil {
						t.Fatal(err)
					}
				}
				want, err := os.ReadFile(filepath.Join(golden, path))
				if err != nil {
					t.Errorf("%v; `make golden` writes it", err)
				} else if d := cmp.Diff(string(want), string(got)); d != "" {
					t.Errorf("%s: %s", path, d)
				}
			}
			if have := listed(t, golden); !slices.Equal(have, written) {
				t.Errorf("golden files and rendered files differ: %s", cmp.Diff(have, written))
			}
		})
	}
}

func listed(t *testing.T, dir string) []string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			all = append(all, strings.TrimPrefix(path, dir))
		}
		return err
	})
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	slices.Sort(all)
	return all
}

func small() Data {
	return Data{
		Config: node.Config{
			Name: "ctl1", Address: netip.MustParsePrefix("10.9.0.11/24"), Secrets: map[string]node.Secret{"a/b": node.NewSecret("s3cret-value")},
			Controllers: []node.Member{{Name: "ctl1", Address: netip.MustParseAddr("10.9.0.11")}},
		},
		Device: "eth0",
	}
}

// TestFunctions tries what templates can say.
func TestFunctions(t *testing.T) {
	for text, want := range map[string]string{
		`{{.Name}} {{.Address.Addr}} {{.Address.Bits}} {{.Device}}`: "ctl1 10.9.0.11 24 eth0",
		`{{secret "a/b"}}`:         "s3cret-value",
		`{{secret "a/b" | quote}}`: `"s3cret-value"`,
		`{{quote "a\"b\\c"}}`:      `"a\"b\\c"`,
		`{{range members "controller"}}{{.Name}}={{.Address}}{{end}}`: "ctl1=10.9.0.11",
		`{{.Secrets}}`: "map[a/b:[redacted]]",
	} {
		root := t.TempDir()
		if err := write(root+"/etc/x.tmpl", []byte(text)); err != nil {
			t.Fatal(err)
		}
		if _, err := Files(root, root, small(), []string{"a/b"}); err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		got, err := os.ReadFile(root + "/etc/x")
		if err != nil || string(got) != want {
			t.Errorf("%s: %q %v, want %q", text, got, err, want)
		}
		info, err := os.Stat(root + "/etc/x")
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("mode %v %v, want 0600", info.Mode(), err)
		}
	}
}

// TestFailures: one template that cannot be rendered stops all of them, and all
// that cannot are named.
func TestFailures(t *testing.T) {
	for text, want := range map[string]string{
		"line\n{{secret \"a/c\"}}": `/etc/bad.tmpl:2:2: executing "/etc/bad.tmpl" at <secret "a/c">: error calling secret: no service of the role declares the secret a/c`,
		`{{secret "no/value"}}`:    "the description has no secret no/value",
		`{{.Nonsense}}`:            "can't evaluate field Nonsense",
		`{{members "compute"}}`:    `the description lists no nodes of the role "compute"`,
		`{{`:                       "/etc/bad.tmpl:1: unclosed action",
		`{{exec "ls"}}`:            `function "exec" not defined`,
		`{{range $i := 1000000000}}0123456789{{end}}`: "the file becomes longer than 4194304 bytes",
	} {
		root := t.TempDir()
		for path, text := range map[string]string{"/etc/good.tmpl": "x", "/etc/bad.tmpl": text, "/etc/worse.tmpl": "{{.Worse}}"} {
			if err := write(root+path, []byte(text)); err != nil {
				t.Fatal(err)
			}
		}
		written, err := Files(root, root, small(), []string{"a/b", "no/value"})
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "Worse") {
			t.Errorf("%s: got %v, want %s", text, err, want)
		}
		if _, err := os.Stat(root + "/etc/good"); err == nil || written != nil {
			t.Errorf("%s: good was written: %v", text, written)
		}
		if err != nil && strings.Contains(err.Error(), "s3cret") {
			t.Errorf("a secret shows: %v", err)
		}
	}
}

func TestNetwork(t *testing.T) {
	n, err := node.ParseNetwork("n", []byte(`version: 2
ethernets:
  mgmt:
    match: {macaddress: "52:54:00:aa:00:01"}
    set-name: mgmt0
    addresses: [10.9.0.11/24]
    gateway4: 10.9.0.1
    routes:
      - {to: 192.0.2.0/24, via: 10.8.0.1, metric: 5}
    nameservers: {addresses: [10.9.0.1, 10.9.0.2], search: [lab.test, test]}
    mtu: 9000
  "eth1": {dhcp4: true, dhcp6: true, optional: true, match: {name: "en*"}}
  eth2: {}
`))
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for name, text := range sorted(Network(&n), Network(nil)) {
		b.WriteString("== " + name + "\n" + text)
	}
	const golden = "testdata/network.txt"
	if updating() {
		if err := os.WriteFile(golden, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), b.String()); d != "" {
		t.Error(d)
	}
}

// sorted walks maps of files in the order of their names.
func sorted(maps ...map[string]string) func(func(string, string) bool) {
	return func(yield func(string, string) bool) {
		for _, m := range maps {
			var names []string
			for name := range m {
				names = append(names, name)
			}
			slices.Sort(names)
			for _, name := range names {
				if !yield(name, m[name]) {
					return
				}
			}
		}
	}
}

func TestIdentity(t *testing.T) {
	c := small().Config
	c.SSHAuthorizedKeys = []string{"ssh-ed25519 AAAA one", "ssh-ed25519 BBBB two"}
	c.Controllers = append(c.Controllers, node.Member{Name: "ctl2", Address: netip.MustParseAddr("10.9.0.12")})
	want := []File{
		{"/etc/hostname", "ctl1\n"},
		{"/etc/hosts", "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n10.9.0.11 ctl1\n10.9.0.12 ctl2\n"},
		{"/etc/ssh/authorized_keys.d/root", "ssh-ed25519 AAAA one\nssh-ed25519 BBBB two\n"},
	}
	if d := cmp.Diff(want, Identity(c)); d != "" {
		t.Error(d)
	}
}
