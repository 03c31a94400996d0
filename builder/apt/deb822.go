package apt

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Limits of a deb822 file (deb822(5)).
const (
	maxLine    = 1 << 20 // bytes; Packages has lines of some tens of KiB
	maxFields  = 200     // of one stanza
	maxStanzas = 500_000 // of one file
)

// stanzas calls each for every stanza of r with its fields by lower-cased
// name; a folded value keeps its line ends. The map is used again for the next
// stanza.
func stanzas(r io.Reader, each func(map[string]string) error) error {
	scan := bufio.NewScanner(r)
	scan.Buffer(make([]byte, 64<<10), maxLine)
	fields, last, count := map[string]string{}, "", 0
	flush := func() error {
		if len(fields) == 0 {
			return nil
		}
		if count++; count > maxStanzas {
			return fmt.Errorf("more than %d stanzas", maxStanzas)
		}
		err := each(fields)
		clear(fields)
		last = ""
		return err
	}
	for n := 1; scan.Scan(); n++ {
		line := scan.Text()
		if strings.TrimSpace(line) == "" {
			if err := flush(); err != nil {
				return fmt.Errorf("line %d: %w", n, err)
			}
			continue
		}
		var err error
		if last, err = addLine(fields, last, line); err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
	}
	if err := scan.Err(); err != nil {
		return err
	}
	return flush()
}

// addLine adds one line to the stanza and returns the name of its field.
func addLine(fields map[string]string, last, line string) (string, error) {
	if line[0] == ' ' || line[0] == '\t' {
		if last == "" {
			return "", errors.New("a continued line without a field before it")
		}
		fields[last] += "\n" + strings.TrimSpace(line)
		return last, nil
	}
	name, value, ok := strings.Cut(line, ":")
	if !ok || name == "" || strings.ContainsAny(name, " \t") {
		return "", fmt.Errorf("%.60q is not NAME: VALUE", line)
	}
	name = strings.ToLower(name)
	if _, twice := fields[name]; twice {
		return "", fmt.Errorf("field %s stands twice in one stanza", name)
	}
	if len(fields) >= maxFields {
		return "", fmt.Errorf("more than %d fields in one stanza", maxFields)
	}
	fields[name] = strings.TrimSpace(value)
	return name, nil
}
