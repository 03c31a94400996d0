package rootfs

import (
	"fmt"
	"strings"
)

// A diversion moves a path of all packages but one elsewhere (dpkg-divert(1)).
type diversion struct {
	to  string // relative
	pkg string // the package that keeps the path; ":" is none
}

// diversions are by the relative path that they divert.
type diversions map[string]diversion

const diversionsPath = "var/lib/dpkg/diversions"

// readDiversions reads dpkg's diversions file: three lines each, the path, the
// path to use instead, the package.
func readDiversions(v *view) (diversions, error) {
	text, err := v.read(diversionsPath)
	if err != nil {
		return nil, fmt.Errorf("read dpkg's diversions: %w", err)
	}
	return parseDiversions(text)
}

func parseDiversions(text []byte) (diversions, error) {
	d := diversions{}
	if len(text) == 0 {
		return d, nil
	}
	lines := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	if len(lines)%3 != 0 {
		return nil, fmt.Errorf("read dpkg's diversions: %d lines are no multiple of 3", len(lines))
	}
	for i := 0; i < len(lines); i += 3 {
		from, okFrom := strings.CutPrefix(lines[i], "/")
		to, okTo := strings.CutPrefix(lines[i+1], "/")
		if !okFrom || !okTo {
			return nil, fmt.Errorf("read dpkg's diversions: line %d: %q to %q are not absolute", i+1, lines[i], lines[i+1])
		}
		if _, err := cleanName(to); err != nil {
			return nil, fmt.Errorf("read dpkg's diversions: line %d: %w", i+2, err)
		}
		d[from] = diversion{to: to, pkg: lines[i+2]}
	}
	return d, nil
}

// of returns where the package puts the relative path.
func (d diversions) of(name, pkg string) string {
	if v, ok := d[name]; ok && v.pkg != pkg {
		return v.to
	}
	return name
}
