package boot

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// Limits of the files that depmod(8) writes. The largest of a full Debian kernel,
// modules.alias, has 1.5 MB and 25 000 lines.
const (
	maxModuleFile  = 64 << 20
	maxModuleLines = 500_000
	maxModuleWords = 4096 // on one line
)

// A ModuleIndex is what depmod(8) knows about the modules of one kernel.
// Module names are normalised: _ for -.
type ModuleIndex struct {
	Dir     string              // the folder that holds modules.dep
	Path    map[string]string   // module → its file below Dir
	Needs   map[string][]string // module → modules to load before it, in this order
	Soft    map[string]SoftDep
	Builtin map[string]bool
	aliases map[string][]alias // by the first aliasKey bytes of the pattern
}

// A SoftDep names what is loaded before and after a module if it is there; the
// names may be aliases.
type SoftDep struct{ Before, After []string }

type alias struct{ pattern, literal, module string }

// aliasKey is the number of bytes that aliases are grouped by: enough to tell
// buses apart.
const aliasKey = 4

// moduleName normalises a module's name or its file's.
func moduleName(s string) string {
	base := path.Base(s)
	if i := strings.Index(base, ".ko"); i > 0 {
		base = base[:i]
	}
	return strings.ReplaceAll(base, "-", "_")
}

// ReadModuleIndex reads modules.dep, .alias, .softdep and .builtin in dir. Only
// modules.dep must be there.
func ReadModuleIndex(dir string) (*ModuleIndex, error) {
	x := &ModuleIndex{Dir: dir}
	for _, f := range []struct {
		name  string
		parse func(string) error
		must  bool
	}{
		{"modules.dep", x.parseDep, true},
		{"modules.alias", x.parseAlias, false},
		{"modules.softdep", x.parseSoftDep, false},
		{"modules.builtin", x.parseBuiltin, false},
	} {
		text, err := readLimited(filepath.Join(dir, f.name), maxModuleFile)
		if errors.Is(err, fs.ErrNotExist) && !f.must {
			continue
		}
		if err != nil {
			return nil, err
		}
		if err := f.parse(string(text)); err != nil {
			return nil, fmt.Errorf("read %s: %w", filepath.Join(dir, f.name), err)
		}
	}
	return x, nil
}

// moduleLines calls take with the words of each line that has some; what take
// refuses is an error with its line.
func moduleLines(text string, take func(words []string) error) error {
	n := 0
	for line := range strings.Lines(text) {
		if n++; n > maxModuleLines {
			return fmt.Errorf("line %d: at most %d lines are read", n, maxModuleLines)
		}
		if strings.HasPrefix(line, "#") {
			continue
		}
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		if len(words) > maxModuleWords {
			return fmt.Errorf("line %d: %d words, at most %d are read", n, len(words), maxModuleWords)
		}
		if err := take(words); err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
	}
	return nil
}

// parseDep reads lines `FILE: FILE…`. depmod lists all that a module needs, the
// last to be loaded first.
func (x *ModuleIndex) parseDep(text string) error {
	x.Path, x.Needs = map[string]string{}, map[string][]string{}
	return moduleLines(text, func(words []string) error {
		file, ok := strings.CutSuffix(words[0], ":")
		if !ok {
			return fmt.Errorf("%.80q: want FILE: FILE…", words[0])
		}
		for _, f := range append([]string{file}, words[1:]...) {
			if !filepath.IsLocal(f) || !strings.Contains(path.Base(f), ".ko") {
				return fmt.Errorf("%.80q is not the path of a module", f)
			}
		}
		name := moduleName(file)
		x.Path[name] = file
		for _, f := range slices.Backward(words[1:]) {
			x.Needs[name] = append(x.Needs[name], moduleName(f))
		}
		return nil
	})
}

// parseAlias reads lines `alias PATTERN MODULE`.
func (x *ModuleIndex) parseAlias(text string) error {
	x.aliases = map[string][]alias{}
	return moduleLines(text, func(words []string) error {
		last := len(words) - 1
		if last < 2 || words[0] != "alias" {
			return fmt.Errorf("%.80q: want alias PATTERN MODULE", strings.Join(words, " "))
		}
		// A pattern may hold spaces: DMI's has the vendor's name in it.
		pattern := strings.Join(words[1:last], " ")
		a := alias{pattern: pattern, literal: literal(pattern), module: moduleName(words[last])}
		key := ""
		if len(a.literal) >= aliasKey {
			key = a.literal[:aliasKey]
		}
		x.aliases[key] = append(x.aliases[key], a)
		return nil
	})
}

// parseSoftDep reads lines `softdep MODULE pre: NAME… post: NAME…`.
func (x *ModuleIndex) parseSoftDep(text string) error {
	x.Soft = map[string]SoftDep{}
	return moduleLines(text, func(words []string) error {
		if len(words) < 2 || words[0] != "softdep" {
			return fmt.Errorf("%.80q: want softdep MODULE …", strings.Join(words, " "))
		}
		name := moduleName(words[1])
		s := x.Soft[name]
		var list *[]string
		for _, w := range words[2:] {
			switch {
			case w == "pre:":
				list = &s.Before
			case w == "post:":
				list = &s.After
			case list != nil: // cifs has names without either; kmod passes over them too
				*list = append(*list, w)
			}
		}
		x.Soft[name] = s
		return nil
	})
}

// parseBuiltin reads lines of one path each.
func (x *ModuleIndex) parseBuiltin(text string) error {
	x.Builtin = map[string]bool{}
	return moduleLines(text, func(words []string) error {
		x.Builtin[moduleName(words[0])] = true
		return nil
	})
}

// Match returns the modules whose alias matches a modalias, each once, in the
// order of the file.
func (x *ModuleIndex) Match(modalias string) []string {
	var names []string
	take := func(list []alias) {
		for _, a := range list {
			if strings.HasPrefix(modalias, a.literal) && match(a.pattern, modalias) && !slices.Contains(names, a.module) {
				names = append(names, a.module)
			}
		}
	}
	if len(modalias) >= aliasKey {
		take(x.aliases[modalias[:aliasKey]])
	}
	take(x.aliases[""])
	return names
}

// readLimited reads a file of at most limit bytes.
func readLimited(name string, limit int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(text)) > limit {
		return nil, fmt.Errorf("read %s: it has more than %d bytes", name, limit)
	}
	return text, nil
}
