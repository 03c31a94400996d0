package node

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

// parseJSON reads one JSON value (RFC 8259) as the tree that parseYAML makes.
// YAML is said to include JSON, but its readers stumble over tabs and \/.
func parseJSON(file string, data []byte, limit int) (*document, error) {
	if err := checkShape(file, data, limit); err != nil {
		return nil, err
	}
	r := &jsonReader{file: file, data: data, decoder: json.NewDecoder(bytes.NewReader(data))}
	r.decoder.UseNumber()
	body, err := r.value()
	if err != nil {
		return nil, r.problem(err)
	}
	if end := int(r.decoder.InputOffset()); len(bytes.TrimSpace(data[end:])) > 0 {
		line, column := r.place(end)
		return nil, Problems{{file, line, column, "there is more after the end of the JSON value"}}
	}
	return &document{file: file, body: body, at: map[string][2]int{"": {1, 1}}, lenient: true, nulls: true}, nil
}

// looksLikeJSON answers whether a file begins as a JSON object does.
func looksLikeJSON(data []byte) bool { return bytes.HasPrefix(bytes.TrimSpace(data), []byte("{")) }

// A jsonReader makes nodes of tokens. The decoder tells only where a token
// ends, so the place of a value is where the one before it ended.
type jsonReader struct {
	file    string
	data    []byte
	decoder *json.Decoder
	depth   int
	values  int
	// The place of the byte `at`, counted on from token to token.
	at, line, lineStart int
}

// errDeep and errMany are beyond what any network needs.
var (
	errDeep = fmt.Errorf("more than %d brackets within brackets", maxNest)
	errMany = fmt.Errorf("the file has more than %d values", maxNodes)
)

// value reads one value and all that is in it.
func (r *jsonReader) value() (ast.Node, error) {
	if r.values++; r.values > maxNodes {
		return nil, errMany
	}
	at := r.position()
	t, err := r.decoder.Token()
	if err != nil {
		return nil, err
	}
	switch t := t.(type) {
	case json.Delim:
		if r.depth++; r.depth > maxNest {
			return nil, errDeep
		}
		defer func() { r.depth-- }()
		if t == '{' {
			return r.object(at)
		}
		return r.array(at)
	case string:
		return ast.String(scalar(t, at)), nil
	case json.Number:
		return ast.Integer(scalar(t.String(), at)), nil
	case bool:
		return ast.Bool(scalar(fmt.Sprint(t), at)), nil
	}
	return ast.Null(scalar("null", at)), nil
}

func (r *jsonReader) object(at *token.Position) (ast.Node, error) {
	m := ast.Mapping(scalar("{", at), true)
	for r.decoder.More() {
		keyAt := r.position()
		key, err := r.decoder.Token()
		if err != nil {
			return nil, err
		}
		value, err := r.value()
		if err != nil {
			return nil, err
		}
		name := ast.String(scalar(fmt.Sprint(key), keyAt))
		m.Values = append(m.Values, ast.MappingValue(scalar(":", keyAt), name, value))
	}
	_, err := r.decoder.Token() // the closing bracket
	return m, err
}

func (r *jsonReader) array(at *token.Position) (ast.Node, error) {
	list := ast.Sequence(scalar("[", at), true)
	for r.decoder.More() {
		value, err := r.value()
		if err != nil {
			return nil, err
		}
		list.Values = append(list.Values, value)
	}
	_, err := r.decoder.Token()
	return list, err
}

func scalar(text string, at *token.Position) *token.Token { return token.New(text, text, at) }

// position returns where the next token begins.
func (r *jsonReader) position() *token.Position {
	from := int(r.decoder.InputOffset())
	for from < len(r.data) && bytes.IndexByte([]byte(" \t\r\n,:"), r.data[from]) >= 0 {
		from++
	}
	line, column := r.place(from)
	return &token.Position{Line: line, Column: column, Offset: from}
}

// place turns an offset into a line and a column. Offsets never go back.
func (r *jsonReader) place(offset int) (line, column int) {
	for ; r.at < offset && r.at < len(r.data); r.at++ {
		if r.data[r.at] == '\n' {
			r.line++
			r.lineStart = r.at + 1
		}
	}
	return r.line + 1, r.at - r.lineStart + 1
}

// problem places an error of the decoder, and says nothing of the file's text.
func (r *jsonReader) problem(err error) error {
	message := "this is not JSON that can be read; check brackets, quotes and commas here"
	offset := r.decoder.InputOffset()
	var syntax *json.SyntaxError
	switch {
	case errors.Is(err, errDeep), errors.Is(err, errMany):
		message = err.Error()
	case errors.As(err, &syntax):
		offset = syntax.Offset
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		message = "the file ends within its JSON value; a part of it is missing"
		offset = int64(len(r.data))
	}
	line, column := r.place(int(offset))
	return Problems{{r.file, line, column, message}}
}
