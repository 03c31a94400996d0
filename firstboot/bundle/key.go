package bundle

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"strings"

	"filippo.io/age"
)

// maxKey bounds the text of a key, in bytes.
const maxKey = 4 << 10

// A Key opens the bundles of one node and knows who signs for it. It comes to
// the node by another channel than its bundle.
type Key struct {
	// Node and Cluster tell people, and Open, whose key it is. They stand in the
	// key's comment; without that they are empty.
	Node, Cluster string
	Signer        ed25519.PublicKey
	identity      identity
}

// An identity returns an X25519 identity of age, AGE-SECRET-KEY-1…. It is a
// function, since package fmt prints of a function, even in a field that it
// cannot ask for its own way of printing, no more than an address.
type identity func() string

func identityOf(text string) identity { return func() string { return text } }

// NewKey makes a random key. The caller says of which node it is.
func NewKey(signer ed25519.PublicKey) (Key, error) {
	var scalar [32]byte
	_, _ = rand.Read(scalar[:]) // never fails: crypto/rand ends the program instead
	return KeyOf(signer, scalar[:])
}

// KeyOf is the key with this X25519 scalar, 32 bytes that nobody can guess.
func KeyOf(signer ed25519.PublicKey, scalar []byte) (Key, error) {
	if len(signer) != ed25519.PublicKeySize {
		return Key{}, fmt.Errorf("make a node's key: the signer's public key has %d bytes, not %d", len(signer), ed25519.PublicKeySize)
	}
	if len(scalar) != 32 {
		return Key{}, fmt.Errorf("make a node's key: there are %d bytes, not 32", len(scalar))
	}
	text := strings.ToUpper(bech32("age-secret-key-", scalar))
	if _, err := age.ParseX25519Identity(text); err != nil {
		return Key{}, errors.New("make a node's key: age does not take it")
	}
	return Key{Signer: bytes.Clone(signer), identity: identityOf(text)}, nil
}

// Recipient is what Seal encrypts to, age1…; it is public. A zero key has none.
func (k Key) Recipient() string {
	if k.identity == nil {
		return ""
	}
	i, err := age.ParseX25519Identity(k.identity())
	if err != nil {
		return ""
	}
	return i.Recipient().String()
}

const (
	keyComment     = "# trivet key of %s in %s; keep apart from its bundle\n"
	signerPrefix   = "ed25519:"
	identityPrefix = "AGE-SECRET-KEY-1"
)

var keyCommentForm = regexp.MustCompile(`^# trivet key of ([a-z0-9-]{1,63}) in ([a-z0-9-]{1,63}); keep apart from its bundle$`)

// Marshal writes the key as the text that its channel carries. It is the only
// way in which the identity comes out.
func (k Key) Marshal() ([]byte, error) {
	switch {
	case k.identity == nil || len(k.Signer) != ed25519.PublicKeySize:
		return nil, errors.New("write a node's key: it is empty")
	case !nameForm.MatchString(k.Node) || !nameForm.MatchString(k.Cluster):
		return nil, errors.New("write a node's key: it does not say of which node and cloud it is")
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, keyComment, k.Node, k.Cluster)
	fmt.Fprintf(&b, "signer: %s\n", FormatSigner(k.Signer))
	fmt.Fprintf(&b, "identity: %s\n", k.identity())
	return b.Bytes(), nil
}

// ParseKey reads the text of a key. Empty lines and comments do not matter.
func ParseKey(text []byte) (Key, error) {
	k, err := parseKey(text)
	if err != nil {
		return Key{}, fmt.Errorf("read the node's key: %w", err)
	}
	return k, nil
}

func parseKey(text []byte) (Key, error) {
	if len(text) > maxKey {
		return Key{}, fmt.Errorf("it has %d bytes, more than %d", len(text), maxKey)
	}
	var k Key
	number := 0
	for line := range strings.Lines(string(text)) {
		number++
		line = strings.TrimSpace(line)
		if m := keyCommentForm.FindStringSubmatch(line); m != nil && k.Node == "" {
			k.Node, k.Cluster = m[1], m[2]
		}
		if line == "" || line[0] == '#' {
			continue
		}
		word, value, _ := strings.Cut(line, ":")
		if err := k.take(word, strings.TrimSpace(value)); err != nil {
			return Key{}, fmt.Errorf("line %d: %w", number, err)
		}
	}
	switch {
	case k.Signer == nil:
		return Key{}, errors.New("it has no signer: line")
	case k.identity == nil:
		return Key{}, errors.New("it has no identity: line")
	}
	return k, nil
}

// take reads one line of a key.
func (k *Key) take(word, value string) error {
	switch word {
	case "signer":
		if k.Signer != nil {
			return errors.New("signer: is there twice")
		}
		signer, err := ParseSigner(value)
		if err != nil {
			return err
		}
		k.Signer = signer
	case "identity":
		if k.identity != nil {
			return errors.New("identity: is there twice")
		}
		if _, err := age.ParseX25519Identity(value); err != nil || !strings.HasPrefix(value, identityPrefix) {
			return errors.New("identity: is not an X25519 identity of age, AGE-SECRET-KEY-1…; it may be cut")
		}
		k.identity = identityOf(value)
	default:
		return errors.New("it begins with neither signer: nor identity: as it must")
	}
	return nil
}

// FormatSigner writes a public key as ed25519:BASE64.
func FormatSigner(key ed25519.PublicKey) string {
	return signerPrefix + base64.StdEncoding.EncodeToString(key)
}

// ParseSigner reads what FormatSigner writes.
func ParseSigner(text string) (ed25519.PublicKey, error) {
	rest, ok := strings.CutPrefix(text, signerPrefix)
	raw, err := base64.StdEncoding.Strict().DecodeString(rest)
	if !ok || err != nil || len(raw) != ed25519.PublicKeySize || strings.ContainsAny(rest, "\r\n") {
		return nil, errors.New("the signer's public key is not ed25519: and 32 bytes in base64")
	}
	return raw, nil
}

// of tells people whose key it is, if that is known.
func (k Key) of() string {
	if k.Node == "" {
		return ""
	}
	return fmt.Sprintf(", which is of %s in %s", k.Node, k.Cluster)
}

// String names the node and the signer, not the identity.
func (k Key) String() string {
	return fmt.Sprintf("key of %s in %s (signer %s, identity [redacted])", k.Node, k.Cluster, FormatSigner(k.Signer))
}

// Format prints String for every verb, %#v included.
func (k Key) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(k.String())) }

// LogValue logs String.
func (k Key) LogValue() slog.Value { return slog.StringValue(k.String()) }

// MarshalText writes String into JSON, YAML and their like. Marshal makes the
// real form.
func (k Key) MarshalText() ([]byte, error) { return []byte(k.String()), nil }
