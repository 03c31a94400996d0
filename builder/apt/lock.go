package apt

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path/filepath"
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
	Source                   string // source package, such as glibc, or gcc-14(14.2.0-19) where its version differs
	Security                 bool   // it lies on the security mirror
	Essential                bool
}

const (
	lockVersion  = 1
	maxLock      = 16 << 20 // bytes
	maxLockLines = 50_000
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
			p.Source, p.Pool)
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
	l, err := parseLock([]byte(text))
	if err != nil {
		return Lock{}, fmt.Errorf("%s:%w", path, err)
	}
	return l, nil
}
