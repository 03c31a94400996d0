package apt

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
)

// Mirrors are the base URLs of the archive and of the security archive.
type Mirrors struct{ Archive, Security string }

// maxSources is the largest apt source file that is read, in bytes.
const maxSources = 1 << 20

// HostMirrors finds the mirrors that the host's own apt uses, in both formats
// of sources.list(5), below etcApt. Suites and pockets of the host do not
// matter: an entry counts when its URL ends in the path of Debian's archive.
func HostMirrors(etcApt string) (Mirrors, error) {
	var urls []string
	files, err := sourceFiles(etcApt)
	if err != nil {
		return Mirrors{}, err
	}
	for _, file := range files {
		text, err := readLimited(file, maxSources)
		if err != nil {
			return Mirrors{}, fmt.Errorf("read the apt sources of this host: %w", err)
		}
		if strings.HasSuffix(file, ".sources") {
			urls = append(urls, deb822URLs(text)...)
		} else {
			urls = append(urls, lineURLs(text)...)
		}
	}
	m := pick(urls)
	if m.Archive == "" {
		return Mirrors{}, fmt.Errorf("find the Debian mirror of this host: no source below %s has a URL that ends in /debian; pass --mirror URL", etcApt)
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

// lineURLs reads the one-line format: `deb [options] URL suite component…`.
func lineURLs(text string) []string {
	var urls []string
	for _, line := range strings.Split(text, "\n") {
		rest, ok := strings.CutPrefix(strings.TrimSpace(line), "deb ")
		if !ok {
			continue
		}
		rest = strings.TrimSpace(rest)
		if strings.HasPrefix(rest, "[") {
			_, after, closed := strings.Cut(rest, "]")
			if !closed {
				continue
			}
			rest = after
		}
		if f := strings.Fields(rest); len(f) > 0 {
			urls = append(urls, f[0])
		}
	}
	return urls
}

// deb822URLs reads the URIs fields of the deb822 format.
func deb822URLs(text string) []string {
	var urls []string
	for _, stanza := range strings.Split(strings.ReplaceAll(text, "\r\n", "\n"), "\n\n") {
		var uris []string
		enabled, key := true, ""
		for _, line := range strings.Split(stanza, "\n") {
			if strings.HasPrefix(line, "#") || strings.TrimSpace(line) == "" {
				continue
			}
			value := line
			if !strings.HasPrefix(line, " ") && !strings.HasPrefix(line, "\t") {
				k, v, _ := strings.Cut(line, ":")
				key, value = strings.ToLower(strings.TrimSpace(k)), v
			}
			switch key {
			case "uris":
				uris = append(uris, strings.Fields(value)...)
			case "enabled":
				enabled = strings.TrimSpace(value) != "no"
			}
		}
		if enabled {
			urls = append(urls, uris...)
		}
	}
	return urls
}

// pick takes the first archive and the first security archive.
func pick(urls []string) Mirrors {
	var m Mirrors
	for _, u := range urls {
		u = strings.TrimSuffix(u, "/")
		switch {
		case !strings.HasPrefix(u, "http://") && !strings.HasPrefix(u, "https://"):
		case strings.HasSuffix(u, "/debian") && m.Archive == "":
			m.Archive = u
		case strings.HasSuffix(u, "/debian-security") && m.Security == "":
			m.Security = u
		}
	}
	return m
}

// SecurityBeside is where a mirror of the archive usually has the security
// archive: debian-security in place of debian.
func SecurityBeside(archive string) string {
	return strings.TrimSuffix(strings.TrimSuffix(archive, "/"), "/debian") + "/debian-security"
}
