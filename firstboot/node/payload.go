package node

import (
	"bytes"
	"fmt"
	"reflect"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// First lines of user-data beside Header, as cloud-init has them.
const (
	CloudConfig = "#cloud-config"
	mimePart    = "text/x-trivet" // the type of a part of a MIME message that is a description
)

// accepted says what user-data may be, for errors.
const accepted = "give a file whose first line is " + Header + ", a " + CloudConfig + " with a key trivet:, or a MIME message with a part " + mimePart

// A payload is user-data, taken apart.
type payload struct {
	file    string
	parts   []part
	ignored []string
}

// A part is one YAML file of a payload.
type part struct {
	file string // for errors
	form string // Header or CloudConfig
	data []byte
	pad  int // empty lines that were put before it, so that lines count as in the whole file
}

// split reads the first line, which says what the file is.
func split(file string, data []byte) (payload, error) {
	if len(data) > MaxDescription {
		return payload{}, Problems{{file, 0, 0, fmt.Sprintf("the file has %d bytes, more than %d", len(data), MaxDescription)}}
	}
	text := bytes.TrimPrefix(data, []byte("\ufeff"))
	if isMIME(text) {
		return splitMIME(file, text)
	}
	form, wrong := formOf(text)
	if wrong != "" {
		return payload{}, Problems{{file, 1, 1, wrong}}
	}
	return payload{file: file, parts: []part{{file: file, form: form, data: text}}}, nil
}

// formOf reads the first line of a file that is no MIME message, or says why it
// is refused.
func formOf(data []byte) (form, wrong string) {
	first, _, _ := bytes.Cut(data, []byte("\n"))
	line := strings.TrimSpace(string(first))
	word, _, _ := strings.Cut(line, " ")
	switch {
	case word == Header || word == CloudConfig:
		return word, ""
	case len(bytes.TrimSpace(data)) == 0:
		return "", "the file is empty; its first line must be " + Header + ", and a description follows"
	case strings.HasPrefix(word, "#trivet/"):
		return "", "this image reads " + Header + "; the first line names another version"
	case bytes.HasPrefix(data, []byte{0x1f, 0x8b}):
		return "", "the file is compressed; give it as plain text"
	case strings.HasPrefix(line, "#!"):
		return "", "scripts are not run; " + accepted
	case word == "#include" || word == "#include-once":
		return "", "other files are not fetched; " + accepted
	case strings.HasPrefix(line, "## template:"):
		return "", "templates are not filled in; " + accepted
	}
	return "", "the first line must be " + Header + ", or " + CloudConfig + " with a key trivet:; " + accepted
}

// honoured is what counts of a #cloud-config beside its key trivet.
type honoured struct {
	hostname, fqdn string
	keys           []string // for root
	ntp            []string
	ignored        []string
}

// read decodes the parts. It returns the document with the description, and
// where in it that is.
func (p payload) read(f *descriptionFile, around *honoured) (*document, string, error) {
	var found *document
	var prefix string
	var others Problems
	around.ignored = p.ignored
	for _, one := range p.parts {
		doc, err := parseYAML(one.file, one.data, MaxDescription+one.pad)
		if err != nil {
			return nil, "", err
		}
		has, at, err := doc.description(one, f, around, found != nil)
		if err != nil {
			return nil, "", err
		}
		switch {
		case has && found != nil:
			return nil, "", Problems{{one.file, one.pad + 1, 1, "this is a second description of a node; keep one"}}
		case has:
			found, prefix = doc, at
		default:
			others = append(others, doc.problems...)
		}
	}
	if found == nil {
		others = append(others, Problem{p.file, 1, 1, "nothing says what this node is; " + accepted})
		return nil, "", others.asError()
	}
	found.problems = append(found.problems, others...)
	return found, prefix, nil
}

// description decodes one part, and answers whether it describes the node. If
// one did already, it only looks.
func (d *document) description(p part, f *descriptionFile, around *honoured, only bool) (has bool, prefix string, err error) {
	switch {
	case d.body == nil && p.form == CloudConfig:
		return false, "", nil
	case d.body == nil:
		return false, "", Problems{{p.file, p.pad + 1, 1, "the description is empty; give at least cluster, name, role, vip, address and controllers"}}
	case !d.isMapping():
		line, column := position(d.body)
		return false, "", Problems{{p.file, line, column, "this must be a mapping: keys with a colon and their values"}}
	case p.form == Header:
		if !only {
			d.decode("", d.body, reflect.ValueOf(f).Elem())
		}
		return true, "", nil
	}
	d.nulls = true // cloud-init takes a key without a value for one that is not there
	d.eachPair("", d.body, func(key, below string, value ast.Node) {
		if key != "trivet" {
			d.honour(key, below, value, around)
			return
		}
		if has = true; !only {
			d.nulls = false
			d.decode(below, value, reflect.ValueOf(f).Elem())
			d.nulls = true
		}
	})
	return has, "trivet", nil
}

// honour reads a key of cloud-init's.
func (d *document) honour(key, path string, value ast.Node, around *honoured) {
	text := func(to any) { d.decode(path, value, reflect.ValueOf(to).Elem()) }
	switch key {
	case "hostname":
		text(&around.hostname)
	case "fqdn":
		text(&around.fqdn)
	case "ssh_authorized_keys", "ssh-authorized-keys":
		var keys []string
		text(&keys)
		around.keys = append(around.keys, keys...)
	case "users":
		d.users(path, value, around)
	case "ntp":
		d.timeServers(path, value, around)
	default:
		around.ignored = append(around.ignored, key)
	}
}

// users takes the keys of root, the one user of a node that people have.
func (d *document) users(path string, value ast.Node, around *honoured) {
	list, ok := value.(*ast.SequenceNode)
	simple := ok
	if ok {
		for i, entry := range list.Values {
			keys, all := d.user(fmt.Sprintf("%s[%d]", path, i), entry)
			around.keys = append(around.keys, keys...)
			simple = simple && all
		}
	}
	if !simple {
		around.ignored = append(around.ignored, "users")
	}
}

// user returns the keys of an entry if it is root's, and whether that is all
// that the entry says.
func (d *document) user(path string, entry ast.Node) (keys []string, all bool) {
	switch entry.(type) {
	case *ast.MappingNode, *ast.MappingValueNode:
	default:
		return nil, false
	}
	all = true
	name := ""
	d.eachPair(path, entry, func(key, below string, value ast.Node) {
		switch key {
		case "name":
			d.decode(below, value, reflect.ValueOf(&name).Elem())
		case "ssh_authorized_keys", "ssh-authorized-keys":
			d.decode(below, value, reflect.ValueOf(&keys).Elem())
		default:
			all = false
		}
	})
	if name != "root" {
		return nil, false
	}
	return keys, all
}

// timeServers reads cloud-init's module ntp: its servers and pools.
func (d *document) timeServers(path string, value ast.Node, around *honoured) {
	on := true
	var servers []string
	d.eachPair(path, value, func(key, below string, value ast.Node) {
		switch key {
		case "servers", "pools":
			var names []string
			d.decode(below, value, reflect.ValueOf(&names).Elem())
			servers = append(servers, names...)
		case "enabled":
			d.decode(below, value, reflect.ValueOf(&on).Elem())
		default:
			around.ignored = append(around.ignored, "ntp."+key)
		}
	})
	if on {
		around.ntp = append(around.ntp, servers...)
	}
}
