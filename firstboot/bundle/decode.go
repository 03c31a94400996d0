package bundle

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"
)

// Decode reads the plaintext of a bundle. It is strict: every key is known, is
// written as it is known and is there once; nothing follows. encoding/json's
// own decoding is neither, and its errors may show values.
func Decode(data []byte) (Contents, error) {
	c, err := decode(data)
	if err == nil {
		err = c.check()
	}
	if err != nil {
		return Contents{}, fmt.Errorf("read a bundle: %w", err)
	}
	return c, nil
}

func decode(data []byte) (Contents, error) {
	switch {
	case len(data) > MaxPlain:
		return Contents{}, fmt.Errorf("it has more than %d bytes", MaxPlain)
	case !utf8.Valid(data):
		return Contents{}, errors.New("it is not UTF-8")
	}
	r := reader{json.NewDecoder(bytes.NewReader(data))}
	r.dec.UseNumber()
	c := Contents{Secrets: Secrets{}, Files: Files{}}
	form := 0
	fields := map[string]func() error{
		"version":    func() error { return r.number(&form) },
		"cloud":      func() error { return r.text(&c.Cloud) },
		"cluster":    func() error { return r.text(&c.Cluster) },
		"node":       func() error { return r.text(&c.Node) },
		"role":       func() error { return r.text(&c.Role) },
		"generation": func() error { return r.number(&c.Generation) },
		"secrets":    func() error { return r.secrets(c.Secrets) },
		"files":      func() error { return r.files(c.Files) },
		"ticket":     func() error { return r.text(&c.Ticket) },
	}
	err := r.object(func(key string) error {
		read, known := fields[key]
		if !known {
			return r.fail("there is a key that no bundle has; it may be of a newer trivet")
		}
		return read()
	})
	if err != nil {
		return Contents{}, err
	}
	if _, err := r.dec.Token(); !errors.Is(err, io.EOF) {
		return Contents{}, r.fail("something follows")
	}
	if form != version {
		return Contents{}, fmt.Errorf("its form is version %d, and this trivet reads %d", form, version)
	}
	return c, nil
}

// A reader reads JSON token by token.
type reader struct{ dec *json.Decoder }

func (r reader) fail(text string) error {
	return fmt.Errorf("byte %d: %s", r.dec.InputOffset(), text)
}

func (r reader) token() (json.Token, error) {
	t, err := r.dec.Token()
	if err != nil { // whose text may show a letter
		return nil, r.fail("the JSON is broken or cut")
	}
	return t, nil
}

// object reads {…} and calls read at each value.
func (r reader) object(read func(key string) error) error {
	if t, err := r.token(); err != nil {
		return err
	} else if t != json.Delim('{') {
		return r.fail("here an object must stand")
	}
	seen := map[string]bool{}
	for r.dec.More() {
		t, err := r.token()
		if err != nil {
			return err
		}
		key, _ := t.(string) // the decoder lets nothing else be a key
		if seen[key] {
			return r.fail("a key is there twice")
		}
		if seen[key] = true; len(seen) > maxSecrets {
			return r.fail("there are too many keys")
		}
		if err := read(key); err != nil {
			return err
		}
	}
	_, err := r.token()
	return err
}

func (r reader) text(to *string) error {
	t, err := r.token()
	if err != nil {
		return err
	}
	s, ok := t.(string)
	if !ok {
		return r.fail("here a string must stand")
	}
	*to = s
	return nil
}

func (r reader) number(to *int) error {
	t, err := r.token()
	if err != nil {
		return err
	}
	n, ok := t.(json.Number)
	if !ok {
		return r.fail("here a number must stand")
	}
	i, err := n.Int64()
	if err != nil || i < 0 || i > maxGeneration {
		return r.fail("the number is not whole or too large")
	}
	*to = int(i)
	return nil
}

func (r reader) secrets(to Secrets) error {
	return r.object(func(key string) error {
		var value string
		err := r.text(&value)
		to[key] = value
		return err
	})
}

func (r reader) files(to Files) error {
	return r.object(func(path string) error {
		t, err := r.token()
		if err != nil {
			return err
		}
		if text, ok := t.(string); ok {
			to[path] = []byte(text)
			return nil
		}
		if t != json.Delim('{') {
			return r.fail("a file is a string or an object with base64")
		}
		return r.binary(path, to)
	})
}

// binary reads what follows the { of {"base64": "…"}.
func (r reader) binary(path string, to Files) error {
	var key, value string
	if err := r.text(&key); err != nil {
		return err
	}
	if err := r.text(&value); err != nil {
		return err
	}
	data, err := base64.StdEncoding.Strict().DecodeString(value)
	if key != "base64" || err != nil {
		return r.fail("a file is a string or an object with base64")
	}
	to[path] = data
	if t, err := r.token(); err != nil {
		return err
	} else if t != json.Delim('}') {
		return r.fail("a file has base64 and nothing else")
	}
	return nil
}
