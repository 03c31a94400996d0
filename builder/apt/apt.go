// Package apt brings Debian packages: it verifies the archive's indices,
// has apt-get resolve what is asked for with a private state, writes and reads
// locks, and fetches package files into a content-addressed store.
//
// Trust runs in one line: the archive's keys, pinned in this package, sign the
// InRelease files; these name the digests of the Packages files, which name
// the digest of every package. Only signed text is parsed.
package apt

import (
	"time"
)

// An Archive is one Debian archive with its security archive.
type Archive struct {
	Mirrors  Mirrors
	Suite    string // such as "trixie"; SUITE-updates and SUITE-security come with it
	Arch     string // Debian's name, such as "amd64"
	Cache    string // directory of the indices and the store
	Keyring  []byte // OpenPGP keys; nil is the pinned keys of Debian 13
	Progress func(stage string, done, total int64)

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

func (a Archive) pockets() []pocket {
	return []pocket{
		{name: a.Suite, base: a.Mirrors.Archive},
		{name: a.Suite + "-updates", base: a.Mirrors.Archive},
		{name: a.Suite + "-security", base: a.Mirrors.Security, security: true},
	}
}

// A Set is a list of packages that is resolved on top of the sets before it.
type Set struct {
	Name     string
	Packages []string
}
