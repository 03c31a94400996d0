package rootfs

import (
	"strings"
)

// A pathRule leaves paths out of the image, or takes some of them back in, by
// dpkg's rules (dpkg(1), --path-exclude): the last rule that matches counts,
// and * matches slashes too.
type pathRule struct {
	pattern string
	include bool
}

// pathRules is the one table of what images go without: manual pages, info,
// documentation and foreign locales, but not what a licence demands and not
// what English and the C locale need. The image gets the same table as
// /etc/dpkg/dpkg.cfg.d/trivet, so that a dpkg in it agrees.
func pathRules() []pathRule {
	return []pathRule{
		{pattern: "/usr/share/doc/*"},
		{pattern: "/usr/share/doc/*/copyright", include: true},
		{pattern: "/usr/share/man/*"},
		{pattern: "/usr/share/info/*"},
		{pattern: "/usr/share/locale/*"},
		{pattern: "/usr/share/locale/C/*", include: true},
		{pattern: "/usr/share/locale/C.*", include: true},
		{pattern: "/usr/share/locale/en/*", include: true},
		{pattern: "/usr/share/locale/en_*", include: true},
		{pattern: "/usr/share/locale/locale.alias", include: true},
		{pattern: "/usr/share/lintian/*"},
		{pattern: "/usr/share/linda/*"},
		{pattern: "/usr/share/groff/*"},
	}
}

// DpkgConfig is the table of excluded paths as a file of dpkg.cfg.d, for tools
// that are to agree with this package (dpkg in the image, mmdebstrap beside it).
func DpkgConfig() string {
	var b strings.Builder
	b.WriteString("# Written by trivet: what this image was built without.\n")
	for _, r := range pathRules() {
		b.WriteString("path-")
		if r.include {
			b.WriteString("include=")
		} else {
			b.WriteString("exclude=")
		}
		b.WriteString(r.pattern + "\n")
	}
	return b.String()
}

// excludeRoot is what every pattern of the table begins with.
const excludeRoot = "/usr/share/"

// excluded says whether the absolute path is left out. Like dpkg it keeps a
// directory or symbolic link above which some include pattern might match
// (dpkg's filter_should_skip).
func excluded(name, kind string) bool {
	if !strings.HasPrefix(name, excludeRoot) {
		return false
	}
	rules := pathRules()
	skip := false
	for _, r := range rules {
		if matchStar(r.pattern, name) {
			skip = !r.include
		}
	}
	if !skip || kind != kindDir && kind != kindSymlink {
		return skip
	}
	for _, r := range rules {
		prefix, _, _ := strings.Cut(r.pattern, "*")
		if r.include && strings.HasPrefix(name, strings.TrimRight(prefix, "/")) {
			return false
		}
	}
	return true
}

// matchStar is fnmatch(3) without flags for patterns whose only special
// character is *.
func matchStar(pattern, name string) bool {
	parts := strings.Split(pattern, "*")
	rest, ok := strings.CutPrefix(name, parts[0])
	if !ok || len(parts) == 1 {
		return ok && rest == ""
	}
	last := parts[len(parts)-1]
	for _, part := range parts[1 : len(parts)-1] {
		i := strings.Index(rest, part)
		if i < 0 {
			return false
		}
		rest = rest[i+len(part):]
	}
	return strings.HasSuffix(rest, last)
}
