package boot

import (
	"path"
	"strings"
	"testing"
)

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		pattern, name string
		want          bool
	}{
		{"pci:v00001AF4d*sv*sd*bc*sc*i*", "pci:v00001AF4d00001042sv00001AF4sd00001100bc01sc00i00", true},
		{"pci:v00001AF4d*sv*sd*bc*sc*i*", "pci:v00008086d00001042sv00001AF4sd00001100bc01sc00i00", false},
		{"pci:v*d*sv*sd*bc01sc08i02*", "pci:v00001B36d00000010sv00001AF4sd00001100bc01sc08i02", true},
		{"cpu:type:x86,ven*fam*mod*:feature:*00F5*", "cpu:type:x86,ven0002fam0017mod0031:feature:,0000,0001,00F5,0101", true},
		{"cpu:type:x86,ven*fam*mod*:feature:*00F5*", "cpu:type:x86,ven0002fam0017mod0031:feature:,0000,0001", false},
		{"usb:v04B4p6830d0[0-9]*", "usb:v04B4p6830d0012", true},
		{"a[!b-d]e", "aae", true},
		{"a[!b-d]e", "ace", false},
		{"a[]b]e", "a]e", true},
		{"a[b", "a[b", true}, // not closed: itself
		{"", "", true},
		{"*", "", true},
		{"**x**", "aaxbb", true},
		{"?", "", false},
		{"ab", "abc", false},
		{"abc", "ab", false},
	} {
		if got := match(c.pattern, c.name); got != c.want {
			t.Errorf("match(%q, %q) = %v", c.pattern, c.name, got)
		}
	}
}

// TestMatchEnds is a pattern that takes a naive matcher longer than the universe.
func TestMatchEnds(t *testing.T) {
	if match(strings.Repeat("a*", 60)+"b", strings.Repeat("a", 4000)) {
		t.Error("matched")
	}
}

// FuzzMatch compares with path.Match, which has the same rules where no / is in
// the name, no backslash in the pattern, and no set.
func FuzzMatch(f *testing.F) {
	f.Add("a*b?c", "axxbyc")
	f.Add("*[", "[")
	f.Fuzz(func(t *testing.T, pattern, name string) {
		got := match(pattern, name)
		if strings.ContainsAny(pattern, `\[`) || strings.Contains(name, "/") || !isASCII(pattern+name) {
			return
		}
		want, err := path.Match(pattern, name)
		if err == nil && got != want {
			t.Errorf("match(%q, %q) = %v, path.Match says %v", pattern, name, got, want)
		}
	})
}

func isASCII(s string) bool {
	return strings.IndexFunc(s, func(c rune) bool { return c >= 0x80 }) < 0
}
