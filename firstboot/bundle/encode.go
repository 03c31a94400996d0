package bundle

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"unicode/utf8"
)

// wire is the plaintext's form.
type wire struct {
	Version    int               `json:"version"`
	Cloud      string            `json:"cloud"`
	Cluster    string            `json:"cluster"`
	Node       string            `json:"node"`
	Role       string            `json:"role"`
	Generation int               `json:"generation"`
	Secrets    map[string]string `json:"secrets"`
	Files      map[string]any    `json:"files"`
	Ticket     string            `json:"ticket,omitempty"`
}

// binary is a file that is no text.
type binary struct {
	Base64 string `json:"base64"`
}

// Encode writes the plaintext of a bundle: JSON, its keys sorted, so that the
// same contents give the same bytes. A file that is text, as PEM is, is a
// string; any other is {"base64": "…"}.
func Encode(c Contents) ([]byte, error) {
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("write a bundle: %w", err)
	}
	// A wire's secrets are of the plain type, which has no MarshalText.
	w := wire{version, c.Cloud, c.Cluster, c.Node, c.Role, c.Generation, map[string]string{}, map[string]any{}, c.Ticket}
	maps.Copy(w.Secrets, c.Secrets)
	for path, data := range c.Files {
		if isText(data) {
			w.Files[path] = string(data)
		} else {
			w.Files[path] = binary{base64.StdEncoding.EncodeToString(data)}
		}
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(w); err != nil {
		return nil, errors.New("write a bundle: it cannot be JSON")
	}
	if b.Len() > MaxPlain {
		return nil, fmt.Errorf("write a bundle: it has %d bytes, more than %d; hand in large files by another way", b.Len(), MaxPlain)
	}
	return b.Bytes(), nil
}

func isText(data []byte) bool {
	return utf8.Valid(data) && !slices.ContainsFunc(data, func(b byte) bool { return b < ' ' && b != '\n' && b != '\t' || b == 0x7f })
}

func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
