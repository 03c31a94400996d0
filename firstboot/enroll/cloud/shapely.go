package cloud

import (
	"bytes"
	"fmt"
	"unicode/utf8"
)

// Limits on one file. A thousand nodes need half of them; they keep the YAML
// parser, which recurses, and compares the keys of a mapping with each other,
// from a file made to exhaust it.
const (
	maxFile   = 1 << 20 // bytes
	maxNest   = 16      // brackets within brackets
	maxIndent = 64      // columns before the first word of a line
	maxLine   = 16 << 10
	maxKeys   = 2000 // of one mapping, entries of one list or lines of one text
	maxValues = 100_000
)

// A shaper looks at lines before the parser does.
type shaper struct {
	depth int            // of brackets
	keys  int            // colons since the outermost bracket
	lines [maxIndent]int // at each column, since a line further left
	items [maxIndent]int // likewise, of lines with a dash there
}

// shapely refuses what no description needs, before the parser sees it.
func (d *document) shapely(data []byte) bool {
	var s shaper
	line := 0
	for text := range bytes.Lines(data) {
		line++
		if wrong, column := s.look(text); wrong != "" {
			d.sayAt("file-shape", line, column+1, wrong)
			return false
		}
	}
	return true
}

// look says what is wrong with a line, and where, from 0.
func (s *shaper) look(text []byte) (wrong string, column int) {
	spaces := len(text) - len(bytes.TrimLeft(text, " "))
	indent := len(text) - len(bytes.TrimLeft(text, " \t-?:"))
	switch zero := bytes.IndexByte(text, 0); {
	case len(text) > maxLine:
		return fmt.Sprintf("the line has more than %d bytes", maxLine), 0
	case indent >= maxIndent:
		return fmt.Sprintf("indented by more than %d columns", maxIndent-1), indent
	case zero >= 0:
		return "there is a zero byte: this is not text", zero
	case !utf8.Valid(text):
		return "there are bytes that are no letters of UTF-8: this is not text", 0
	}
	word := bytes.TrimSpace(text[spaces:])
	if len(word) == 0 || word[0] == '#' {
		return "", 0
	}
	s.count(spaces, indent)
	if s.lines[indent] > maxKeys || s.items[spaces] > maxKeys {
		return fmt.Sprintf("more than %d keys of one mapping, or entries of one list", maxKeys), indent
	}
	return s.brackets(text)
}

// count takes notice of a line. Where its words do not begin behind its spaces,
// there is a dash, and what follows belongs to a new entry.
func (s *shaper) count(spaces, indent int) {
	if spaces == indent {
		clear(s.items[indent:])
	} else {
		s.items[spaces]++
		clear(s.items[spaces+1:])
		clear(s.lines[spaces:])
	}
	s.lines[indent]++
	clear(s.lines[indent+1:])
}

// brackets counts those of a line, and the keys between them.
func (s *shaper) brackets(text []byte) (wrong string, column int) {
	for i, c := range text {
		switch c {
		case '[', '{':
			s.depth++
		case ']', '}':
			s.depth = max(0, s.depth-1)
		case ':':
			s.keys++
		}
		switch {
		case s.depth == 0:
			s.keys = 0
		case s.depth > maxNest:
			return fmt.Sprintf("more than %d brackets within brackets", maxNest), i
		case s.keys > 10*maxKeys: // a MAC has five colons
			return fmt.Sprintf("more than %d keys between brackets", 10*maxKeys), i
		}
	}
	return "", 0
}
