package finish

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"trivet/builder/host"
)

// scanFunc is the name under which the scan runs inside the sandbox.
const scanFunc = "finish.scan"

// Funcs are this package's functions for host.Main.
func Funcs() map[string]host.Func {
	return map[string]host.Func{scanFunc: func(context.Context, io.Reader, io.Writer) error { return scan(os.DirFS("/")) }}
}

// scanned are the parts of the tree where a maintainer script can have written
// a secret. Files elsewhere below /usr are the packages' own, the same for
// everybody who installs them.
func scanned() []string {
	return []string{"etc", "root", "home", "srv", "opt", "var", "usr/local", "usr/share/factory"}
}

// forbidden are patterns of files that no image may hold, with what they are.
func forbidden() map[string]string {
	const f = "usr/share/factory/var/"
	return map[string]string{
		"etc/ssh/ssh_host_*":                      "an SSH host key",
		f + "lib/rabbitmq/.erlang.cookie":         "an Erlang cookie, with which anybody can run code on every node",
		f + "lib/mysql/*":                         "a database",
		f + "lib/rabbitmq/mnesia":                 "a RabbitMQ database",
		f + "lib/systemd/random-seed":             "a random seed",
		f + "lib/systemd/credential.secret":       "a credential key",
		f + "lib/dbus/machine-id":                 "a machine-id",
		"etc/keystone/fernet-keys/*":              "token keys",
		"etc/keystone/credential-keys/*":          "credential keys",
		"etc/openvswitch/conf.db":                 "an Open vSwitch identity",
		f + "lib/openstack-dashboard/*secret*":    "a session key",
		"etc/ssl/private/*.key":                   "a private key",
		f + "lib/openstack-dashboard/.secret*":    "a session key",
		f + "lib/nova/compute_id":                 "a compute identity",
		f + "lib/libvirt/qemu/*.key":              "a libvirt key",
		f + "lib/chrony/*.key":                    "a time key",
		"etc/initramfs-tools/conf.d/resume":       "a swap identity",
		"usr/share/factory/var/lib/apt/lists/*_*": "package lists, whose names can hold a mirror's password",
		"var/*": "data under /var, which the node's own partition hides",
	}
}

// allowed are files that look like secrets and are none.
func allowed() map[string]string {
	return map[string]string{}
}

// maxScan is how much of a file is read in search of a private key, in bytes.
const maxScan = 256 << 10

// scan returns an error that names every secret in the tree.
func scan(tree fs.FS) error {
	var found []string
	for pattern, what := range forbidden() {
		names, err := fs.Glob(tree, pattern)
		if err != nil {
			return fmt.Errorf("look for %s: %w", pattern, err)
		}
		for _, n := range names {
			found = append(found, fmt.Sprintf("/%s is %s", n, what))
		}
	}
	id, err := fs.ReadFile(tree, "etc/machine-id")
	if err != nil || strings.TrimSpace(string(id)) != "uninitialized" {
		found = append(found, "/etc/machine-id is not \"uninitialized\"")
	}
	for _, dir := range scanned() {
		more, err := privateKeys(tree, dir)
		if err != nil {
			return err
		}
		found = append(found, more...)
	}
	if len(found) > 0 {
		return fmt.Errorf("the image would hold a secret or an identity:\n%s\nremove it in an overlay, or in the finishing stage", strings.Join(found, "\n"))
	}
	return nil
}

// privateKeys finds PEM private keys (RFC 7468 and OpenSSH's own form).
func privateKeys(tree fs.FS, dir string) ([]string, error) {
	var found []string
	err := fs.WalkDir(tree, dir, func(path string, d fs.DirEntry, err error) error {
		if path == dir && err != nil {
			return filepath.SkipDir // a tree need not have it
		}
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		if _, ok := allowed()[path]; ok {
			return nil
		}
		f, err := tree.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		text, err := io.ReadAll(io.LimitReader(f, maxScan))
		if err != nil {
			return fmt.Errorf("read /%s: %w", path, err)
		}
		if i := bytes.Index(text, []byte("-----BEGIN ")); i >= 0 && bytes.Contains(text[i:], []byte("PRIVATE KEY-----")) {
			found = append(found, "/"+path+" is a private key")
		}
		return nil
	})
	return found, err
}
