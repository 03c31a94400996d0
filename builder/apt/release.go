package apt

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// maxRelease is the largest InRelease that is read, in bytes; trixie's has 140 KB.
const maxRelease = 4 << 20

// A release is the signed text of one pocket.
type release struct {
	date  time.Time
	until time.Time              // zero: for ever
	files map[string]releaseFile // by path below the pocket
}

type releaseFile struct {
	sha256 string
	size   int64
}

// parseRelease reads verified text and checks that it is the suite that was
// asked for.
func parseRelease(text []byte, suite string) (release, error) {
	var fields map[string]string
	err := stanzas(bytes.NewReader(text), func(m map[string]string) error {
		if fields != nil {
			return errors.New("a second stanza")
		}
		fields = map[string]string{}
		for k, v := range m {
			fields[k] = v
		}
		return nil
	})
	if err != nil {
		return release{}, err
	}
	if got := fields["codename"]; got != suite {
		return release{}, fmt.Errorf("its Codename is %q, not %q", got, suite)
	}
	r := release{files: map[string]releaseFile{}}
	if r.date, err = parseDate(fields["date"]); err != nil {
		return release{}, err
	}
	if until, has := fields["valid-until"]; has {
		if r.until, err = parseDate(until); err != nil {
			return release{}, err
		}
	}
	for _, line := range strings.Split(fields["sha256"], "\n") {
		if line == "" {
			continue
		}
		f := strings.Fields(line)
		if len(f) != 3 || !isSHA256(f[0]) {
			return release{}, fmt.Errorf("the line %.100q is not DIGEST SIZE PATH", line)
		}
		size, err := strconv.ParseInt(f[1], 10, 64)
		if err != nil || size < 0 {
			return release{}, fmt.Errorf("the line %.100q has no size", line)
		}
		r.files[f[2]] = releaseFile{sha256: f[0], size: size}
	}
	return r, nil
}

// maxSkew is how far a mirror's clock may be ahead of this host's.
const maxSkew = time.Hour

// valid refuses a release that has expired at the time at, or that is not yet
// made now. An expired one is how a mirror, or somebody in its place, holds
// back security updates.
func (r release) valid(at, now time.Time) error {
	if !r.until.IsZero() && at.After(r.until) {
		return fmt.Errorf("it was valid until %s; the mirror is stale or this host's clock is wrong", r.until.Format(time.DateOnly))
	}
	if r.date.After(now.Add(maxSkew)) {
		return fmt.Errorf("it is of %s, which is in the future; set this host's clock", r.date.Format(time.RFC3339))
	}
	return nil
}

// isSHA256 says whether s is a SHA-256 in lower-case hex.
func isSHA256(s string) bool {
	return len(s) == 64 && strings.Trim(s, "0123456789abcdef") == ""
}
