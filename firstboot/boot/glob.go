package boot

import "strings"

// match reports whether a modalias matches a pattern of modules.alias, as
// fnmatch(3) without flags has it: * any run, ? any byte, [a-z] and [!a-z] one of
// a set. It needs at most len(pattern)·len(name) steps.
func match(pattern, name string) bool {
	star, mark := -1, 0 // where the last * is, and where its run ends so far
	p, n := 0, 0
	for n < len(name) {
		if p < len(pattern) {
			if pattern[p] == '*' {
				star, mark = p, n
				p++
				continue
			}
			if width, ok := matchOne(pattern[p:], name[n]); ok {
				p += width
				n++
				continue
			}
		}
		if star < 0 {
			return false
		}
		mark++
		p, n = star+1, mark
	}
	return strings.Trim(pattern[p:], "*") == ""
}

// matchOne matches the first element of a pattern and returns its width.
func matchOne(pattern string, c byte) (width int, ok bool) {
	switch pattern[0] {
	case '?':
		return 1, true
	case '[':
		if width, ok, closed := matchSet(pattern, c); closed {
			return width, ok
		}
	}
	return 1, pattern[0] == c
}

// matchSet matches [...]; closed is false if no ] ends it, when [ is itself.
func matchSet(pattern string, c byte) (width int, ok, closed bool) {
	i, not := 1, false
	if i < len(pattern) && (pattern[i] == '!' || pattern[i] == '^') {
		not = true
		i++
	}
	for first := true; i < len(pattern); first = false {
		if pattern[i] == ']' && !first {
			return i + 1, ok != not, true
		}
		low, high := pattern[i], pattern[i]
		if i+2 < len(pattern) && pattern[i+1] == '-' && pattern[i+2] != ']' {
			high = pattern[i+2]
			i += 2
		}
		i++
		ok = ok || low <= c && c <= high
	}
	return 0, false, false
}

// literal is the part of a pattern before its first wildcard.
func literal(pattern string) string {
	if i := strings.IndexAny(pattern, "*?["); i >= 0 {
		return pattern[:i]
	}
	return pattern
}
