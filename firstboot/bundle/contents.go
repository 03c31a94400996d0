// Package bundle holds the three things that pass from the operator to a node:
// the bundle, which is what is secret about one node, encrypted to it; the key,
// which opens the bundle and comes by a second channel; and the signature, by
// which the node knows its operator's hand. The formation ticket is signed here
// too. Operator and node use the same code. It imports nothing of ours, and no
// error of it shows a secret.
package bundle

import (
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
)

// version is of the plaintext's form.
const version = 1

// Limits. An armored bundle is a third larger than what it holds, and goes,
// indented, into a description of at most 1 MiB.
const (
	MaxPlain      = 640 << 10 // bytes of JSON
	MaxArmored    = 960 << 10 // bytes of the age file in ASCII armor
	maxSecrets    = 256
	maxSecret     = 512 // bytes of one; package node has the rules of their letters
	maxFiles      = 128
	maxTicket     = 4 << 10 // bytes
	maxGeneration = 1 << 30
)

// Contents is what is secret about one node.
type Contents struct {
	Cloud      string // UUID of the cloud, in small letters
	Cluster    string // the cloud's name
	Node       string // host name, without a domain
	Role       string // controller, compute or storage
	Generation int    // of the description, from 1
	Secrets    Secrets
	Files      Files
	Ticket     string // permits the first forming of the cloud; empty: none
}

// Secrets are values by names such as keystone/db. They print as their names.
type Secrets map[string]string

// Files are contents by paths such as pki/galera/node.key, always with slashes,
// relative, and without dots for folders. They print as their sizes.
type Files map[string][]byte

var (
	uuidForm   = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)
	nameForm   = regexp.MustCompile(`^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$`)
	secretForm = regexp.MustCompile(`^[a-z][a-z0-9-]{0,39}(/[a-z][a-z0-9-]{0,39})?$`)
	fileForm   = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,63}(/[A-Za-z0-9_][A-Za-z0-9._-]{0,63}){0,7}$`)
)

// check says what is wrong with contents, without showing any value.
func (c Contents) check() error {
	switch {
	case !uuidForm.MatchString(c.Cloud):
		return errors.New("cloud is not a UUID in small letters")
	case !nameForm.MatchString(c.Cluster):
		return errors.New("cluster is not the name of a cloud")
	case !nameForm.MatchString(c.Node):
		return errors.New("node is not a host name without a domain")
	case !nameForm.MatchString(c.Role):
		return errors.New("role is not the name of a role")
	case c.Generation < 1 || c.Generation > maxGeneration:
		return fmt.Errorf("generation is not 1 to %d", maxGeneration)
	case len(c.Secrets) > maxSecrets || len(c.Files) > maxFiles:
		return fmt.Errorf("there are %d secrets and %d files, more than %d or %d", len(c.Secrets), len(c.Files), maxSecrets, maxFiles)
	case len(c.Ticket) > maxTicket:
		return fmt.Errorf("the ticket has %d bytes, more than %d", len(c.Ticket), maxTicket)
	}
	for name, value := range c.Secrets {
		switch {
		case !secretForm.MatchString(name):
			return errors.New("the name of a secret does not fit: it must be like keystone/db")
		case value == "" || len(value) > maxSecret:
			return fmt.Errorf("the secret %s has %d bytes, not 1 to %d", name, len(value), maxSecret)
		}
	}
	for path := range c.Files {
		if !fileForm.MatchString(path) {
			return errors.New("the path of a file does not fit: it must be like pki/galera/node.key")
		}
	}
	return nil
}

// For answers whether the contents are of this node in this role, of this
// generation of its description. The node asks this before it takes anything.
func (c Contents) For(cluster, node, role string, generation int) error {
	switch {
	case c.Node != node || c.Cluster != cluster:
		return fmt.Errorf("the bundle is of %s in %s, and this is %s in %s", c.Node, c.Cluster, node, cluster)
	case c.Role != role:
		return fmt.Errorf("the bundle of %s is for a %s, and this image is a %s", c.Node, c.Role, role)
	case c.Generation != generation:
		return fmt.Errorf("the bundle of %s is of generation %d, and its description of %d; they were not made together", c.Node, c.Generation, generation)
	}
	return nil
}

// String names the node and counts what there is.
func (c Contents) String() string {
	return fmt.Sprintf("bundle of %s (%s) in %s, generation %d: %d secrets, %d files", c.Node, c.Role, c.Cluster, c.Generation, len(c.Secrets), len(c.Files))
}

// Format prints String for every verb, %#v included.
func (c Contents) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(c.String())) }

// LogValue logs String.
func (c Contents) LogValue() slog.Value { return slog.StringValue(c.String()) }

// MarshalText writes String into JSON, YAML and their like. Encode makes the
// real form.
func (c Contents) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// String lists the names.
func (s Secrets) String() string { return "secrets " + strings.Join(sorted(s), ", ") }

// Format prints String for every verb.
func (s Secrets) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(s.String())) }

// LogValue logs String.
func (s Secrets) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText writes String into JSON, YAML and their like.
func (s Secrets) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// String lists the paths and sizes.
func (f Files) String() string {
	var b strings.Builder
	b.WriteString("files")
	for _, path := range sorted(f) {
		fmt.Fprintf(&b, " %s (%d bytes)", path, len(f[path]))
	}
	return b.String()
}

// Format prints String for every verb.
func (f Files) Format(s fmt.State, _ rune) { _, _ = s.Write([]byte(f.String())) }

// LogValue logs String.
func (f Files) LogValue() slog.Value { return slog.StringValue(f.String()) }

// MarshalText writes String into JSON, YAML and their like.
func (f Files) MarshalText() ([]byte, error) { return []byte(f.String()), nil }
