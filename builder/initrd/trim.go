package initrd

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"sort"
	"strings"
)

// trim returns depmod's text files cut down to the modules of set, with plain
// .ko paths. modules.builtin is kept whole: what it names need not be loaded.
func trim(dir string, x index, set map[string]bool) (map[string][]byte, error) {
	out := map[string][]byte{"modules.dep": trimDep(x, set)}
	for _, f := range []struct {
		name string
		keep func(line string) bool
	}{
		{"modules.alias", func(l string) bool { _, name, err := cutAlias(l); return err == nil && set[normal(name)] }},
		{"modules.softdep", func(l string) bool { f := strings.Fields(l); return len(f) > 1 && set[normal(f[1])] }},
		{"modules.builtin", func(string) bool { return true }},
	} {
		raw, err := readFile(filepath.Join(dir, f.name), maxIndex)
		if errors.Is(err, fs.ErrNotExist) { // readIndex knows which must exist
			raw, err = nil, nil
		}
		var b bytes.Buffer
		if err == nil {
			err = eachLine(raw, func(line string) error {
				if f.keep(line) {
					b.WriteString(line + "\n")
				}
				return nil
			})
		}
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", f.name, err)
		}
		out[f.name] = b.Bytes()
	}
	return out, nil
}

func trimDep(x index, set map[string]bool) []byte {
	var lines []string
	for name := range set {
		line := plain(x.files[name]) + ":"
		for _, d := range x.deps[name] {
			if x.files[d] != "" {
				line += " " + plain(x.files[d])
			}
		}
		lines = append(lines, line+"\n")
	}
	sort.Strings(lines)
	return []byte(strings.Join(lines, ""))
}
