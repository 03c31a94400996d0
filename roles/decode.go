package roles

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// Limits on one file. They are far above what a role needs and keep the YAML
// parser, which recurses, from a file made to exhaust it.
const (
	maxFile   = 64 << 10 // bytes
	maxNest   = 16       // brackets within brackets
	maxIndent = 64       // columns before the first word of a line
)

// roleFile and serviceFile are the shapes of the two kinds of files.
type roleFile struct {
	About    string   `yaml:"about"`
	Services []string `yaml:"services"`
	Packages []string `yaml:"packages"`
	Start    []string `yaml:"start"`
	Disk     diskFile `yaml:"disk"`
}

type diskFile struct {
	ESP         string `yaml:"esp"`
	Root        string `yaml:"root"`
	Verity      string `yaml:"verity"`
	RootReserve string `yaml:"root_reserve"`
}

type serviceFile struct {
	About    string      `yaml:"about"`
	Packages []string    `yaml:"packages"`
	Units    []string    `yaml:"units"`
	After    []string    `yaml:"after"`
	Secrets  []string    `yaml:"secrets"`
	Boot     bool        `yaml:"boot"`
	Ports    []portFile  `yaml:"ports"`
	Health   []checkFile `yaml:"health"`
	Join     string      `yaml:"join"`
}

type portFile struct {
	Name   string `yaml:"name"`
	Number int    `yaml:"number"`
	Proto  string `yaml:"proto"`
	VIP    string `yaml:"vip"`
	Public bool   `yaml:"public"`

	From    string `yaml:"from"`
	Balance string `yaml:"balance"`
	Timeout string `yaml:"timeout"`
	Sticky  string `yaml:"sticky"`
}

type checkFile struct {
	Unit string   `yaml:"unit"`
	HTTP string   `yaml:"http"`
	TCP  string   `yaml:"tcp"`
	Run  []string `yaml:"run"`
}

// decode reads the one YAML document of data into shape, strictly, and returns
// the places of its values for later errors.
func decode(file string, data []byte, shape any) (places, error) {
	at := places{file: file, line: map[string][2]int{}}
	if err := checkDepth(file, data); err != nil {
		return at, err
	}
	tree, err := parser.ParseBytes(data, 0)
	if err != nil {
		return at, yamlError(file, err, nil)
	}
	switch {
	case len(tree.Docs) > 1 && tree.Docs[1].Body != nil:
		return at, fmt.Errorf("%s: more than one YAML document; keep one", file)
	case len(tree.Docs) == 0 || tree.Docs[0].Body == nil:
		return at, fmt.Errorf("%s:1:1: the file is empty", file)
	}
	if err := at.walk("", tree.Docs[0].Body); err != nil {
		return at, err
	}
	err = yaml.NewDecoder(bytes.NewReader(data), yaml.Strict()).Decode(shape)
	if err != nil && !errors.Is(err, io.EOF) {
		return at, yamlError(file, err, keys(reflect.TypeOf(shape).Elem()))
	}
	return at, nil
}

// checkDepth refuses nesting that no role needs, before the parser sees it.
func checkDepth(file string, data []byte) error {
	if len(data) > maxFile {
		return fmt.Errorf("%s: %d bytes, more than %d", file, len(data), maxFile)
	}
	line, depth := 0, 0
	for text := range bytes.Lines(data) {
		line++
		if indent := len(text) - len(bytes.TrimLeft(text, " \t-?:")); indent > maxIndent {
			return fmt.Errorf("%s:%d:%d: indented by more than %d columns", file, line, indent+1, maxIndent)
		}
		for column, c := range text {
			switch c {
			case '[', '{':
				depth++
			case ']', '}':
				depth--
			}
			if depth > maxNest {
				return fmt.Errorf("%s:%d:%d: more than %d brackets within brackets", file, line, column+1, maxNest)
			}
		}
	}
	return nil
}

// places knows where in a file each value stands, by a path such as
// ports[0].number.
type places struct {
	file string
	line map[string][2]int // line and column, from 1
}

// walk notes the places below node and refuses what role files do without.
func (p places) walk(path string, node ast.Node) error {
	p.note(path, first(node).GetToken())
	switch n := node.(type) {
	case *ast.AnchorNode, *ast.AliasNode, *ast.TagNode, *ast.MergeKeyNode:
		return p.errorf(path, "anchors, aliases, merges and tags have no place here; write the value out")
	case *ast.MappingValueNode:
		return p.walkValue(path, n)
	case *ast.MappingNode:
		for _, v := range n.Values {
			if err := p.walkValue(path, v); err != nil {
				return err
			}
		}
	case *ast.SequenceNode:
		for i, v := range n.Values {
			if err := p.walk(fmt.Sprintf("%s[%d]", path, i), v); err != nil {
				return err
			}
		}
	}
	return nil
}

func (p places) walkValue(path string, n *ast.MappingValueNode) error {
	if n.Key.IsMergeKey() {
		return p.walk(path, &ast.MergeKeyNode{Token: n.Key.GetToken()})
	}
	key := n.Key.GetToken().Value
	if path != "" {
		key = path + "." + key
	}
	if n.Value == nil {
		return nil
	}
	return p.walk(key, n.Value)
}

// first returns the node whose token begins node: of a mapping without braces
// that is its first key.
func first(node ast.Node) ast.Node {
	switch n := node.(type) {
	case *ast.MappingValueNode:
		return n.Key
	case *ast.MappingNode:
		if !n.IsFlowStyle && len(n.Values) > 0 {
			return n.Values[0].Key
		}
	}
	return node
}

func (p places) note(path string, t *token.Token) {
	if t != nil && t.Position != nil {
		p.line[path] = [2]int{t.Position.Line, t.Position.Column}
	}
}

// errorf makes the error of the value at path, or of the nearest value around
// it that the file has.
func (p places) errorf(path, format string, args ...any) error {
	for {
		if at, ok := p.line[path]; ok {
			return fmt.Errorf("%s:%d:%d: %s", p.file, at[0], at[1], fmt.Sprintf(format, args...))
		}
		cut := strings.LastIndexAny(path, ".[")
		if cut < 0 {
			return fmt.Errorf("%s:1:1: %s", p.file, fmt.Sprintf(format, args...))
		}
		path = path[:cut]
	}
}

// yamlError gives an error of the YAML library the form file:line:col: message.
func yamlError(file string, err error, known []string) error {
	var unknown *yaml.UnknownFieldError
	if errors.As(err, &unknown) && unknown.Token != nil {
		at, key := unknown.Token.Position, unknown.Token.Value
		return fmt.Errorf("%s:%d:%d: unknown key %q%s", file, at.Line, at.Column, key, didYouMean(key, known))
	}
	var e yaml.Error
	if errors.As(err, &e) && e.GetToken() != nil && e.GetToken().Position != nil {
		at := e.GetToken().Position
		return fmt.Errorf("%s:%d:%d: %s", file, at.Line, at.Column, e.GetMessage())
	}
	return fmt.Errorf("%s: %w", file, err)
}

// keys lists the YAML keys of a struct type and of those inside it.
func keys(t reflect.Type) []string {
	for t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct {
		return nil
	}
	var all []string
	for i := range t.NumField() {
		all = append(all, t.Field(i).Tag.Get("yaml"))
		all = append(all, keys(t.Field(i).Type)...)
	}
	return all
}
