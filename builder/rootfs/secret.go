package rootfs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"
)

// A key in the PEM form (RFC 7468) or of OpenPGP begins with this, after the
// dashes and the word for its kind.
const keyMark = "PRIVATE KEY"

// maxKeyFile is the size up to which a file is looked through for keys.
const maxKeyFile = 64 << 20

// allowedKeys are the private keys that packages ship for their own tests and
// self-checks: known to everybody, used by nothing. Patterns as matchStar's.
func allowedKeys() []struct{ pattern, reason string } {
	return []struct{ pattern, reason string }{
		{"/usr/lib/python3/dist-packages/*/tests/*", "test suites"},
		{"/var/lib/openstack-dashboard/static/horizon/tests/*", "the dashboard's test suites for browsers"},
		{"/usr/lib/python3/dist-packages/slapdtest/certs/*", "certificates of python-ldap's test server"},
		{"/usr/share/ovmf/PkKek-1-snakeoil.*", "OVMF's published key for tests of Secure Boot"},
		{"/usr/bin/gnutls-*", "GnuTLS's programs have the keys of its self-tests"},
		{"/usr/lib/*/libgnutls.so.*", "GnuTLS checks its algorithms with keys of its own (FIPS 140 self-tests)"},
	}
}

// keyAllowed says whether the absolute path may hold a private key.
func keyAllowed(name string) bool {
	for _, a := range allowedKeys() {
		if matchStar(a.pattern, name) {
			return true
		}
	}
	return false
}

// A keyMarker looks for keyMark in content that comes in pieces.
type keyMarker struct {
	tail  [len(keyMark) - 1]byte
	have  int
	found bool
}

func (k *keyMarker) write(p []byte) {
	if k.found || len(p) == 0 {
		return
	}
	// The mark may lie across two pieces.
	edge := append(append([]byte(nil), k.tail[:k.have]...), p[:min(len(p), len(k.tail))]...)
	k.found = bytes.Contains(edge, []byte(keyMark)) || bytes.Contains(p, []byte(keyMark))
	last := edge
	if len(p) >= len(k.tail) {
		last = p
	}
	last = last[max(0, len(last)-len(k.tail)):]
	k.have = copy(k.tail[:], last)
}

// minKeyRun is how many characters of base64 follow a real key's first line;
// programs that only handle keys have the line alone.
const minKeyRun = 60

// holdsKey says whether text has a private key in it: a BEGIN line, then at
// most a few header lines, then base64. Line ends may be written as \n, as in
// a string of a program.
func holdsKey(text []byte) bool {
	for {
		i := bytes.Index(text, []byte(keyMark))
		if i < 0 {
			return false
		}
		before, after := text[max(0, i-60):i], text[i+len(keyMark):]
		text = after
		after = bytes.TrimPrefix(after, []byte(" BLOCK"))
		if bytes.Contains(before, []byte("-----BEGIN ")) && bytes.HasPrefix(after, []byte("-----")) && keyBody(after[5:]) {
			return true
		}
	}
}

func keyBody(b []byte) bool {
	b = b[:min(len(b), 1000)]
	b = bytes.ReplaceAll(b, []byte(`\n`), []byte("\n"))
	if len(b) == 0 || b[0] != '\n' && b[0] != '\r' {
		return false
	}
	b, _, _ = bytes.Cut(b, []byte("-----")) // the END line
	run := 0
	for _, c := range b {
		switch {
		case c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '+' || c == '/' || c == '=':
			if run++; run == minKeyRun {
				return true
			}
		case !strings.ContainsRune("\r\n\t \"':,.;-", rune(c)):
			return false
		default:
			run = 0
		}
	}
	return false
}

// fileHoldsKey reads the file name of the tree.
func fileHoldsKey(root *os.Root, name string, size int64) (bool, error) {
	if size > maxKeyFile {
		return false, nil
	}
	f, err := root.Open(name)
	if err != nil {
		return false, err
	}
	defer f.Close()
	body, err := io.ReadAll(io.LimitReader(f, maxKeyFile))
	if err != nil {
		return false, err
	}
	return holdsKey(body), nil
}

// errSecret is the kind of all findings of the secret check.
var errSecret = errors.New("the image would hold a secret")

func secretAt(name, what string) error {
	return fmt.Errorf("%w: /%s: %s; remove it in the overlay or package that makes it", errSecret, name, what)
}

// secretPaths are files that hold an identity or a secret wherever they come
// from. They must be missing or empty. Patterns as in path.Match.
func secretPaths() []string {
	return []string{
		"etc/ssh/ssh_host_*", "var/lib/dbus/machine-id",
		"var/lib/systemd/random-seed", "var/lib/systemd/credential.secret",
		"etc/ssl/private/*", "etc/ssl/certs/ssl-cert-snakeoil.pem",
		"var/lib/rabbitmq/.erlang.cookie", "root/.erlang.cookie", "root/.ssh/*", "home/*/.ssh/*", "root/.my.cnf",
		"var/lib/mysql/*/*", "var/lib/mysql/ib*", "var/lib/rabbitmq/mnesia/*",
		"etc/iscsi/initiatorname.iscsi", "etc/nvme/hostid", "etc/nvme/hostnqn",
		"etc/openvswitch/system-id.conf", "etc/openvswitch/conf.db", "var/lib/openvswitch/*", "var/lib/ovn/*",
		"etc/keystone/fernet-keys/*", "etc/keystone/credential-keys/*",
		"var/lib/openstack-dashboard/secret-key/*", "var/lib/openstack-dashboard/secret_key",
		"var/lib/nova/compute_id", "etc/libvirt/secrets/*", "var/lib/libvirt/secrets/*",
		"etc/munge/munge.key", "var/lib/trivet/*",
		"var/cache/debconf/passwords.dat",
	}
}

// checkPasswords refuses an account with a password (shadow(5): a field that
// begins with ! or * can match none).
func checkPasswords(shadow []byte) error {
	for line := range strings.SplitSeq(string(shadow), "\n") {
		f := strings.Split(line, ":")
		if len(f) < 2 {
			continue
		}
		if f[1] == "" {
			return secretAt("etc/shadow", "user "+f[0]+" may log in without a password")
		}
		if !strings.HasPrefix(f[1], "!") && !strings.HasPrefix(f[1], "*") {
			return secretAt("etc/shadow", "user "+f[0]+" has a password")
		}
	}
	return nil
}

// checkSecrets looks for secrets in the tree: files at secretPaths, private
// keys in files that are not shared with the store (those were looked through
// when they came into it), and passwords.
func checkSecrets(root *os.Root) error {
	for _, p := range secretPaths() {
		names, err := fs.Glob(root.FS(), p)
		if err != nil {
			return err
		}
		for _, n := range names {
			info, err := root.Lstat(n)
			if err != nil {
				return fmt.Errorf("look for secrets: %w", err)
			}
			if info.Mode().IsRegular() && info.Size() > 0 {
				return secretAt(n, "holds an identity or a secret")
			}
		}
	}
	if shadow, err := root.ReadFile("etc/shadow"); err == nil {
		if err := checkPasswords(shadow); err != nil {
			return err
		}
	}
	return fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		return checkFile(root, name, d)
	})
}

func checkFile(root *os.Root, name string, d fs.DirEntry) error {
	info, err := d.Info()
	if err != nil {
		return err
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && st.Nlink > 1 || keyAllowed("/"+name) {
		return nil
	}
	found, err := fileHoldsKey(root, name, info.Size())
	if err != nil {
		return fmt.Errorf("look for secrets: %w", err)
	}
	if found {
		return secretAt(name, "holds a private key")
	}
	return nil
}
