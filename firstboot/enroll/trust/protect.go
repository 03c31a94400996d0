package trust

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"filippo.io/age"
	"filippo.io/age/armor"
)

// Protect says what the master is encrypted with: either a passphrase or
// recipients, never both.
type Protect struct {
	Passphrase string   // at least 12 bytes
	Recipients []string // of age: age1… (X25519) or age1pq1… (hybrid); any one of them opens
	work       int      // scrypt's work factor as a power of two; 0: age's own. For tests.
}

// Unlock is what opens the master.
type Unlock struct {
	Passphrase string
	Identities string // the text of an age identity file, AGE-SECRET-KEY-… a line
}

// String shows recipients only.
func (p Protect) String() string {
	if len(p.Recipients) == 0 {
		return "a passphrase"
	}
	return "the recipients " + strings.Join(p.Recipients, ", ")
}

// Format prints String for every verb.
func (p Protect) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(p.String())) }

// LogValue logs String.
func (p Protect) LogValue() slog.Value { return slog.StringValue(p.String()) }

// MarshalText writes String into JSON, YAML and their like.
func (p Protect) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// String shows nothing.
func (u Unlock) String() string { return "[redacted]" }

// Format prints String for every verb.
func (u Unlock) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(u.String())) }

// LogValue logs String.
func (u Unlock) LogValue() slog.Value { return slog.StringValue(u.String()) }

// MarshalText writes String into JSON, YAML and their like.
func (u Unlock) MarshalText() ([]byte, error) { return []byte(u.String()), nil }

const (
	leastPassphrase = 12 // bytes; scrypt makes each guess cost a second
	maxMaster       = 64 << 10
)

// protection is what public.json tells of it.
type protection struct {
	Passphrase bool     `json:"passphrase"`
	Recipients []string `json:"recipients,omitempty"`
}

func (p Protect) told() protection {
	return protection{Passphrase: p.Passphrase != "", Recipients: p.Recipients}
}

// recipients are age's.
func (p Protect) recipients() ([]age.Recipient, error) {
	switch {
	case p.Passphrase == "" && len(p.Recipients) == 0:
		return nil, errors.New("there is neither a passphrase nor a recipient to encrypt the master with")
	case p.Passphrase != "" && len(p.Recipients) > 0:
		return nil, errors.New("the master is encrypted with a passphrase or to recipients, not both")
	case p.Passphrase != "" && len(p.Passphrase) < leastPassphrase:
		return nil, fmt.Errorf("the passphrase has less than %d letters; take several words", leastPassphrase)
	case p.Passphrase != "":
		r, err := age.NewScryptRecipient(p.Passphrase)
		if err == nil && p.work != 0 {
			r.SetWorkFactor(p.work)
		}
		return []age.Recipient{r}, err
	}
	var all []age.Recipient
	for _, text := range p.Recipients {
		found, err := age.ParseRecipients(strings.NewReader(text))
		if err != nil || len(found) != 1 {
			return nil, fmt.Errorf("%q is not a recipient of age, age1…", text)
		}
		all = append(all, found[0])
	}
	return all, nil
}

// secretFile is the plaintext of master.age.
type secretFile struct {
	Version int    `json:"version"`
	Cloud   string `json:"cloud"`
	Cluster string `json:"cluster"`
	Master  []byte `json:"master"`
	// Protection is what public.json is to tell of this file's. Both change
	// together, and if the power fails between, this one is right.
	Protection *protection `json:"protection,omitempty"`
}

func (p Protect) encrypt(s secretFile) ([]byte, error) {
	to, err := p.recipients()
	if err != nil {
		return nil, err
	}
	told := p.told()
	s.Protection = &told
	plain, err := json.Marshal(s)
	if err != nil {
		return nil, errors.New("the master cannot be JSON")
	}
	var b bytes.Buffer
	lines := armor.NewWriter(&b)
	w, err := age.Encrypt(lines, to...)
	if err != nil {
		return nil, err
	}
	_, err = w.Write(plain)
	if err = errors.Join(err, w.Close(), lines.Close()); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

func (u Unlock) identities() ([]age.Identity, error) {
	switch {
	case u.Passphrase == "" && u.Identities == "":
		return nil, errors.New("there is neither a passphrase nor an identity")
	case u.Passphrase != "" && u.Identities != "":
		return nil, errors.New("give a passphrase or an identity, not both")
	case u.Passphrase != "":
		i, err := age.NewScryptIdentity(u.Passphrase)
		return []age.Identity{i}, err
	}
	all, err := age.ParseIdentities(strings.NewReader(u.Identities))
	if err != nil { // whose text may show a part of the key
		return nil, errors.New("the identity file is not age's: lines of AGE-SECRET-KEY-…, empty lines and comments")
	}
	return all, nil
}

func (u Unlock) decrypt(data []byte) (secretFile, error) {
	with, err := u.identities()
	if err != nil {
		return secretFile{}, err
	}
	r, err := age.Decrypt(armor.NewReader(bytes.NewReader(data)), with...)
	var none *age.NoIdentityMatchError
	switch {
	case errors.As(err, &none):
		return secretFile{}, none2text(none, u)
	case err != nil:
		return secretFile{}, fmt.Errorf("the file was cut or altered: %w", err)
	}
	plain, err := io.ReadAll(io.LimitReader(r, maxMaster))
	if err != nil {
		return secretFile{}, fmt.Errorf("the file was cut or altered: %w", err)
	}
	var s secretFile
	if decodeStrict(plain, &s) != nil || s.Version != 1 || len(s.Master) != masterSize {
		return secretFile{}, errors.New("it holds no master; a newer trivet may have written it")
	}
	return s, nil
}

// none2text says why nothing opened the master.
func none2text(none *age.NoIdentityMatchError, u Unlock) error {
	scrypt := len(none.StanzaTypes) == 1 && none.StanzaTypes[0] == "scrypt"
	switch {
	case scrypt && u.Passphrase != "":
		return errors.New("the passphrase is not the right one")
	case scrypt:
		return errors.New("it is encrypted with a passphrase; give that, not an identity")
	case u.Passphrase != "":
		return errors.New("it is encrypted to recipients; give an identity, not a passphrase")
	}
	return errors.New("no identity that was given is of one of its recipients")
}
