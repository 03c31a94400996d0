package node

import (
	"reflect"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// Values of the formats that others made are written in several ways: 100,
// "100" and [100] are the same to the programs that read them. These types take
// them all; what the text must be is checked afterwards.

// A word is a scalar as it stands in the file, without quotes. Empty: the key
// is not there.
type word string

// words are one scalar or a list of them.
type words []word

// A loose value is a scalar, a list of scalars or a mapping to scalars.
type loose struct {
	words words
	pairs map[string]word
}

// unused is the type of a key that is known and has no effect here.
type unused struct{}

// decodeLoose fills v if it is of one of the types above.
func (d *document) decodeLoose(path string, n ast.Node, v reflect.Value) bool {
	switch to := v.Addr().Interface().(type) {
	case *word:
		*to = d.word(path, n)
	case *words:
		*to = d.words(path, n)
	case *loose:
		switch n.(type) {
		case *ast.MappingNode, *ast.MappingValueNode:
			d.decode(path, n, reflect.ValueOf(&to.pairs).Elem())
		default:
			to.words = d.words(path, n)
		}
	case *addressFile:
		d.decodeAddress(path, n, to)
	case *unused:
		d.ignored = append(d.ignored, path)
	default:
		return false
	}
	return true
}

func (d *document) words(path string, n ast.Node) words {
	if _, list := n.(*ast.SequenceNode); !list {
		return words{d.word(path, n)}
	}
	var all []word
	d.decodeSlice(path, n, reflect.ValueOf(&all).Elem())
	return all
}

func (d *document) word(path string, n ast.Node) word {
	switch s := n.(type) {
	case *ast.StringNode:
		return word(s.Value)
	case *ast.LiteralNode:
		return word(s.Value.Value)
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		return word(strings.TrimSpace(n.GetToken().Value))
	}
	d.problem(path, "this must be one value, such as a word or a number")
	return ""
}

// truth reads the ways in which YAML 1.1, and so netplan and cloud-init, write
// yes and no.
func truth(w word) (value, ok bool) {
	switch strings.ToLower(string(w)) {
	case "true", "yes", "on", "y", "1":
		return true, true
	case "false", "no", "off", "n", "0":
		return false, true
	}
	return false, false
}
