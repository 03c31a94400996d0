package roles

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// maxJSON bounds role.json, in bytes.
const maxJSON = 1 << 20

// JSON returns the role as the image carries it in /usr/share/trivet/role.json:
// indented, keys in the order of the structs, a newline at the end.
func (r Role) JSON() ([]byte, error) {
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode role %s: %w", r.Name, err)
	}
	return append(data, '\n'), nil
}

// DecodeJSON reads what JSON wrote. An unknown key or anything behind the role
// is an error, since image and agent are made together.
func DecodeJSON(data []byte) (Role, error) {
	if len(data) > maxJSON {
		return Role{}, fmt.Errorf("decode role: %d bytes, more than %d", len(data), maxJSON)
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	var r Role
	if err := d.Decode(&r); err != nil {
		return Role{}, fmt.Errorf("decode role: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return Role{}, errors.New("decode role: there is more than one value")
	}
	return r, nil
}
