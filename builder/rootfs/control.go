package rootfs

import (
	"archive/tar"
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Bounds on a control archive. The largest of trixie (linux-image's md5sums)
// is below 1 MiB.
const (
	maxControlFiles = 64
	maxControlSize  = 32 << 20 // bytes, all files together
	maxStanzaFields = 512
)

// A controlFile is one member of a package's control archive.
type controlFile struct {
	Name  string // control, postinst, md5sums, …
	Mode  uint32
	MTime int64 // seconds since 1970
	Body  []byte
}

// readControl reads the control archive r (deb-control(5) and friends).
func readControl(r io.Reader) ([]controlFile, error) {
	var files []controlFile
	total := int64(0)
	tr := tar.NewReader(r)
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return files, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read its control archive: %w", err)
		}
		if h.Typeflag == tar.TypeDir {
			continue
		}
		name := strings.TrimPrefix(h.Name, "./")
		if h.Typeflag != tar.TypeReg || !isControlName(name) {
			return nil, fmt.Errorf("its control archive holds %q, which is no control file", h.Name)
		}
		if total += h.Size; total > maxControlSize || len(files) == maxControlFiles {
			return nil, fmt.Errorf("its control archive is larger than %d files or %d bytes", maxControlFiles, maxControlSize)
		}
		body, err := io.ReadAll(tr)
		if err != nil {
			return nil, fmt.Errorf("read %s of its control archive: %w", name, err)
		}
		files = append(files, controlFile{Name: name, Mode: uint32(h.Mode) & 0o777, MTime: h.ModTime.Unix(), Body: body})
	}
}

// isControlName accepts the names that dpkg takes for its info directory.
// "list" is dpkg's own file there.
func isControlName(name string) bool {
	if name == "" || name == "list" || len(name) > 64 {
		return false
	}
	for _, c := range name {
		if !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_", c) {
			return false
		}
	}
	return true
}

// A field is one field of a deb822 stanza. Value holds the continuation lines
// as they were, each after a newline.
type field struct{ Name, Value string }

// A stanza is a paragraph of deb822(5) with its fields in their order.
type stanza []field

// get returns the value of the field name (case does not matter), or "".
func (s stanza) get(name string) string {
	for _, f := range s {
		if strings.EqualFold(f.Name, name) {
			return f.Value
		}
	}
	return ""
}

// with returns s without the fields of set's names, with set's fields that
// have a value at its end.
func (s stanza) with(set ...field) stanza {
	out := make(stanza, 0, len(s)+len(set))
	for _, f := range s {
		keep := true
		for _, n := range set {
			keep = keep && !strings.EqualFold(f.Name, n.Name)
		}
		if keep {
			out = append(out, f)
		}
	}
	for _, n := range set {
		if n.Value != "" {
			out = append(out, n)
		}
	}
	return out
}

func (s stanza) appendTo(b *bytes.Buffer) {
	for _, f := range s {
		b.WriteString(f.Name)
		b.WriteByte(':')
		if f.Value != "" && f.Value[0] != '\n' {
			b.WriteByte(' ')
		}
		b.WriteString(f.Value)
		b.WriteByte('\n')
	}
}

// parseStanzas reads all stanzas of text: `Name: value` lines, continuation
// lines that begin with a blank, empty lines between stanzas.
func parseStanzas(text []byte) ([]stanza, error) {
	var all []stanza
	var cur stanza
	sc := bufio.NewScanner(bytes.NewReader(text))
	sc.Buffer(nil, maxControlSize)
	for n := 1; sc.Scan(); n++ {
		line := sc.Text()
		switch {
		case strings.TrimSpace(line) == "":
			if cur != nil {
				all, cur = append(all, cur), nil
			}
		case line[0] == ' ' || line[0] == '\t':
			if cur == nil {
				return nil, fmt.Errorf("line %d: continuation without a field", n)
			}
			cur[len(cur)-1].Value += "\n" + line
		default:
			name, value, ok := strings.Cut(line, ":")
			if !ok || name == "" || strings.ContainsAny(name, " \t") || name[0] == '#' || len(cur) == maxStanzaFields {
				return nil, fmt.Errorf("line %d: %.60q is no field", n, line)
			}
			// Blanks at the end stay: dpkg writes them to its status, too.
			cur = append(cur, field{name, strings.TrimLeft(value, " \t")})
		}
	}
	if cur != nil {
		all = append(all, cur)
	}
	return all, sc.Err()
}

// parseStanza reads text as exactly one stanza.
func parseStanza(text []byte) (stanza, error) {
	all, err := parseStanzas(text)
	if err != nil {
		return nil, err
	}
	if len(all) != 1 {
		return nil, fmt.Errorf("%d stanzas where one must be", len(all))
	}
	return all[0], nil
}

// fieldLines returns the lines of text that are not empty and no comment, each
// split at blanks (conffiles, triggers, diversions of maintainer scripts).
func fieldLines(text []byte) [][]string {
	var out [][]string
	for line := range strings.SplitSeq(string(text), "\n") {
		line, _, _ = strings.Cut(line, "#")
		if f := strings.Fields(line); len(f) > 0 {
			out = append(out, f)
		}
	}
	return out
}
