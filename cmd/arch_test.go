// Package cmd holds the commands, one folder each, and the rules of the house:
// the tests here read the source of the whole repository.
package cmd

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"trivet/firstboot/join"
	"trivet/roles"
)

const (
	module          = "trivet"
	maxFunctionSize = 60 // lines
)

// A source is one Go file of the repository.
type source struct {
	path string // below the repository, with slashes
	dir  string // of its package
	test bool
	file *ast.File
}

// sources parses every Go file of the repository.
func sources(t *testing.T) (*token.FileSet, []source) {
	t.Helper()
	set := token.NewFileSet()
	var all []source
	err := filepath.WalkDir("..", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && skipped(p, d.Name()) {
			return fs.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(p, ".go") {
			return nil
		}
		f, err := parser.ParseFile(set, p, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		rel := strings.TrimPrefix(filepath.ToSlash(p), "../")
		all = append(all, source{rel, path.Dir(rel), strings.HasSuffix(rel, "_test.go"), f})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 20 {
		t.Fatalf("only %d Go files found from here; is this the repository?", len(all))
	}
	return set, all
}

// skipped answers whether a folder holds no source of ours: hidden ones, what
// the build writes, and test data.
func skipped(p, name string) bool {
	return p != ".." && (strings.HasPrefix(name, ".") || name == "testdata" || name == "bin" || name == "out")
}

// imports lists what a file imports.
func (s source) imports() []string {
	var paths []string
	for _, i := range s.file.Imports {
		if p, err := strconv.Unquote(i.Path.Value); err == nil {
			paths = append(paths, p)
		}
	}
	return paths
}

// ours returns the folder of an import of ours, such as builder/apt.
func ours(importPath string) (string, bool) {
	return strings.CutPrefix(importPath, module+"/")
}

// forbidden says why a package may not import another of ours, or nothing.
func forbidden(from, to string) string {
	half := func(dir string) string { h, _, _ := strings.Cut(dir, "/"); return h }
	switch {
	case from == to:
		return ""
	case from == "roles" || from == "firstboot/node":
		return from + " imports nothing of ours, so that all may import it"
	case half(from) == "builder" && half(to) == "firstboot", half(from) == "firstboot" && half(to) == "builder":
		return "builder and firstboot talk through files only"
	case half(to) == "cmd":
		return "nothing imports a command"
	case half(to) == "qemu-tests" && half(from) != "qemu-tests":
		return "nothing but the tests imports the tests"
	case stage(from) && stage(to):
		return "a stage does not import a stage; only the recipe " + half(from) + " knows their order"
	case from == "builder/host" || from == "firstboot/host":
		if half(to) == half(from) {
			return from + " is below the stages"
		}
	}
	return ""
}

// stage answers whether a package is one step of a recipe. The host packages,
// node and bundle are what the steps stand on; enroll is a recipe of its own.
func stage(dir string) bool {
	half, name, ok := strings.Cut(dir, "/")
	if !ok || half != "builder" && half != "firstboot" {
		return false
	}
	return name != "host" && dir != "firstboot/node" && dir != "firstboot/bundle" && dir != "firstboot/enroll"
}

func TestRulesOfImports(t *testing.T) {
	_, all := sources(t)
	for _, s := range all {
		for _, p := range s.imports() {
			to, ok := ours(p)
			if !ok {
				continue
			}
			if why := forbidden(s.dir, to); why != "" {
				t.Errorf("%s imports %s: %s", s.path, p, why)
			}
		}
	}
}

// TestRulesCanFail shows that the rules forbid what they should.
func TestRulesCanFail(t *testing.T) {
	for _, c := range []struct {
		from, to string
		ok       bool
	}{
		{"roles", "builder", false},
		{"firstboot/node", "roles", false},
		{"builder/apt", "firstboot/node", false},
		{"firstboot/join", "builder/host", false},
		{"builder/apt", "builder/rootfs", false},
		{"firstboot/join", "firstboot/render", false},
		{"builder/host", "builder/apt", false},
		{"builder/apt", "cmd/trivet", false},
		{"firstboot", "qemu-tests/cluster", false},
		{"builder", "builder/apt", true},
		{"builder/apt", "builder/host", true},
		{"builder/apt", "roles", true},
		{"firstboot/join", "firstboot/node", true},
		{"firstboot/join", "roles", true},
		{"qemu-tests", "firstboot/status", true},
		{"cmd/trivet", "builder", true},
	} {
		if got := forbidden(c.from, c.to) == ""; got != c.ok {
			t.Errorf("%s → %s: allowed %v, want %v", c.from, c.to, got, c.ok)
		}
	}
}

// TestRulesOfPrograms keeps os/exec and its like to the host packages, which
// bound and report what they run. Tests may run oracles.
func TestRulesOfPrograms(t *testing.T) {
	_, all := sources(t)
	for _, s := range all {
		if s.test || s.dir == "builder/host" || s.dir == "firstboot/host" || strings.HasPrefix(s.dir, "qemu-tests") {
			continue
		}
		if slices.Contains(s.imports(), "os/exec") {
			t.Errorf("%s imports os/exec; programs are run by builder/host and firstboot/host only", s.path)
		}
	}
}

func TestRulesOfPackages(t *testing.T) {
	_, all := sources(t)
	comment := map[string]bool{}
	for _, s := range all {
		comment[s.dir] = comment[s.dir] || s.file.Doc != nil
		if slices.Contains([]string{"util", "utils", "common", "helper", "helpers", "misc", "types", "base"}, strings.TrimSuffix(s.file.Name.Name, "_test")) {
			t.Errorf("%s: package %s says nothing; name what it holds", s.path, s.file.Name.Name)
		}
	}
	for dir, has := range comment {
		if !has {
			t.Errorf("package %s has no package comment", dir)
		}
	}
}

func TestRulesOfFunctions(t *testing.T) {
	set, all := sources(t)
	for _, s := range all {
		for _, d := range s.file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			if f.Recv == nil && f.Name.Name == "init" {
				t.Errorf("%s has an init function; call what it does by name", s.path)
			}
			lines := set.Position(f.End()).Line - set.Position(f.Pos()).Line + 1
			if lines > maxFunctionSize && !s.test {
				t.Errorf("%s: %s has %d lines, more than %d", s.path, f.Name.Name, lines, maxFunctionSize)
			}
		}
	}
}

// TestRulesOfNames shows that nothing in the repository names a package archive:
// the mirror is the host's own or given.
func TestRulesOfNames(t *testing.T) {
	var hosts []string
	for _, name := range []string{"deb", "ftp", "security", "snapshot", "archive"} {
		// Put together here, so that this file does not hold them.
		hosts = append(hosts, name+"."+"debian"+".org")
	}
	err := filepath.WalkDir("..", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && p != ".." && (d.Name() == ".git" || d.Name() == "bin" || d.Name() == "out") {
			return fs.SkipDir
		}
		info, err := d.Info()
		if err != nil || !info.Mode().IsRegular() || info.Size() > 1<<20 {
			return err
		}
		data, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		for _, host := range hosts {
			if strings.Contains(string(data), host) {
				t.Errorf("%s names %s", p, host)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestRulesOfJoins shows that each join key names a step and each step is named.
func TestRulesOfJoins(t *testing.T) {
	all, err := roles.LoadAll("../roles")
	if err != nil {
		t.Fatal(err)
	}
	named := map[string]string{}
	for _, r := range all {
		for _, s := range r.Services {
			if s.Join != "" {
				named[s.Join] = fmt.Sprintf("roles/services/%s.yaml", s.Name)
			}
		}
	}
	steps := map[string]bool{}
	for _, s := range join.All() {
		if steps[s.Name] {
			t.Errorf("firstboot/join has two steps %q", s.Name)
		}
		steps[s.Name] = true
		if named[s.Name] == "" {
			t.Errorf("firstboot/join has a step %q that no service names", s.Name)
		}
	}
	for name, file := range named {
		if !steps[name] {
			t.Errorf("%s names the step %q, which is not in All of firstboot/join", file, name)
		}
	}
}
