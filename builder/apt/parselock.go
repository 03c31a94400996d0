package apt

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// A lockError is what is wrong at one place of a lock; lines and columns count
// from 1, columns in bytes.
type lockError struct {
	line, col int
	err       error
}

func (e *lockError) Error() string { return fmt.Sprintf("%d:%d: %v", e.line, e.col, e.err) }
func (e *lockError) Unwrap() error { return e.err }

// A lockReader gathers the lines of a lock.
type lockReader struct {
	lock Lock
	keys map[string]bool
	seen map[[3]string]bool // packages, by set, name and architecture
}

// parseLock reads the form that String writes. Its errors are *lockError.
func parseLock(text []byte) (Lock, error) {
	r := lockReader{keys: map[string]bool{}, seen: map[[3]string]bool{}}
	scan := bufio.NewScanner(bytes.NewReader(text))
	line := 0
	for scan.Scan() {
		if line++; line > maxLockLines {
			return Lock{}, &lockError{line, 1, fmt.Errorf("more than %d lines", maxLockLines)}
		}
		if col, err := r.line(scan.Text()); err != nil {
			return Lock{}, &lockError{line, col, err}
		}
	}
	if err := scan.Err(); err != nil {
		return Lock{}, &lockError{line + 1, 1, err}
	}
	for _, key := range []string{"version", "suite", "arch", "date", "request"} {
		if !r.keys[key] {
			return Lock{}, &lockError{line + 1, 1, fmt.Errorf("no line %q before the end; is this a whole lock?", key)}
		}
	}
	return r.lock, nil
}

// line reads one line and returns the column of what is wrong.
func (r *lockReader) line(text string) (col int, err error) {
	key, value, _ := strings.Cut(text, " ")
	switch {
	case text == "" || text[0] == '#':
		return 0, nil
	case key == "package":
		return r.pkg(text)
	case r.keys[key]:
		return 1, fmt.Errorf("%q stands twice", key)
	}
	r.keys[key] = true
	l, col := &r.lock, len(key)+2
	switch key {
	case "version":
		if l.Version, err = strconv.Atoi(value); err != nil || l.Version != lockVersion {
			return col, fmt.Errorf("lock version %.20q; this trivet reads %d; renew it with: trivet lock ROLE", value, lockVersion)
		}
	case "suite":
		if l.Suite = value; !isName(value) {
			return col, fmt.Errorf("%.80q is not the name of a suite", value)
		}
	case "arch":
		if l.Arch = value; !isName(value) {
			return col, fmt.Errorf("%.80q is not the name of an architecture", value)
		}
	case "request":
		if l.Request = value; !isSHA256(value) {
			return col, fmt.Errorf("%.80q is not a SHA-256", value)
		}
	case "date":
		if l.Date, err = time.Parse(time.RFC3339, value); err != nil {
			return col, fmt.Errorf("date %.40q is not like 2026-01-31T12:00:00Z", value)
		}
		l.Date = l.Date.UTC()
	default:
		return 1, fmt.Errorf("unknown key %.40q", key)
	}
	return 0, nil
}

// lockFields are the fields of a package's line, in their order.
//
// Each reads its field and says whether it is well-formed.
var lockFields = [...]struct {
	name string
	read func(p *Package, s string) bool
}{
	{"the name of a set", func(p *Package, s string) bool { p.Set = s; return isName(s) }},
	{"the name of a package", func(p *Package, s string) bool { p.Name = s; return isName(s) }},
	{"a version", func(p *Package, s string) bool { p.Version = s; return isWord(s) }},
	{"an architecture", func(p *Package, s string) bool { p.Arch = s; return isName(s) }},
	{"the size of a package file", readSize},
	{"a SHA-256", func(p *Package, s string) bool { p.SHA256 = s; return isSHA256(s) }},
	{"main or security", func(p *Package, s string) bool { p.Security = s == "security"; return p.Security || s == "main" }},
	{"essential or -", func(p *Package, s string) bool { p.Essential = s == "essential"; return p.Essential || s == "-" }},
	{"a source package", func(p *Package, s string) bool { p.Source = s; return isWord(s) }},
	{"a path below the mirror", func(p *Package, s string) bool { p.Pool = s; return isPool(s) }},
}

func readSize(p *Package, s string) (ok bool) {
	var err error
	p.Size, err = strconv.ParseInt(s, 10, 64)
	return err == nil && p.Size > 0 && p.Size <= maxDeb
}

func (r *lockReader) pkg(text string) (col int, err error) {
	fields := strings.Split(text, " ")[1:]
	col = len("package ") + 1
	if len(fields) != len(lockFields) {
		return col, fmt.Errorf("a package has %d fields, this one %d", len(lockFields), len(fields))
	}
	var p Package
	for i, f := range lockFields {
		if !f.read(&p, fields[i]) {
			return col, fmt.Errorf("%.200q is not %s", fields[i], f.name)
		}
		col += len(fields[i]) + 1
	}
	id := [3]string{p.Set, p.Name, p.Arch}
	if r.seen[id] {
		return 1, errors.New("this package stands twice in its set")
	}
	r.seen[id] = true
	r.lock.Packages = append(r.lock.Packages, p)
	return 0, nil
}
