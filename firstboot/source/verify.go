package source

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"
)

// maxSignature is the most that a signature's file may be, in bytes.
const maxSignature = 4 << 10

// A check knows the right file.
type check struct {
	sum []byte            // SHA-256 of the file; nil: any
	key ed25519.PublicKey // that signed the file; nil: any
}

func (c check) pinned() bool { return c.sum != nil || c.key != nil }

func parseCheck(w words) (check, error) {
	var c check
	sum, has, err := w.value(wordSHA256)
	if err != nil {
		return c, err
	}
	if has {
		if c.sum, err = hex.DecodeString(sum); err != nil || len(c.sum) != sha256.Size {
			return c, fmt.Errorf("%s=%s on the kernel command line is not 64 hexadecimal digits", wordSHA256, sum)
		}
	}
	key, has, err := w.value(wordPubkey)
	if err != nil {
		return c, err
	}
	if has {
		raw, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(key, "ed25519:"))
		if err != nil || len(raw) != ed25519.PublicKeySize {
			return c, fmt.Errorf("%s=%s on the kernel command line is not ed25519: and 32 bytes in base64", wordPubkey, key)
		}
		c.key = raw
	}
	return c, nil
}

// verify answers whether data, as it came, is the right file. The signature is
// only asked for if there is a key.
func (c check) verify(name string, data []byte, signature func() ([]byte, error)) error {
	if sum := sha256.Sum256(data); c.sum != nil && subtle.ConstantTimeCompare(sum[:], c.sum) != 1 {
		return fmt.Errorf("%s is not the file that %s names: its SHA-256 is %x", name, wordSHA256, sum)
	}
	if c.key == nil {
		return nil
	}
	text, err := signature()
	if err != nil {
		return fmt.Errorf("read the signature of %s: %w", name, err)
	}
	if !ed25519.Verify(c.key, data, parseSignature(text)) {
		return fmt.Errorf("%s is not signed by the key of %s", name, wordPubkey)
	}
	return nil
}

// parseSignature reads 64 raw bytes, or base64 with or without ed25519: before
// it. What is neither is a signature of nothing.
func parseSignature(text []byte) []byte {
	if len(text) == ed25519.SignatureSize {
		return text
	}
	raw, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(string(bytes.TrimSpace(text)), "ed25519:"))
	if err != nil {
		return nil
	}
	return raw
}

// A pin is the SHA-256 of a SubjectPublicKeyInfo (RFC 7469 §2.4).
type pin [sha256.Size]byte

// parsePins reads sha256//BASE64, or several with commas between, in the form of
// curl's --pinnedpubkey.
func parsePins(text string) ([]pin, error) {
	var pins []pin
	for one := range strings.SplitSeq(text, ",") {
		rest, ok := strings.CutPrefix(one, "sha256//")
		raw, err := base64.StdEncoding.DecodeString(rest)
		if !ok || err != nil || len(raw) != sha256.Size {
			return nil, fmt.Errorf("%s=%s on the kernel command line is not sha256// and 32 bytes in base64", wordSPKI, one)
		}
		pins = append(pins, pin(raw))
	}
	return pins, nil
}

// A pinError is a server with another key. Asking again does not help.
type pinError struct{ have pin }

func (e pinError) Error() string {
	return fmt.Sprintf("the server's key is sha256//%s, which %s does not name", base64.StdEncoding.EncodeToString(e.have[:]), wordSPKI)
}

// clockSkew is how far a machine's clock may stand before the beginning of a
// certificate that is known by its pin. New boards have wrong clocks.
const clockSkew = 24 * time.Hour

// pinnedTLS takes servers by pins in place of the system's roots: a pin is
// either of the server's own key, whose name then does not matter, or of a CA
// that the server sends along, which must have signed for the server's name.
func pinnedTLS(base *tls.Config, pins []pin) *tls.Config {
	c := &tls.Config{}
	if base != nil {
		c = base.Clone()
	}
	c.InsecureSkipVerify = true // VerifyConnection does it
	c.VerifyConnection = func(s tls.ConnectionState) error { return verifyPinned(s, pins, time.Now()) }
	return c
}

func verifyPinned(s tls.ConnectionState, pins []pin, now time.Time) error {
	if len(s.PeerCertificates) == 0 {
		return errors.New("the server sent no certificate")
	}
	leaf := s.PeerCertificates[0]
	if leaf.NotBefore.After(now) && leaf.NotBefore.Sub(now) <= clockSkew {
		now = leaf.NotBefore
	}
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	known := false
	for i, c := range s.PeerCertificates {
		switch matches := isPinned(c, pins); {
		case matches && i == 0:
			if now.Before(c.NotBefore) || now.After(c.NotAfter) {
				return fmt.Errorf("the server's certificate is good from %s to %s, and now is %s", c.NotBefore, c.NotAfter, now.UTC())
			}
			return nil
		case matches && c.IsCA:
			known = true
			roots.AddCert(c)
		case i > 0:
			between.AddCert(c)
		}
	}
	if !known {
		return pinError{sha256.Sum256(leaf.RawSubjectPublicKeyInfo)}
	}
	_, err := leaf.Verify(x509.VerifyOptions{DNSName: s.ServerName, Roots: roots, Intermediates: between, CurrentTime: now})
	if err != nil {
		return fmt.Errorf("the server's certificate is not of the pinned CA: %w", err)
	}
	return nil
}

func isPinned(c *x509.Certificate, pins []pin) bool {
	sum := sha256.Sum256(c.RawSubjectPublicKeyInfo)
	for _, p := range pins {
		if subtle.ConstantTimeCompare(sum[:], p[:]) == 1 {
			return true
		}
	}
	return false
}
