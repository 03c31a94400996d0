package apt

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
	pgperrors "github.com/ProtonMail/go-crypto/openpgp/errors"
)

// pinned are Debian 13's keys, from the package debian-archive-keyring
// 2023.3+deb12u2: archive, security archive, stable release.
//
//go:embed keys/*.gpg
var pinned embed.FS

// keyring reads the keys that may sign an InRelease.
func (a Archive) keyring() (openpgp.EntityList, error) {
	if a.Keyring != nil {
		keys, err := openpgp.ReadKeyRing(bytes.NewReader(a.Keyring))
		if err != nil {
			return nil, fmt.Errorf("read the keyring: %w", err)
		}
		return keys, nil
	}
	names, err := pinned.ReadDir("keys")
	if err != nil {
		return nil, fmt.Errorf("read the pinned keys: %w", err)
	}
	var all openpgp.EntityList
	for _, n := range names {
		text, err := pinned.ReadFile("keys/" + n.Name())
		if err != nil {
			return nil, fmt.Errorf("read the pinned keys: %w", err)
		}
		keys, err := openpgp.ReadKeyRing(bytes.NewReader(text))
		if err != nil {
			return nil, fmt.Errorf("read the pinned key %s: %w", n.Name(), err)
		}
		all = append(all, keys...)
	}
	return all, nil
}

// verify returns the text of an inline-signed file (RFC 9580 §7) that keys
// signed. Text before or after the signed block is refused: a reader that
// skips it could be made to parse what nobody signed.
func verify(keys openpgp.EntityList, file []byte) ([]byte, error) {
	if !bytes.HasPrefix(file, []byte("-----BEGIN PGP SIGNED MESSAGE-----")) {
		return nil, errors.New("it does not begin with a signed message; the mirror may have answered with a page of its own")
	}
	block, rest := clearsign.Decode(file)
	if block == nil {
		return nil, errors.New("no signed message in it")
	}
	if len(bytes.TrimSpace(rest)) > 0 {
		return nil, fmt.Errorf("%d bytes follow the signature", len(rest))
	}
	signature, err := io.ReadAll(io.LimitReader(block.ArmoredSignature.Body, maxRelease))
	if err != nil {
		return nil, fmt.Errorf("read the signature: %w", err)
	}
	_, err = openpgp.CheckDetachedSignature(keys, bytes.NewReader(block.Bytes), bytes.NewReader(signature), nil)
	if errors.Is(err, pgperrors.ErrUnknownIssuer) {
		return nil, errors.New("signed by none of the pinned keys")
	}
	if err != nil {
		return nil, fmt.Errorf("check the signature: %w", err)
	}
	return block.Plaintext, nil
}

// parseDate reads a date of a Release file: RFC 5322 in UTC.
func parseDate(s string) (time.Time, error) {
	t, err := time.Parse("Mon, 02 Jan 2006 15:04:05 MST", strings.TrimSpace(s))
	if err != nil {
		return time.Time{}, fmt.Errorf("read the date %q: %w", s, err)
	}
	return t.UTC(), nil
}
