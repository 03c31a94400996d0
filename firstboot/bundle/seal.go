package bundle

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"filippo.io/age"
	"filippo.io/age/armor"
)

// Seal encrypts contents to the node whose key has this recipient, age1… for
// X25519 (age-encryption.org/v1). The result is the age file in ASCII armor.
// Encryption is never the same twice.
func Seal(c Contents, recipient string) (string, error) {
	plain, err := Encode(c)
	if err != nil {
		return "", err
	}
	to, err := age.ParseX25519Recipient(recipient)
	if err != nil {
		return "", fmt.Errorf("seal the bundle of %s: its recipient is not of the form age1…", c.Node)
	}
	var b bytes.Buffer
	lines := armor.NewWriter(&b)
	w, err := age.Encrypt(lines, to)
	if err != nil {
		return "", fmt.Errorf("seal the bundle of %s: %w", c.Node, err)
	}
	_, err = w.Write(plain)
	if err = errors.Join(err, w.Close(), lines.Close()); err != nil {
		return "", fmt.Errorf("seal the bundle of %s: %w", c.Node, err)
	}
	return b.String(), nil
}

// Open decrypts an armored bundle with the node's key and reads it. It refuses
// what is cut, altered, too large, of another key, or of another node than the
// key says. Whether it is of this machine is for Contents.For to say.
func Open(armored string, k Key) (Contents, error) {
	plain, err := decrypt(armored, k)
	if err != nil {
		return Contents{}, fmt.Errorf("open the bundle: %w", err)
	}
	c, err := Decode(plain)
	switch {
	case err != nil:
		return Contents{}, fmt.Errorf("open the bundle: %w", err)
	case k.Node != "" && (k.Node != c.Node || k.Cluster != c.Cluster):
		return Contents{}, fmt.Errorf("open the bundle: it is of %s in %s, and the key of %s in %s", c.Node, c.Cluster, k.Node, k.Cluster)
	}
	return c, nil
}

func decrypt(armored string, k Key) ([]byte, error) {
	armored = strings.TrimSpace(armored)
	switch {
	case k.identity == nil:
		return nil, errors.New("there is no key")
	case len(armored) > MaxArmored:
		return nil, fmt.Errorf("it has %d bytes, more than %d", len(armored), MaxArmored)
	case !strings.HasPrefix(armored, armor.Header):
		return nil, errors.New("it is not an age file in ASCII armor")
	case !strings.HasSuffix(armored, armor.Footer):
		return nil, fmt.Errorf("it is cut: its last line is not %s", armor.Footer)
	}
	with, err := age.ParseX25519Identity(k.identity())
	if err != nil {
		return nil, errors.New("the key is not an X25519 identity of age")
	}
	r, err := age.Decrypt(armor.NewReader(strings.NewReader(armored+"\n")), with)
	var none *age.NoIdentityMatchError
	if errors.As(err, &none) {
		return nil, fmt.Errorf("it is not for this key%s; a node needs the key that was made with its bundle", k.of())
	}
	var plain []byte
	if err == nil {
		plain, err = io.ReadAll(io.LimitReader(r, MaxPlain+1))
	}
	switch {
	case err != nil:
		return nil, fmt.Errorf("it was cut or altered: %w", err)
	case len(plain) > MaxPlain:
		return nil, fmt.Errorf("it holds more than %d bytes", MaxPlain)
	}
	return plain, nil
}
