package apt

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
)

// Mirrors are the base URLs of the archive and of the security archive, http
// or https, each the folder that holds dists/ and pool/.
type Mirrors struct{ Archive, Security string }

// trimmed is m without slashes at the ends.
func (m Mirrors) trimmed() Mirrors {
	return Mirrors{Archive: strings.TrimRight(m.Archive, "/"), Security: strings.TrimRight(m.Security, "/")}
}

// check refuses what is not the URL of a mirror.
func (m Mirrors) check() error {
	for _, s := range []string{m.Archive, m.Security} {
		if u, err := url.Parse(s); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			return fmt.Errorf("use the mirror %q: it is not an http or https URL; pass --mirror URL", redacted(s))
		}
	}
	return nil
}

// redacted is a URL without its password, for messages.
func redacted(s string) string {
	u, err := url.Parse(s)
	if err != nil {
		return "(not a URL)"
	}
	return u.Redacted()
}

// Limits of apt's source files.
const (
	maxSources = 1 << 20 // bytes of one file
	maxEntries = 10_000  // of all files
)

// A source is one entry of apt's sources for one URL.
type source struct {
	uri        string
	suites     []string
	components []string
	signedBy   string
}

// HostMirrors finds the mirrors that the host's own apt uses, in both formats
// of sources.list(5), below etcApt. Which suites the host takes does not
// matter. Other vendors' archives, which may well end in /debian too, are told
// from Debian's by their keyring, components and suites; a wrong guess is no
// danger, since the pinned keys would refuse what is there.
func HostMirrors(etcApt string) (Mirrors, error) {
	files, err := sourceFiles(etcApt)
	if err != nil {
		return Mirrors{}, err
	}
	var all []source
	for _, file := range files {
		text, err := readLimited(file, maxSources)
		if err != nil {
			return Mirrors{}, fmt.Errorf("read the apt sources of this host: %w", err)
		}
		if strings.HasSuffix(file, ".sources") {
			all = append(all, deb822Sources(text)...)
		} else {
			all = append(all, lineSources(text)...)
		}
		if len(all) > maxEntries {
			return Mirrors{}, fmt.Errorf("read the apt sources of this host: more than %d entries", maxEntries)
		}
	}
	m := pick(all)
	if m.Archive == "" {
		return Mirrors{}, fmt.Errorf("find the Debian mirror of this host: no source below %s is Debian's archive; pass --mirror URL", etcApt)
	}
	if m.Security == "" {
		m.Security = SecurityBeside(m.Archive)
	}
	return m, nil
}

func sourceFiles(etcApt string) ([]string, error) {
	files := []string{filepath.Join(etcApt, "sources.list")}
	for _, pattern := range []string{"*.list", "*.sources"} {
		more, err := filepath.Glob(filepath.Join(etcApt, "sources.list.d", pattern))
		if err != nil {
			return nil, fmt.Errorf("list the apt sources of this host: %w", err)
		}
		sort.Strings(more)
		files = append(files, more...)
	}
	if _, err := os.Stat(files[0]); errors.Is(err, fs.ErrNotExist) {
		files = files[1:]
	}
	return files, nil
}

func readLimited(path string, limit int64) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	if info.Size() > limit {
		return "", fmt.Errorf("%s has %d bytes, more than %d", path, info.Size(), limit)
	}
	text, err := os.ReadFile(path)
	return string(text), err
}

// lineSources reads the one-line format: `deb [options] URI suite component…`.
// Lines that are not understood are left out: they are apt's matter, not ours.
func lineSources(text string) []source {
	var list []source
	for _, line := range strings.Split(text, "\n") {
		line, _, _ = strings.Cut(line, "#")
		f := strings.Fields(strings.NewReplacer("[", " [ ", "]", " ] ").Replace(line))
		if len(f) == 0 || f[0] != "deb" {
			continue
		}
		var s source
		f = f[1:]
		if len(f) > 0 && f[0] == "[" {
			end := slices.Index(f, "]")
			if end < 0 {
				continue
			}
			for _, option := range f[1:end] {
				if by, ok := strings.CutPrefix(strings.ToLower(option), "signed-by="); ok {
					s.signedBy = by
				}
			}
			f = f[end+1:]
		}
		if len(f) >= 2 {
			s.uri, s.suites, s.components = f[0], f[1:2], f[2:]
			list = append(list, s)
		}
	}
	return list
}

// deb822Sources reads the deb822 format. A file that is not deb822 has no sources.
func deb822Sources(text string) []source {
	var list []source
	var plain strings.Builder
	for _, line := range strings.Split(text, "\n") {
		if !strings.HasPrefix(line, "#") {
			plain.WriteString(line + "\n")
		}
	}
	// An error means that apt would not read the rest either.
	_ = stanzas(strings.NewReader(plain.String()), func(m map[string]string) error {
		off := strings.ToLower(m["enabled"])
		if off == "no" || off == "false" || off == "0" || !slices.Contains(strings.Fields(m["types"]), "deb") {
			return nil
		}
		for _, uri := range strings.Fields(m["uris"]) {
			list = append(list, source{
				uri: uri, suites: strings.Fields(m["suites"]), components: strings.Fields(m["components"]), signedBy: strings.ToLower(m["signed-by"]),
			})
		}
		return nil
	})
	return list
}

// pick takes the most likely archive and security archive, the first of equals.
func pick(all []source) Mirrors {
	var m Mirrors
	var archive, security int
	for _, s := range all {
		if !strings.HasPrefix(s.uri, "http://") && !strings.HasPrefix(s.uri, "https://") {
			continue
		}
		uri := strings.TrimRight(s.uri, "/")
		score := s.score()
		switch {
		case s.isSecurity():
			if score > security {
				m.Security, security = uri, score
			}
		case score > archive:
			m.Archive, archive = uri, score
		}
	}
	return m
}

// isSecurity says whether the entry is of a security archive.
func (s source) isSecurity() bool {
	return strings.HasSuffix(strings.TrimRight(s.uri, "/"), "/debian-security") ||
		slices.ContainsFunc(s.suites, func(suite string) bool { return strings.HasSuffix(suite, "-security") })
}

// score is how likely the entry is Debian's; 0 is not at all.
func (s source) score() int {
	path := strings.TrimRight(s.uri, "/")
	named := strings.HasSuffix(path, "/debian") || strings.HasSuffix(path, "/debian-security")
	byDebian := strings.Contains(s.signedBy, "debian-archive")
	if !slices.Contains(s.components, "main") || !named && !byDebian {
		return 0
	}
	score := 1
	if named {
		score++
	}
	switch {
	case byDebian:
		score += 8
	case s.signedBy == "": // apt's common keyring: Debian's, and formerly others'
		score += 4
	}
	for _, suite := range s.suites {
		for _, pocket := range []string{"-updates", "-backports", "-security"} {
			if strings.HasSuffix(suite, pocket) {
				return score + 2
			}
		}
	}
	return score
}

// SecurityBeside is where a mirror of the archive usually has the security
// archive: debian-security in place of debian.
func SecurityBeside(archive string) string {
	return strings.TrimSuffix(strings.TrimRight(archive, "/"), "/debian") + "/debian-security"
}
