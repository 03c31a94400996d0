package node

import (
	"fmt"
	"reflect"

	"github.com/goccy/go-yaml/ast"
)

// An addressFile is one of netplan's addresses: text, or text as the key of its
// options.
type addressFile struct {
	address word
	options addressOptions
	at      string
}

type addressOptions struct {
	Lifetime word   `yaml:"lifetime"`
	Label    unused `yaml:"label"`
}

// decodeAddress fills one.
func (d *document) decodeAddress(path string, n ast.Node, to *addressFile) {
	to.at = path
	switch n.(type) {
	case *ast.MappingNode, *ast.MappingValueNode:
		d.eachPair(path, n, func(key, below string, value ast.Node) {
			if to.address != "" {
				d.problem(below, "this is a second address in one entry; begin another line with a dash")
				return
			}
			to.address, to.at = word(key), below
			d.decode(below, value, reflect.ValueOf(&to.options).Elem())
		})
	default:
		to.address = d.word(path, n)
	}
}

func (c *networkChecker) addresses(key string, l *Link, files []addressFile) {
	for i, f := range files {
		at := fmt.Sprintf("%s[%d]", key, i)
		p := c.withNetwork(at, f.address, "", "")
		if !p.IsValid() {
			continue
		}
		l.Addresses = append(l.Addresses, p)
		switch f.options.Lifetime {
		case "", "forever":
		case "0":
			l.Deprecated = append(l.Deprecated, p)
		default:
			c.fail(at, "the lifetime of an address is forever or 0")
		}
	}
}
