package apt

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Limits of a deb822 file (deb822(5)).
const (
	maxLine    = 1 << 20 // bytes; Packages has lines of some tens of KiB
	maxField   = 8 << 20 // bytes of a folded value; the digests of an InRelease take some 100 KiB
	maxFields  = 200     // of one stanza
	maxStanzas = 500_000 // of one file
)

// stanzas calls each for every stanza of r with its fields by lower-cased
// name; a folded value keeps its line ends. The map is used again for the next
// stanza.
func stanzas(r io.Reader, each func(map[string]string) error) error {
	scan := bufio.NewScanner(r)
	scan.Buffer(make([]byte, 64<<10), maxLine)
	s, count := stanza{fields: map[string]string{}}, 0
	flush := func() error {
		s.fold()
		if len(s.fields) == 0 {
			return nil
		}
		if count++; count > maxStanzas {
			return fmt.Errorf("more than %d stanzas", maxStanzas)
		}
		err := each(s.fields)
		clear(s.fields)
		s.last = ""
		return err
	}
	for n := 1; scan.Scan(); n++ {
		line := scan.Bytes()
		var err error
		if len(bytes.TrimSpace(line)) == 0 {
			err = flush()
		} else {
			err = s.add(line)
		}
		if err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
	}
	if err := scan.Err(); err != nil {
		return err
	}
	return flush()
}

// A stanza is one that is being read.
type stanza struct {
	fields map[string]string
	last   string // the field of the line before
	folded []byte // its continued lines so far
}

// fold gives the last field its continued lines.
func (s *stanza) fold() {
	if len(s.folded) > 0 {
		s.fields[s.last] += string(s.folded)
		s.folded = s.folded[:0]
	}
}

func (s *stanza) add(line []byte) error {
	if line[0] == ' ' || line[0] == '\t' {
		if s.last == "" {
			return errors.New("a continued line without a field before it")
		}
		if len(s.folded) > maxField {
			return fmt.Errorf("field %s has more than %d bytes", s.last, maxField)
		}
		s.folded = append(append(s.folded, '\n'), bytes.TrimSpace(line)...)
		return nil
	}
	s.fold()
	name, value, ok := bytes.Cut(line, []byte(":"))
	if !ok || len(name) == 0 || bytes.ContainsAny(name, " \t") {
		return fmt.Errorf("%.60q is not NAME: VALUE", line)
	}
	s.last = strings.ToLower(string(name))
	if _, twice := s.fields[s.last]; twice {
		return fmt.Errorf("field %s stands twice in one stanza", s.last)
	}
	if len(s.fields) >= maxFields {
		return fmt.Errorf("more than %d fields in one stanza", maxFields)
	}
	s.fields[s.last] = string(bytes.TrimSpace(value))
	return nil
}
