package render

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"trivet/firstboot/node"
	"trivet/roles"
)

// optionsCall finds the services whose options a template takes.
var optionsCall = regexp.MustCompile(`\{\{-?\s*options\s+"([a-z][a-z0-9-]*)"\s*-?\}\}`)

// options writes the lines that `config:` of the description has for a service,
// as an end to its file of sections: sections and options sorted, each section
// once more, after all of the template's. It is for files whose readers join
// sections of one name and take the last value of an option, as oslo.config and
// MariaDB do; those of Swift and Paste refuse a section that is there twice. An
// option that may have many values (oslo.config's MultiOpt) gets one more.
// Without options it writes nothing, and never the last line break, so that
// {{- options "keystone"}} leaves no trace in most files.
func (d Data) options(service string) string {
	sections := d.Extra[service]
	if len(sections) == 0 {
		return ""
	}
	var b strings.Builder
	b.WriteString("\n\n# From config: of the description; the last value of an option counts.")
	for _, section := range slices.Sorted(maps.Keys(sections)) {
		fmt.Fprintf(&b, "\n[%s]", section)
		for _, option := range slices.Sorted(maps.Keys(sections[section])) {
			fmt.Fprintf(&b, "\n%s = %s", option, sections[section][option])
		}
	}
	return b.String()
}

// Takers returns the services whose `config:` some template below root/etc
// takes, sorted.
func Takers(root string) ([]string, error) {
	templates, err := find(root)
	if err != nil {
		return nil, fmt.Errorf("find templates: %w", err)
	}
	var takers []string
	for _, path := range templates {
		text, err := os.ReadFile(filepath.Join(root, path))
		if err != nil {
			return nil, fmt.Errorf("look for options in %s: %w", path, err)
		}
		for _, m := range optionsCall.FindAllStringSubmatch(string(text), -1) {
			takers = append(takers, m[1])
		}
	}
	slices.Sort(takers)
	return slices.Compact(takers), nil
}

// Unheard returns what `config:` says that no file of this image takes, by
// service, sorted. Services of other roles are not this node's: a description
// tells all nodes the same.
func Unheard(root string, c node.Config, role roles.Role) ([]string, error) {
	takers, err := Takers(root)
	if err != nil {
		return nil, err
	}
	var unheard []string
	for _, service := range slices.Sorted(maps.Keys(c.Extra)) {
		if _, here := role.Service(service); here && !slices.Contains(takers, service) {
			unheard = append(unheard, "config of "+service+": no file of this image takes it")
		}
	}
	return unheard, nil
}
