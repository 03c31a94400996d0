package qemutests

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// factory is where what packages made below /var lies in a sealed root.
const factory = "usr/share/factory"

// unpackRoot extracts the sealed root with Debian's own tool, not with ours.
func unpackRoot(t testing.TB, i image) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "root")
	head := make([]byte, 4)
	f, err := os.Open(i.file(".root"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.ReadAt(head, 0); err != nil {
		t.Fatal(err)
	}
	if string(head) == "hsqs" {
		need(t, "unsquashfs")
		oracle(t, "unsquashfs", "-n", "-q", "-no-xattrs", "-ignore-errors", "-d", dir, i.file(".root"))
	} else {
		need(t, "fsck.erofs")
		oracle(t, "fsck.erofs", "--extract="+dir, i.file(".root"))
	}
	return dir
}

// TestImageRootIsSealedAndSilent unpacks the root once and looks at it from all
// sides.
func TestImageRootIsSealedAndSilent(t *testing.T) {
	eachImage(t, func(t *testing.T, i image) {
		root := unpackRoot(t, i)
		for name, look := range map[string]func(string) ([]string, error){
			"no identity": identities, "no password": passwords, "no private key": privateKeys,
		} {
			t.Run(name, func(t *testing.T) {
				found, err := look(root)
				if err != nil {
					t.Fatal(err)
				}
				for _, f := range found {
					t.Errorf("the image holds %s", f)
				}
			})
		}
		t.Run("dpkg knows the manifest's packages", func(t *testing.T) {
			if diff := cmp.Diff(i.packages(), dpkgPackages(t, root)); diff != "" {
				t.Errorf("packages (-manifest +dpkg):\n%s", diff)
			}
		})
		t.Run("only boot units are enabled", func(t *testing.T) { checkEnabled(t, root, i) })
	})
}

// made are files that Debian's packages make when they are configured, or that
// a running system makes, and that each machine must make itself: patterns of
// paths in the root or in the factory's /var, with what the file may hold all
// the same as a regular expression. nothing is not even an empty file.
func made() map[string]string {
	return map[string]string{
		"etc/machine-id":                      `^(uninitialized)?\n?$`,
		"etc/hostname":                        `^(localhost)?\n?$`,
		"var/lib/dbus/machine-id":             `^$`,
		"var/lib/systemd/random-seed":         nothing,
		"var/lib/systemd/credential.secret":   nothing,
		"etc/ssh/ssh_host_*":                  nothing,
		"etc/ssl/private/*":                   nothing,
		"etc/ssl/certs/ssl-cert-snakeoil.pem": nothing,
		"var/lib/rabbitmq/.erlang.cookie":     nothing,
		"var/lib/rabbitmq/mnesia/*":           nothing,
		"var/lib/mysql/*":                     nothing,
		"etc/mysql/debian.cnf":                `^(#.*\n|\[.*\]\n|\s*(host|user|socket) *=.*\n|\s*password *= *\n|\n)*$`,
		"etc/openvswitch/conf.db":             nothing,
		"etc/openvswitch/system-id.conf":      nothing,
		"var/lib/openvswitch/conf.db":         nothing,
		"var/lib/ovn/*.db":                    nothing,
		"etc/iscsi/initiatorname.iscsi":       `^(#.*\n|\n|GenerateName=yes\n)*$`,
		"etc/nvme/hostid":                     nothing,
		"etc/nvme/hostnqn":                    nothing,
		"etc/keystone/fernet-keys/*":          nothing,
		"etc/keystone/credential-keys/*":      nothing,
		"var/lib/keystone/*.db":               nothing,
		"var/lib/*/*.sqlite":                  nothing,
		"var/cache/apt/archives/*.deb":        nothing,
		"var/lib/apt/lists/*Packages*":        nothing,
		"var/log/*.log":                       `^$`,
		"root/.ssh/*":                         nothing,
		"root/.*history":                      nothing,
	}
}

const nothing = ""

// identities returns the files below root that make a machine somebody.
func identities(root string) ([]string, error) {
	var bad []string
	for pattern, may := range made() {
		for _, below := range []string{root, filepath.Join(root, factory)} {
			found, err := filepath.Glob(filepath.Join(below, pattern))
			if err != nil {
				return nil, err
			}
			for _, path := range found {
				st, err := os.Lstat(path)
				if err != nil {
					return nil, err
				}
				if !st.Mode().IsRegular() {
					continue
				}
				data, err := os.ReadFile(path)
				if err != nil {
					return nil, err
				}
				if may == nothing || !regexp.MustCompile(may).Match(data) {
					bad = append(bad, fmt.Sprintf("%s with %d bytes, which each machine must make itself", strings.TrimPrefix(path, root), len(data)))
				}
			}
		}
	}
	slices.Sort(bad)
	return bad, nil
}

// locked are the password fields that no password opens (shadow(5), passwd(5)).
var locked = regexp.MustCompile(`^(\*|!|!\*|!!|x)$`)

// passwords returns the accounts that a password, or none, opens.
func passwords(root string) ([]string, error) {
	var bad []string
	for _, name := range []string{"etc/passwd", "etc/shadow", "etc/gshadow"} {
		data, err := os.ReadFile(filepath.Join(root, name))
		if errors.Is(err, fs.ErrNotExist) && name == "etc/gshadow" {
			continue
		}
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(string(data)) {
			f := strings.Split(strings.TrimSpace(line), ":")
			// A group without a password is one that nobody can join.
			if len(f) < 2 || !locked.MatchString(f[1]) && (f[1] != "" || name != "etc/gshadow") {
				bad = append(bad, fmt.Sprintf("%s: account %s that is not locked", name, f[0]))
			}
		}
	}
	return bad, nil
}

// privateKey is PEM text of a key (RFC 7468), not the mere mention of its
// header in a program.
var privateKey = regexp.MustCompile(`-----BEGIN [A-Z ]*PRIVATE KEY-----\r?\n(?:[A-Za-z-]+: .*\r?\n)*(?:\r?\n)?[A-Za-z0-9+/=]{40,}`)

// published are the keys that Debian ships in the tests of Python packages:
// everyone has them, and no service reads them.
var published = regexp.MustCompile(`^/usr/lib/python3/dist-packages/([a-z_]+/tests/|slapdtest/certs/)` +
	// the self-tests of GnuTLS, which its programs bring along; OVMF's published key for tests of Secure Boot
	`|^/usr/bin/gnutls-(cli|serv)$|^/usr/share/ovmf/PkKek-1-snakeoil\.(key|pem)$`)

// privateKeys reads all small files of the root and returns those with a key.
func privateKeys(root string) ([]string, error) {
	var bad []string
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err != nil || info.Size() > 256<<10 {
			return err
		}
		data, err := os.ReadFile(path)
		if name := strings.TrimPrefix(path, root); err == nil && privateKey.Match(data) && !published.MatchString(name) {
			bad = append(bad, name+" with a private key")
		}
		return err
	})
	return bad, err
}

// TestRootChecksCanFail plants what must not be in a root, beside what may.
func TestRootChecksCanFail(t *testing.T) {
	root := t.TempDir()
	const pem = "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAAB3NzaC1yc2EAAAADAQABAAABgQC7vbqajDhA7vbqajDhA\n"
	for path, text := range map[string]string{
		"etc/machine-id": "0123456789abcdef0123456789abcdef\n", "etc/hostname": "localhost\n",
		"usr/share/factory/var/lib/rabbitmq/.erlang.cookie": "ABC", "var/log/dpkg.log": "", "var/log/apt.log": "x",
		"etc/mysql/debian.cnf": "# made\n[client]\nhost = localhost\npassword = \n",
		"etc/passwd":           "root:x:0:0:root:/root:/bin/bash\nguest::1:1::/:/bin/sh\n",
		"etc/shadow":           "root:*:1::::::\nadmin:$y$j9T$x:1::::::\nnova:!*:1::::::\n",
		"usr/lib/python3/dist-packages/nova/tests/unit/ca.key": pem,
		"usr/share/doc/k": pem, "usr/lib/python3/k.py": `if line == "-----BEGIN RSA PRIVATE KEY-----":` + "\n",
	} {
		path = filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	for _, look := range []func(string) ([]string, error){identities, passwords, privateKeys} {
		found, err := look(root)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, found...)
	}
	want := []string{
		"/etc/machine-id with 33 bytes, which each machine must make itself",
		"/usr/share/factory/var/lib/rabbitmq/.erlang.cookie with 3 bytes, which each machine must make itself",
		"/var/log/apt.log with 1 bytes, which each machine must make itself",
		"etc/passwd: account guest that is not locked",
		"etc/shadow: account admin that is not locked",
		"/usr/share/doc/k with a private key",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("what the checks find (-want +got):\n%s", diff)
	}
}

// dpkgPackages reads dpkg's database (deb-control(5)), as "name version".
func dpkgPackages(t *testing.T, root string) []string {
	t.Helper()
	var f *os.File
	var err error
	for _, dir := range []string{"var/lib/dpkg", factory + "/var/lib/dpkg", "usr/lib/sysimage/dpkg"} {
		if f, err = os.Open(filepath.Join(root, dir, "status")); err == nil {
			break
		}
	}
	if err != nil {
		t.Fatalf("find dpkg's database in the root: %v", err)
	}
	defer f.Close()
	names := map[string]bool{}
	var name string
	in := bufio.NewScanner(f)
	in.Buffer(nil, 1<<20)
	for in.Scan() {
		key, value, _ := strings.Cut(in.Text(), ": ")
		switch key {
		case "Package":
			name = value
		case "Status":
			if value != "install ok installed" {
				t.Errorf("dpkg says of %s: %s", name, value)
			}
		case "Version":
			names[name+" "+value] = true
		}
	}
	if err := in.Err(); err != nil {
		t.Fatal(err)
	}
	return slices.Sorted(maps.Keys(names))
}

// checkEnabled wants no unit of a service that the agent starts to be started
// by systemd.
func checkEnabled(t *testing.T, root string, i image) {
	t.Helper()
	enabled := map[string]string{}
	for _, dir := range []string{"etc/systemd/system", "usr/lib/systemd/system"} {
		links, err := filepath.Glob(filepath.Join(root, dir, "*.wants", "*"))
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range links {
			enabled[filepath.Base(l)] = strings.TrimPrefix(l, root)
		}
	}
	boots := 0
	for _, u := range i.Units {
		at, on := enabled[u.Name]
		if on && !u.Boot {
			t.Errorf("%s of %s is enabled by %s, want the agent to start it", u.Name, u.Service, at)
		}
		if u.Boot {
			boots++
		}
		if u.Boot && !on && !strings.Contains(u.Name, "@") {
			t.Errorf("%s of %s is not enabled, want systemd to start it", u.Name, u.Service)
		}
	}
	if boots == 0 {
		t.Error("the manifest names no unit that systemd starts")
	}
}
