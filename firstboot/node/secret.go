package node

import (
	"errors"
	"fmt"
	"log/slog"
)

// Redacted is what a secret prints as.
const Redacted = "[redacted]"

// A Secret is a string that no formatting, encoding or logging shows. Only
// Reveal does, so that the places where secrets come out can be searched for.
type Secret struct{ value string }

// NewSecret wraps a value.
func NewSecret(value string) Secret { return Secret{value} }

// Reveal returns the value.
func (s Secret) Reveal() string { return s.value }

// Format prints [redacted] for every verb, %#v included.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(Redacted)) }

// String returns [redacted].
func (s Secret) String() string { return Redacted }

// MarshalText writes [redacted] into JSON, YAML and their like.
func (s Secret) MarshalText() ([]byte, error) { return []byte(Redacted), nil }

// LogValue logs [redacted].
func (s Secret) LogValue() slog.Value { return slog.StringValue(Redacted) }

// Equal compares values, so that go-cmp can look at a Config.
func (s Secret) Equal(o Secret) bool { return s.value == o.value }

// Bounds of a secret's length. Below the least it can be guessed.
const (
	minSecret = 8
	maxSecret = 512
)

// CheckSecret says what is wrong with a secret's value, without showing it. The
// letters are RFC 3986's unreserved ones: no configuration format, URL or
// shell reads anything into them.
func CheckSecret(value string) error {
	if len(value) < minSecret || len(value) > maxSecret {
		return fmt.Errorf("the secret has %d characters, not %d to %d", len(value), minSecret, maxSecret)
	}
	for _, c := range []byte(value) {
		if !unreserved(c) {
			return errors.New("the secret has a character other than letters, digits and - . _ ~; use only those, since it goes into files of many formats")
		}
	}
	return nil
}

func unreserved(c byte) bool {
	switch {
	case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		return true
	}
	return c == '-' || c == '.' || c == '_' || c == '~'
}
