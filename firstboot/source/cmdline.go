package source

import (
	"fmt"
	"os"
	"slices"
	"strings"
)

// maxCommandLine is more than any kernel keeps, in bytes.
const maxCommandLine = 64 << 10

// words are those of the kernel command line, without the quotes.
type words []string

func readCommandLine(env Env) (words, error) {
	data, err := os.ReadFile(env.path("/proc/cmdline"))
	switch {
	case os.IsNotExist(err):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("read the kernel command line: %w", err)
	case len(data) > maxCommandLine:
		return nil, fmt.Errorf("the kernel command line has more than %d bytes", maxCommandLine)
	}
	return splitWords(string(data)), nil
}

// splitWords parts words at spaces that are not within double quotes, which the
// kernel knows as its only quoting (next_arg of lib/cmdline.c).
func splitWords(text string) words {
	quoted := false
	split := strings.FieldsFunc(text, func(r rune) bool {
		if r == '"' {
			quoted = !quoted
		}
		return !quoted && (r == ' ' || r == '\t' || r == '\n' || r == '\r')
	})
	for i, w := range split {
		split[i] = strings.ReplaceAll(w, `"`, "")
	}
	return split
}

// values returns what stands behind KEY=, each once.
func (w words) values(key string) []string {
	var all []string
	for _, word := range w {
		if v, ok := strings.CutPrefix(word, key+"="); ok && !slices.Contains(all, v) {
			all = append(all, v)
		}
	}
	return all
}

// value returns what stands behind KEY=, which may be given once.
func (w words) value(key string) (value string, has bool, err error) {
	all := w.values(key)
	switch len(all) {
	case 0:
		return "", false, nil
	case 1:
		return all[0], true, nil
	}
	return "", true, fmt.Errorf("the kernel command line has %s= more than once, with different values; keep one", key)
}
