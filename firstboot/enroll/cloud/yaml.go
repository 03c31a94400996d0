package cloud

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

func fileChecks() []Check {
	return []Check{
		failure("file-size", "the file is not larger than a description can be", "the file has more than %d bytes", "give the description itself; a thousand nodes need half of that"),
		failure("file-shape", "the file is text, not nested or long beyond need", "%s", "write it as in `trivet cluster example`"),
		failure("empty", "the file says something", "the file is empty", "begin with what `trivet cluster example` prints"),
		failure("wrong-file", "the file is not the description of one node", "%s is the first line of what one node is told", "give the description of the whole cloud, cloud.yaml"),
		failure("yaml", "the file is YAML, one document", "%s", "check indentation, quotes and colons here"),
		failure("alias", "no anchors, aliases, merges and tags, which hide what is said", "an anchor, alias, merge or tag has no place here", "write the value out"),
		failure("type", "every value is of the kind that its key wants", "this must be %s", "%[2]s"),
		failure("unknown-key", "no key is misspelt or made up", "unknown key %q", "%sknown here: %s"),
		failure("no-value", "no key is left without a value", "there is no value here", "give one or leave the key out"),
		failure("duplicate-key", "no key is there twice", "%q is there twice, first in line %d", "keep one of the two"),
		failure("missing", "what must be told is told", "the key %s is missing", "add it: %s"),
		failure("list-long", "no list is longer than a node can take", "there are %d entries, more than %d", "leave some out"),
		failure("too-many", "the list of problems has an end", "there are more than %d problems", "correct those above first"),
	}
}

// A document is the file as a tree, the places of its values, and what was
// found in it.
type document struct {
	file     string
	at       map[string][2]int // path → line, column
	checks   map[string]Check
	findings []Finding
	values   int
}

func newDocument(file string) *document {
	d := &document{file: file, at: map[string][2]int{"": {1, 1}}, checks: map[string]Check{}}
	for _, c := range Checks() {
		d.checks[c.ID] = c
	}
	return d
}

// read returns the root of the one document of data; nil if there is none.
func (d *document) read(data []byte) ast.Node {
	first, _, _ := strings.Cut(string(data[:min(len(data), 100)]), "\n")
	switch word, _, _ := strings.Cut(strings.TrimSpace(first), " "); {
	case len(data) > maxFile:
		d.sayAt("file-size", 1, 1, maxFile)
		return nil
	case strings.HasPrefix(word, "#trivet/") || word == "#cloud-config":
		d.sayAt("wrong-file", 1, 1, word)
		return nil
	case !d.shapely(data):
		return nil
	}
	tree, err := parseTree(data)
	if err != nil {
		d.syntax(err)
		return nil
	}
	var root ast.Node
	for _, doc := range tree.Docs {
		switch {
		case doc.Body == nil:
		case root != nil:
			line, _ := position(doc.Body)
			d.sayAt("yaml", line, 1, "a second YAML document begins")
		default:
			root = doc.Body
		}
	}
	if root == nil {
		d.sayAt("empty", 1, 1)
	}
	return root
}

// parseTree turns a panic of the library into an error: its input comes from
// outside. Keys that are there twice are ours to find, all of them.
func parseTree(data []byte) (tree *ast.File, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = errors.New("this is not YAML that can be read")
		}
	}()
	return parser.ParseBytes(data, 0, parser.AllowDuplicateMapKey())
}

// syntax notes an error of the parser where it says that it is.
func (d *document) syntax(err error) {
	var placed interface {
		GetToken() *token.Token
		GetMessage() string
	}
	if !errors.As(err, &placed) || placed.GetToken() == nil || placed.GetToken().Position == nil || strings.Contains(placed.GetMessage(), "\n") {
		d.sayAt("yaml", 1, 1, "this is not YAML that can be read")
		return
	}
	p := placed.GetToken().Position
	d.sayAt("yaml", p.Line, p.Column, placed.GetMessage())
}

// position is where a value begins. A mapping's own token may be a colon.
func position(n ast.Node) (line, column int) {
	switch m := n.(type) {
	case *ast.MappingValueNode:
		return position(m.Key)
	case *ast.MappingNode:
		if len(m.Values) > 0 && !m.IsFlowStyle {
			return position(m.Values[0].Key)
		}
	}
	if t := n.GetToken(); t != nil && t.Position != nil {
		return t.Position.Line, t.Position.Column
	}
	return 1, 1
}

// decodeRoot fills the shape of the file.
func (d *document) decodeRoot(root ast.Node, f *cloudFile) {
	d.decode("", root, reflect.ValueOf(f).Elem())
}

// decode fills v from the node at path. What does not fit is noted; v keeps its
// zero there.
func (d *document) decode(path string, n ast.Node, v reflect.Value) {
	if d.values++; d.values > maxValues {
		if d.values == maxValues+1 {
			d.say("file-shape", path, fmt.Sprintf("the file has more than %d values", maxValues))
		}
		return
	}
	line, column := position(n)
	if _, known := d.at[path]; !known {
		d.at[path] = [2]int{line, column}
	}
	switch n.(type) {
	case *ast.AnchorNode, *ast.AliasNode, *ast.TagNode, *ast.MergeKeyNode:
		d.sayAt("alias", line, column)
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		d.decodeStruct(path, n, v)
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		d.eachPair(path, n, func(key, below string, value ast.Node) {
			elem := reflect.New(v.Type().Elem()).Elem()
			d.decode(below, value, elem)
			v.SetMapIndex(reflect.ValueOf(key), elem)
		})
	case reflect.Slice:
		list, ok := n.(*ast.SequenceNode)
		if !ok {
			d.say("type", path, "a list", "write lines that begin with a dash, or [a, b]")
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), len(list.Values), len(list.Values)))
		for i, value := range list.Values {
			d.decode(fmt.Sprintf("%s[%d]", path, i), value, v.Index(i))
		}
	case reflect.Pointer:
		elem := reflect.New(v.Type().Elem())
		if d.decodeNumber(path, n, elem.Elem()) {
			v.Set(elem)
		}
	default:
		d.decodeText(path, n, v)
	}
}

func (d *document) decodeStruct(path string, n ast.Node, v reflect.Value) {
	fields := map[string]reflect.Value{}
	var known []string
	for i := range v.NumField() {
		if name := v.Type().Field(i).Tag.Get("yaml"); name != "" {
			fields[name] = v.Field(i)
			known = append(known, name)
		}
	}
	if at := v.FieldByName("Line"); at.IsValid() && isMapping(n) {
		line, _ := position(n)
		at.SetInt(int64(line))
	}
	d.eachPair(path, n, func(key, below string, value ast.Node) {
		field, ok := fields[key]
		if !ok {
			d.say("unknown-key", below, key, didYouMean(key, known), strings.Join(known, ", "))
			return
		}
		d.decode(below, value, field)
	})
}

func isMapping(n ast.Node) bool {
	switch n.(type) {
	case *ast.MappingNode, *ast.MappingValueNode:
		return true
	}
	return false
}

// eachPair calls f for every key of a mapping, with the path of its value, which
// it places at the key.
func (d *document) eachPair(path string, n ast.Node, f func(key, below string, value ast.Node)) {
	var pairs []*ast.MappingValueNode
	switch m := n.(type) {
	case *ast.MappingNode:
		pairs = m.Values
	case *ast.MappingValueNode:
		pairs = []*ast.MappingValueNode{m}
	default:
		d.say("type", path, "a mapping", "write keys with a colon, and their values")
		return
	}
	first := map[string]int{}
	for _, pair := range pairs {
		line, column := position(pair.Key)
		switch pair.Key.(type) {
		case *ast.AnchorNode, *ast.AliasNode, *ast.TagNode, *ast.MergeKeyNode:
			d.sayAt("alias", line, column)
			continue
		}
		key, ok := pair.Key.(*ast.StringNode)
		if !ok || pair.Value == nil {
			d.sayAt("type", line, column, "a plain key with a value", "write the key as a word, in quotes if YAML takes it for something else")
			continue
		}
		if before, twice := first[key.Value]; twice {
			d.sayAt("duplicate-key", line, column, key.Value, before)
			continue
		}
		first[key.Value] = line
		below := key.Value
		if path != "" {
			below = path + "." + key.Value
		}
		d.at[below] = [2]int{line, column}
		if _, empty := pair.Value.(*ast.NullNode); empty {
			d.say("no-value", below)
			continue
		}
		f(key.Value, below, pair.Value)
	}
}

// decodeNumber reads whole numbers, and decimal ones such as 0.5. YAML's other
// ways to write them are refused rather than guessed at: 010 is 8 to some
// readers and 10 to others.
func (d *document) decodeNumber(path string, n ast.Node, v reflect.Value) bool {
	text := strings.TrimSpace(raw(n))
	octal := len(text) > 1 && text[0] == '0' && text[1] != '.'
	if v.Kind() == reflect.Float64 {
		number, err := strconv.ParseFloat(text, 64)
		if err != nil || octal || strings.ContainsAny(text, "eExXpP_") || math.IsInf(number, 0) || math.IsNaN(number) {
			d.say("type", path, "a number", "write it in plain decimal digits, such as 100 or 0.5")
			return false
		}
		v.SetFloat(number)
		return true
	}
	number, err := strconv.ParseInt(text, 10, 32)
	if _, ok := n.(*ast.IntegerNode); !ok || err != nil || octal || text[0] == '+' {
		d.say("type", path, "a whole number", "write it in plain decimal digits, without quotes")
		return false
	}
	v.SetInt(number)
	return true
}

// decodeText reads text. Only a scalar may be written as YAML's other kinds: it
// is handed on as it stands.
func (d *document) decodeText(path string, n ast.Node, v reflect.Value) {
	switch s := n.(type) {
	case *ast.StringNode:
		v.SetString(s.Value)
	case *ast.LiteralNode:
		v.SetString(s.Value.Value)
	case *ast.MappingNode, *ast.MappingValueNode, *ast.SequenceNode:
		d.say("type", path, "text", "write one value here")
	default:
		if text := raw(n); v.Type() == reflect.TypeFor[scalar]() && text != "" {
			v.SetString(text)
			return
		}
		d.say("type", path, "text, and YAML reads it as something else", "put it in quotes")
		return
	}
	if v.Type() != reflect.TypeFor[scalar]() && v.String() == "" && isText(n) {
		d.say("no-value", path)
	}
}

func isText(n ast.Node) bool {
	switch n.(type) {
	case *ast.StringNode, *ast.LiteralNode:
		return true
	}
	return false
}

// raw returns a number, true or false as it stands in the file.
func raw(n ast.Node) string {
	switch s := n.(type) {
	case *ast.IntegerNode:
		return s.Token.Value
	case *ast.FloatNode:
		return s.Token.Value
	case *ast.BoolNode:
		return s.Token.Value
	}
	return ""
}
