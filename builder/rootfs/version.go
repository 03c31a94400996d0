package rootfs

import "strings"

// compareVersions orders Debian versions as deb-version(7) says:
// [epoch:]upstream[-revision]. It returns a negative, zero or positive number.
func compareVersions(a, b string) int {
	ae, au, ar := splitVersion(a)
	be, bu, br := splitVersion(b)
	if c := compareParts(ae, be); c != 0 {
		return c
	}
	if c := compareParts(au, bu); c != 0 {
		return c
	}
	return compareParts(ar, br)
}

func splitVersion(v string) (epoch, upstream, revision string) {
	if e, rest, ok := strings.Cut(v, ":"); ok {
		epoch, v = e, rest
	}
	if i := strings.LastIndexByte(v, '-'); i >= 0 {
		return epoch, v[:i], v[i+1:]
	}
	return epoch, v, ""
}

// compareParts compares alternately the longest prefixes without digits, by
// weight, and with digits only, as numbers.
func compareParts(a, b string) int {
	for a != "" || b != "" {
		for a != "" && !digit(a[0]) || b != "" && !digit(b[0]) {
			if c := weight(a) - weight(b); c != 0 {
				return c
			}
			a, b = a[1:], b[1:]
		}
		var an, bn string
		an, a = number(a)
		bn, b = number(b)
		if len(an) != len(bn) {
			return len(an) - len(bn)
		}
		if c := strings.Compare(an, bn); c != 0 {
			return c
		}
	}
	return 0
}

// weight orders the first character of s: ~ before the end, the end (or a
// digit) before letters, letters before the rest.
func weight(s string) int {
	switch {
	case s == "" || digit(s[0]):
		return 0
	case s[0] == '~':
		return -1
	case s[0] >= 'a' && s[0] <= 'z' || s[0] >= 'A' && s[0] <= 'Z':
		return int(s[0])
	}
	return int(s[0]) + 256
}

func digit(c byte) bool { return c >= '0' && c <= '9' }

// number cuts the leading digits of s, without leading zeros.
func number(s string) (digits, rest string) {
	i := 0
	for i < len(s) && digit(s[i]) {
		i++
	}
	return strings.TrimLeft(s[:i], "0"), s[i:]
}

// A relation is one package name of a relationship field, with its condition
// on the version (deb-control(5)).
type relation struct {
	name, op, version string
}

// parseRelations reads a relationship field: groups of alternatives.
func parseRelations(value string) [][]relation {
	var groups [][]relation
	for group := range strings.SplitSeq(value, ",") {
		var alternatives []relation
		for text := range strings.SplitSeq(group, "|") {
			if r, ok := parseRelation(text); ok {
				alternatives = append(alternatives, r)
			}
		}
		if len(alternatives) > 0 {
			groups = append(groups, alternatives)
		}
	}
	return groups
}

func parseRelation(text string) (relation, bool) {
	name, condition, _ := strings.Cut(strings.TrimSpace(text), "(")
	name, _, _ = strings.Cut(strings.TrimSpace(name), ":") // name:any, name:amd64
	if name == "" {
		return relation{}, false
	}
	condition, _, _ = strings.Cut(condition, ")")
	condition = strings.TrimSpace(condition)
	i := len(condition) - len(strings.TrimLeft(condition, "<>="))
	return relation{name: name, op: condition[:i], version: strings.TrimSpace(condition[i:])}, true
}

// holds says whether a package of this name and version meets the relation.
func (r relation) holds(name, version string) bool {
	if r.name != name {
		return false
	}
	c := compareVersions(version, r.version)
	switch r.op {
	case "":
		return true
	case "<<":
		return c < 0
	case "<=", "<":
		return c <= 0
	case "=":
		return c == 0
	case ">=", ">":
		return c >= 0
	case ">>":
		return c > 0
	}
	return false
}
