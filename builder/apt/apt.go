// Package apt brings Debian packages: it verifies the archive's indices,
// has apt-get resolve what is asked for with a private state, writes and reads
// locks, and fetches package files into a content-addressed store.
//
// Trust runs in one line: the archive's keys, pinned in this package, sign the
// InRelease files; these name the digests of the Packages files, which name
// the digest of every package. Only signed text is parsed.
package apt

import (
	"errors"
	"fmt"
	"time"
)

// An Archive is one Debian archive with its security archive. Proxies are those
// of the environment (http_proxy, https_proxy, no_proxy). Progress is called
// from several goroutines at once.
type Archive struct {
	Mirrors  Mirrors
	Suite    string // such as "trixie"; SUITE-updates and SUITE-security come with it
	Arch     string // Debian's name, such as "amd64"
	Cache    string // directory of the indices and the store
	Keyring  []byte // OpenPGP keys, binary; nil is the pinned keys of Debian 13
	Progress func(stage string, done, total int64)
	Proxy    Proxy // nil is that of the environment

	// At is when the indices must have been valid; zero is now. Mirrors that are
	// a snapshot of the archive, whose URLs hold its time, need that time here:
	// their updates and security indices expired a week later.
	At time.Time

	patience patience // zero: the defaults
}

// patience is how long to wait for a mirror; tests are less patient.
type patience struct {
	stall    time.Duration // no byte for so long: the try is over
	backoff  time.Duration // before the second try; doubled for each further one
	attempts int
}

func (a Archive) patient() patience {
	p := a.patience
	if p.stall == 0 {
		p = patience{stall: 20 * time.Second, backoff: 300 * time.Millisecond, attempts: 6}
	}
	return p
}

func (a Archive) tell(stage string, done, total int64) {
	if a.Progress != nil {
		a.Progress(stage, done, total)
	}
}

// A pocket is one suite of the archive that packages come from.
type pocket struct {
	name     string // as below dists/
	base     string // URL of the mirror
	security bool
}

// check refuses what cannot stand in a URL, a path or apt's configuration.
func (a Archive) check() error {
	if !isName(a.Suite) {
		return fmt.Errorf("use the suite %q: it is not a name like trixie", a.Suite)
	}
	if !isName(a.Arch) {
		return fmt.Errorf("use the architecture %q: it is not a name like amd64", a.Arch)
	}
	if a.Cache == "" {
		return errors.New("use the cache: no directory is given")
	}
	return a.Mirrors.check()
}

func (a Archive) pockets() []pocket {
	m := a.Mirrors.trimmed()
	return []pocket{
		{name: a.Suite, base: m.Archive},
		{name: a.Suite + "-updates", base: m.Archive},
		{name: a.Suite + "-security", base: m.Security, security: true},
	}
}

// A Set is a list of packages that is resolved on top of the sets before it.
type Set struct {
	Name     string
	Packages []string
}
