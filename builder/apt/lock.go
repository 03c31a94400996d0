package apt

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// A Lock is the exact list of packages that an image is made of.
type Lock struct {
	Version     int
	Suite, Arch string
	Date        time.Time // of the archive; every file of the image is this old or older
	Request     string    // RequestDigest of what was asked
	Packages    []Package
}

// A Package is one package of one set of a lock.
type Package struct {
	Set, Name, Version, Arch string
	SHA256                   string // of the .deb, in hex
	Size                     int64  // of the .deb, in bytes
	Pool                     string // path below the mirror
	Source                   string // source package, with its version in brackets where that differs
	Security                 bool   // it lies on the security mirror
	Essential                bool
}

const (
	lockVersion  = 1
	maxLock      = 16 << 20 // bytes
	maxLockLines = 20_000
)

// String is the form of the file: a line a package, made for diffs.
//
//	package SET NAME VERSION ARCH SIZE SHA256 main|security essential|- SOURCE POOL
func (l Lock) String() string {
	var w strings.Builder
	fmt.Fprintf(&w, "# Packages of a Trivet image. Renew with: trivet lock ROLE\nversion %d\nsuite %s\narch %s\ndate %s\nrequest %s\n",
		l.Version, l.Suite, l.Arch, l.Date.UTC().Format(time.RFC3339), l.Request)
	for _, p := range l.Packages {
		where, essential := "main", "-"
		if p.Security {
			where = "security"
		}
		if p.Essential {
			essential = "essential"
		}
		fmt.Fprintf(&w, "package %s %s %s %s %d %s %s %s %s %s\n", p.Set, p.Name, p.Version, p.Arch, p.Size, p.SHA256, where, essential,
			strings.ReplaceAll(p.Source, " ", ""), p.Pool)
	}
	return w.String()
}

// Digest is the SHA-256, in hex, of the lock's text.
func (l Lock) Digest() string {
	sum := sha256.Sum256([]byte(l.String()))
	return hex.EncodeToString(sum[:])
}

// Check refuses a lock that was made for another request.
func (l Lock) Check(request string) error {
	if l.Request != request {
		return fmt.Errorf("check the lock: it was made for other packages, suite or architecture than the role asks for now; renew it with: trivet lock ROLE")
	}
	return nil
}

// WriteFile writes the lock, or nothing.
func (l Lock) WriteFile(path string) error {
	abs, err := filepath.Abs(path)
	if err != nil {
		return fmt.Errorf("write the lock: %w", err)
	}
	return writeAtomic(abs, []byte(l.String()))
}

// ReadLock reads a lock file; an error names file, line and column.
func ReadLock(path string) (Lock, error) {
	text, err := readLimited(path, maxLock)
	if err != nil {
		return Lock{}, fmt.Errorf("read the lock: %w", err)
	}
	l, line, err := parseLock([]byte(text))
	if err != nil {
		return Lock{}, fmt.Errorf("%s:%d:1: %w", path, line, err)
	}
	return l, nil
}

// parseLock returns the line at which it stopped beside the error.
func parseLock(text []byte) (l Lock, line int, err error) {
	scan := bufio.NewScanner(bytes.NewReader(text))
	seen := map[string]bool{}
	for scan.Scan() {
		if line++; line > maxLockLines {
			return Lock{}, line, fmt.Errorf("more than %d lines", maxLockLines)
		}
		key, value, _ := strings.Cut(scan.Text(), " ")
		switch {
		case key == "" || strings.HasPrefix(key, "#"):
			continue
		case key == "package":
			p, err := parsePackage(value)
			if err != nil {
				return Lock{}, line, err
			}
			l.Packages = append(l.Packages, p)
			continue
		case seen[key]:
			return Lock{}, line, fmt.Errorf("%q stands twice", key)
		}
		seen[key] = true
		if err := l.header(key, value); err != nil {
			return Lock{}, line, err
		}
	}
	if err := scan.Err(); err != nil {
		return Lock{}, line + 1, err
	}
	for _, key := range []string{"version", "suite", "arch", "date", "request"} {
		if !seen[key] {
			return Lock{}, line, fmt.Errorf("no line %q; is this a lock?", key)
		}
	}
	return l, line, nil
}

func (l *Lock) header(key, value string) (err error) {
	switch key {
	case "version":
		if l.Version, err = strconv.Atoi(value); err != nil || l.Version != lockVersion {
			return fmt.Errorf("lock version %q; this trivet reads %d", value, lockVersion)
		}
	case "suite":
		l.Suite = value
	case "arch":
		l.Arch = value
	case "request":
		l.Request = value
	case "date":
		if l.Date, err = time.Parse(time.RFC3339, value); err != nil {
			return fmt.Errorf("date %q is not like 2026-01-31T12:00:00Z", value)
		}
		l.Date = l.Date.UTC()
	default:
		return fmt.Errorf("unknown key %q", key)
	}
	return nil
}

func parsePackage(value string) (Package, error) {
	f := strings.Split(value, " ")
	if len(f) != 10 {
		return Package{}, fmt.Errorf("a package has 10 fields, this one %d", len(f))
	}
	size, err := strconv.ParseInt(f[4], 10, 64)
	if err != nil || size <= 0 {
		return Package{}, fmt.Errorf("package %s: the size %q is not a number above 0", f[1], f[4])
	}
	if f[6] != "main" && f[6] != "security" || f[7] != "essential" && f[7] != "-" {
		return Package{}, fmt.Errorf("package %s: %q %q stand for main or security, essential or -", f[1], f[6], f[7])
	}
	p := Package{
		Set: f[0], Name: f[1], Version: f[2], Arch: f[3], Size: size, SHA256: f[5],
		Security: f[6] == "security", Essential: f[7] == "essential", Source: f[8], Pool: f[9],
	}
	if p.Set == "" || len(p.Set) > 50 {
		return Package{}, fmt.Errorf("package %s: no name of a set", p.Name)
	}
	return p, p.check()
}
