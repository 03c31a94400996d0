package node

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// Limits on one file. They are above what any node needs and keep the YAML
// parser, which recurses, from a file made to exhaust it.
const (
	MaxDescription = 1 << 20   // bytes; user-data and network-config
	MaxMetaData    = 64 << 10  // bytes
	maxNest        = 64        // brackets within brackets
	maxIndent      = 200       // columns before the first word of a line
	maxNodes       = 20_000    // values, keys included
	maxLine        = 128 << 10 // bytes
	maxColons      = 10_000    // each may make a key, and the parser compares every key with every other
)

// A document is one YAML or JSON file as its tree, and what was found wrong in
// it.
type document struct {
	file     string
	body     ast.Node // nil if the file has no content
	at       map[string][2]int
	problems Problems
	nodes    int
	lenient  bool     // a program wrote the file: unknown keys are passed over
	nulls    bool     // null is the same as no value
	ignored  []string // paths of known keys that have no effect
}

// parseYAML reads the one document of data.
func parseYAML(file string, data []byte, limit int) (*document, error) {
	if err := checkShape(file, data, limit); err != nil {
		return nil, err
	}
	tree, err := parseTree(data)
	if err != nil {
		return nil, syntaxProblem(file, data, err)
	}
	d := &document{file: file, at: map[string][2]int{"": {1, 1}}}
	for i, doc := range tree.Docs {
		if doc.Body == nil {
			continue
		}
		if i > 0 && d.body != nil {
			line, _ := position(doc.Body)
			return nil, Problems{{file, line, 1, "a second YAML document begins; keep one"}}
		}
		d.body = doc.Body
	}
	return d, nil
}

// parseTree turns a panic of the library into an error: its input comes from
// outside.
func parseTree(data []byte) (tree *ast.File, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = errors.New("this is not YAML that can be read")
		}
	}()
	return parser.ParseBytes(data, 0)
}

// checkShape refuses what no description needs, before the parser sees it.
func checkShape(file string, data []byte, limit int) error {
	if len(data) > limit {
		return Problems{{file, 0, 0, fmt.Sprintf("the file has %d bytes, more than %d", len(data), limit)}}
	}
	line, depth, colons := 0, 0, 0
	for text := range bytes.Lines(data) {
		line++
		if len(text) > maxLine {
			return Problems{{file, line, 1, fmt.Sprintf("the line has more than %d bytes", maxLine)}}
		}
		if indent := len(text) - len(bytes.TrimLeft(text, " \t-?:")); indent > maxIndent {
			return Problems{{file, line, indent + 1, fmt.Sprintf("indented by more than %d columns", maxIndent)}}
		}
		for column, c := range text {
			switch c {
			case '[', '{':
				depth++
			case ']', '}':
				depth = max(0, depth-1)
			case ':':
				colons++
			case 0:
				return Problems{{file, line, column + 1, "there is a zero byte; this is not text"}}
			}
			if colons > maxColons {
				return Problems{{file, line, column + 1, fmt.Sprintf("more than %d colons, and so more keys than any node needs", maxColons)}}
			}
			if depth > maxNest {
				return Problems{{file, line, column + 1, fmt.Sprintf("more than %d brackets within brackets", maxNest)}}
			}
		}
	}
	return nil
}

// syntaxProblem places an error of the parser. Its words are kept only where no
// secret can be in them: those that name a key, only before any key whose
// values may be secret.
func syntaxProblem(file string, data []byte, err error) error {
	var placed interface {
		GetToken() *token.Token
		GetMessage() string
	}
	if !errors.As(err, &placed) || placed.GetToken() == nil || placed.GetToken().Position == nil {
		return Problems{{file, 0, 0, "this is not YAML that can be read"}}
	}
	p := placed.GetToken().Position
	message := "YAML: " + placed.GetMessage()
	if strings.Contains(placed.GetMessage(), "\n") || !knownMessage(placed.GetMessage()) || nearSecrets(data, p.Line) {
		message = "this is not YAML that can be read; check indentation, quotes and colons here"
	}
	return Problems{{file, p.Line, p.Column, message}}
}

// knownMessage answers whether the parser's message quotes nothing of the file,
// or only a key that is there twice.
func knownMessage(message string) bool {
	if strings.HasPrefix(message, "mapping key ") && strings.Contains(message, " already defined at ") {
		return true
	}
	return !strings.ContainsAny(message, "\"'`")
}

// nearSecrets answers whether a key that may hold secrets stands on or above a
// line, or in the one below it.
func nearSecrets(data []byte, line int) bool {
	for i, text := range bytes.Split(data, []byte("\n")) {
		if i > line {
			return false
		}
		for _, word := range []string{"secret", "config:", "passw", "bundle"} {
			if bytes.Contains(text, []byte(word)) {
				return true
			}
		}
	}
	return false
}

func position(n ast.Node) (line, column int) {
	if t := n.GetToken(); t != nil && t.Position != nil {
		return t.Position.Line, t.Position.Column
	}
	return 1, 1
}

// problem notes what is wrong with the value at path, or with the nearest value
// around it that the file has.
func (d *document) problem(path, format string, args ...any) {
	for {
		if at, ok := d.at[path]; ok {
			d.problems = append(d.problems, Problem{d.file, at[0], at[1], fmt.Sprintf(format, args...)})
			return
		}
		cut := strings.LastIndexAny(path, ".[")
		if cut < 0 {
			d.problems = append(d.problems, Problem{d.file, 1, 1, fmt.Sprintf(format, args...)})
			return
		}
		path = path[:cut]
	}
}

// marked answers whether the value at path already has a problem.
func (d *document) marked(path string) bool {
	at, ok := d.at[path]
	return ok && slices.ContainsFunc(d.problems, func(p Problem) bool { return p.Line == at[0] && p.Column == at[1] })
}

// isMapping answers whether the document is keys and values at all.
func (d *document) isMapping() bool {
	switch d.body.(type) {
	case *ast.MappingNode, *ast.MappingValueNode:
		return true
	}
	return false
}

// has answers whether the file has a value at path.
func (d *document) has(path string) bool {
	_, ok := d.at[path]
	return ok
}

// decode fills the struct, slice, map, string, integer or boolean v from the
// node at path. What does not fit is noted as a problem; v keeps its zero there.
func (d *document) decode(path string, n ast.Node, v reflect.Value) {
	if d.nodes++; d.nodes > maxNodes {
		if d.nodes == maxNodes+1 {
			d.problem(path, "the file has more than %d values", maxNodes)
		}
		return
	}
	line, column := position(n)
	if _, known := d.at[path]; !known {
		d.at[path] = [2]int{line, column}
	}
	switch n.(type) {
	case *ast.AnchorNode, *ast.AliasNode, *ast.TagNode, *ast.MergeKeyNode:
		d.problem(path, "anchors, aliases, merges and tags have no place here; write the value out")
		return
	}
	if d.decodeLoose(path, n, v) {
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		d.decodeStruct(path, n, v)
	case reflect.Map:
		d.decodeMap(path, n, v)
	case reflect.Slice:
		d.decodeSlice(path, n, v)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		d.decode(path, n, v.Elem())
	default:
		d.decodeScalar(path, n, v)
	}
}

// longestKey bounds the keys that a message shows. A longer one that is like no
// known key may be a secret in the wrong place; the message has its place.
const longestKey = 24

func (d *document) unknownKey(path, key string, known []string) {
	near := didYouMean(key, known)
	if near == "" && len(key) > longestKey {
		d.problem(path, "unknown key; it has %d letters, and is not shown since it may be a secret", len(key))
		return
	}
	d.problem(path, "unknown key %q%s", key, near)
}

func (d *document) decodeStruct(path string, n ast.Node, v reflect.Value) {
	fields := map[string]reflect.Value{}
	var known []string
	inline(v, func(name string, field reflect.Value) {
		fields[name] = field
		known = append(known, name)
	})
	d.eachPair(path, n, func(key, below string, value ast.Node) {
		field, ok := fields[key]
		switch {
		case ok:
			d.decode(below, value, field)
		case d.decodeRest(key, below, value, fields):
		case !d.lenient:
			d.unknownKey(below, key, known)
		}
	})
}

// decodeRest puts a value into the field whose tag is the beginning of the key
// and an asterisk, if there is one.
func (d *document) decodeRest(key, path string, n ast.Node, fields map[string]reflect.Value) bool {
	for name, field := range fields {
		prefix, open := strings.CutSuffix(name, "*")
		if !open || !strings.HasPrefix(key, prefix) {
			continue
		}
		if field.IsNil() {
			field.Set(reflect.MakeMap(field.Type()))
		}
		value := reflect.New(field.Type().Elem()).Elem()
		d.decode(path, n, value)
		field.SetMapIndex(reflect.ValueOf(key), value)
		return true
	}
	return false
}

// inline calls f for the fields of a struct and of those that it embeds.
func inline(v reflect.Value, f func(name string, field reflect.Value)) {
	for i := range v.NumField() {
		if t := v.Type().Field(i); t.Anonymous {
			inline(v.Field(i), f)
		} else {
			f(t.Tag.Get("yaml"), v.Field(i))
		}
	}
}

func (d *document) decodeMap(path string, n ast.Node, v reflect.Value) {
	v.Set(reflect.MakeMap(v.Type()))
	d.eachPair(path, n, func(key, below string, value ast.Node) {
		elem := reflect.New(v.Type().Elem()).Elem()
		d.decode(below, value, elem)
		v.SetMapIndex(reflect.ValueOf(key), elem)
	})
}

// eachPair calls f for every key of a mapping, with the path of its value. It
// places that path at the key.
func (d *document) eachPair(path string, n ast.Node, f func(key, below string, value ast.Node)) {
	var pairs []*ast.MappingValueNode
	switch m := n.(type) {
	case *ast.MappingNode:
		pairs = m.Values
	case *ast.MappingValueNode:
		pairs = []*ast.MappingValueNode{m}
	default:
		d.problem(path, "this must be a mapping: keys with a colon and their values")
		return
	}
	seen := map[string]bool{}
	for _, pair := range pairs {
		key, ok := pair.Key.(*ast.StringNode)
		if !ok || pair.Value == nil {
			line, column := position(pair.Key)
			d.problems = append(d.problems, Problem{d.file, line, column, "this is not a plain key with a value"})
			continue
		}
		below := join(path, key.Value)
		line, column := position(key)
		if seen[key.Value] {
			d.problems = append(d.problems, Problem{d.file, line, column, "this key is there twice; keep one"})
			continue
		}
		seen[key.Value] = true
		d.at[below] = [2]int{line, column}
		if _, empty := pair.Value.(*ast.NullNode); empty {
			if !d.nulls {
				d.problem(below, "this key has no value; give one or leave the key out")
			}
			continue
		}
		f(key.Value, below, pair.Value)
	}
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

func (d *document) decodeSlice(path string, n ast.Node, v reflect.Value) {
	list, ok := n.(*ast.SequenceNode)
	if !ok {
		d.problem(path, "this must be a list: lines that begin with a dash, or [a, b]")
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), len(list.Values), len(list.Values)))
	for i, value := range list.Values {
		d.decode(fmt.Sprintf("%s[%d]", path, i), value, v.Index(i))
	}
}

// decodeScalar reads text, whole numbers and true or false. YAML's other ways
// to write them are refused rather than guessed at: 010 is 8 to some readers
// and 10 to others.
func (d *document) decodeScalar(path string, n ast.Node, v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		switch s := n.(type) {
		case *ast.StringNode:
			v.SetString(s.Value)
		case *ast.LiteralNode:
			v.SetString(s.Value.Value)
		case *ast.MappingNode, *ast.MappingValueNode, *ast.SequenceNode:
			d.problem(path, "this must be text")
		default:
			d.problem(path, "YAML reads this as something else than text; put it in quotes")
		}
	case reflect.Int:
		number, err := strconv.ParseInt(strings.TrimSpace(plain(n)), 10, 64)
		if err != nil || number > math.MaxInt32 || number < 0 || len(plain(n)) > 1 && plain(n)[0] == '0' {
			d.problem(path, "this must be a whole number, in plain decimal digits")
			return
		}
		v.SetInt(number)
	case reflect.Bool:
		b, ok := n.(*ast.BoolNode)
		if !ok {
			d.problem(path, "this must be true or false")
			return
		}
		v.SetBool(b.Value)
	}
}

// plain returns the digits of a number as they stand in the file.
func plain(n ast.Node) string {
	if i, ok := n.(*ast.IntegerNode); ok && i.Token != nil {
		return i.Token.Value
	}
	return ""
}
