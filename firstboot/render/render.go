// Package render makes a node's configuration: every *.tmpl below /etc becomes
// the file beside it without that ending, from the node's description.
//
// A template is Go's text/template. It sees a Data and four functions:
//
//	{{options "keystone"}} the lines of `config:` for a service; the end of its file
//	{{quote S}}            S in double quotes, quotes and backslashes escaped
//	{{secret "x/y"}}       a secret that a service of the role declares
//	{{members "controller"}}  the nodes of that role, each with .Name and .Address
//
// All templates are executed before the first file is written; one missing
// value fails them all. A rendered file belongs to root and is 0600; a line of
// tmpfiles.d(5) in the same overlay opens it to its service.
package render

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/template"

	"trivet/firstboot/host"
	"trivet/firstboot/node"
)

// Suffix ends the name of a template.
const Suffix = ".tmpl"

// maxOutput bounds one rendered file, in bytes.
const maxOutput = 4 << 20

// Files renders every template below root/etc into the same path below to, and
// returns the paths of the files that it wrote, without to. On a node, both are
// "/". The declared secrets are those that the role's services name.
func Files(root, to string, data Data, declared []string) ([]string, error) {
	templates, err := find(root)
	if err != nil {
		return nil, fmt.Errorf("find templates: %w", err)
	}
	outputs := make([][]byte, len(templates))
	var failed []error
	for i, path := range templates {
		if outputs[i], err = execute(root, path, data, declared); err != nil {
			failed = append(failed, err)
		}
	}
	if len(failed) > 0 {
		return nil, errors.Join(failed...)
	}
	var written []string
	for i, path := range templates {
		name := strings.TrimSuffix(path, Suffix)
		if err := host.WriteFile(filepath.Join(to, name), outputs[i], 0o600, -1, -1); err != nil {
			return written, fmt.Errorf("render %s: %w", path, err)
		}
		written = append(written, name)
	}
	return written, nil
}

// find lists the templates below root/etc, sorted, as paths of the node.
func find(root string) ([]string, error) {
	var found []string
	err := filepath.WalkDir(filepath.Join(root, "etc"), func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.Type().IsRegular() && strings.HasSuffix(path, Suffix) {
			rel, err := filepath.Rel(root, path)
			if err != nil {
				return err
			}
			found = append(found, "/"+rel)
		}
		return nil
	})
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	slices.Sort(found)
	return found, err
}

func execute(root, path string, data Data, declared []string) ([]byte, error) {
	text, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		return nil, fmt.Errorf("render %s: %w", path, err)
	}
	t, err := template.New(path).Option("missingkey=error").Funcs(functions(data, declared)).Parse(string(text))
	if err != nil {
		return nil, fmt.Errorf("render: %w", err) // names path and line
	}
	var out bytes.Buffer
	if err := t.Execute(&limited{w: &out, left: maxOutput}, data); err != nil {
		return nil, fmt.Errorf("render: %w", err)
	}
	return out.Bytes(), nil
}

func functions(data Data, declared []string) template.FuncMap {
	return template.FuncMap{
		"options": data.options,
		"quote":   quote,
		"secret": func(name string) (string, error) {
			if !slices.Contains(declared, name) {
				return "", fmt.Errorf("no service of the role declares the secret %s; add it to `secrets` of its roles/services file", name)
			}
			s, ok := data.Secrets[name]
			if !ok {
				return "", fmt.Errorf("the description has no secret %s; add it below `secrets:`", name)
			}
			return s.Reveal(), nil
		},
		"members": func(role string) ([]node.Member, error) {
			m := data.Members(role)
			if len(m) == 0 {
				return nil, fmt.Errorf("the description lists no nodes of the role %q", role)
			}
			return m, nil
		},
	}
}

// quote puts a value in double quotes.
func quote(v any) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(fmt.Sprint(v)) + `"`
}

// limited fails a template that writes without end.
type limited struct {
	w    *bytes.Buffer
	left int
}

func (l *limited) Write(p []byte) (int, error) {
	if l.left -= len(p); l.left < 0 {
		return 0, fmt.Errorf("the file becomes longer than %d bytes", maxOutput)
	}
	return l.w.Write(p)
}
