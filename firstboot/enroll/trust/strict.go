package trust

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// maxDepth of JSON in files that are read here.
const maxDepth = 16

// decodeStrict reads JSON with known keys only, none of them twice, and nothing
// after it.
func decodeStrict(data []byte, to any) error {
	if err := checkKeys(json.NewDecoder(bytes.NewReader(data))); err != nil {
		return err
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(to); err != nil {
		return describe(data, err)
	}
	return nil
}

// describe puts the line before an error.
func describe(data []byte, err error) error {
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	at := int64(-1)
	if errors.As(err, &syntax) {
		at = syntax.Offset
	} else if errors.As(err, &kind) {
		at = kind.Offset
	}
	if at < 0 {
		return err
	}
	line := 1 + bytes.Count(data[:min(int(at), len(data))], []byte("\n"))
	return fmt.Errorf("line %d: %w", line, err)
}

// checkKeys walks over one value and looks for keys that are there twice.
func checkKeys(d *json.Decoder) error {
	type level struct {
		keys  map[string]bool // nil in a list
		value bool            // a key was read, its value follows
	}
	var open []level
	for {
		t, err := d.Token()
		if err != nil {
			return errors.New("the JSON is broken or cut")
		}
		if top := len(open) - 1; top >= 0 && open[top].keys != nil && !open[top].value && t != json.Delim('}') {
			key, _ := t.(string)
			if open[top].keys[key] {
				return fmt.Errorf("the key %q is there twice", key)
			}
			open[top].keys[key], open[top].value = true, true
			continue
		}
		switch t {
		case json.Delim('{'):
			open = append(open, level{keys: map[string]bool{}})
		case json.Delim('['):
			open = append(open, level{})
		case json.Delim('}'), json.Delim(']'):
			open = open[:len(open)-1]
		}
		if len(open) > maxDepth {
			return errors.New("the JSON is too deep")
		}
		if t != json.Delim('{') && t != json.Delim('[') && len(open) > 0 {
			open[len(open)-1].value = false
		}
		if len(open) == 0 {
			break
		}
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows the JSON")
	}
	return nil
}

// encode writes JSON for people.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	err := e.Encode(v)
	return b.Bytes(), err
}
