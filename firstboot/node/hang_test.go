package node

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestSlow(t *testing.T) {
	var keys strings.Builder
	for i := 0; keys.Len() < 1<<20; i++ {
		fmt.Fprintf(&keys, "k%d: v\n", i)
	}
	for name, text := range map[string]string{
		"keys": keys.String(), "dashes": strings.Repeat("- a\n", 1<<18), "quote": "a: \"" + strings.Repeat("x\n ", 300000) + "\"", "comment": strings.Repeat("# a\n", 1<<18), "flow": "a: [" + strings.Repeat("a, ", 40000) + "]",
		"block": "a: |\n" + strings.Repeat("  xxx\n", 1<<17), "spaces": strings.Repeat(" \n", 1<<19), "docs": strings.Repeat("---\n", 1<<18), "colon": strings.Repeat("a:\n", 1<<18), "amp": strings.Repeat("&a\n", 1<<18), "nest": strings.Repeat("? \n", 1<<18), "fold": "a: >\n" + strings.Repeat(" x\n\n", 1<<17),
	} {
		began := time.Now()
		_, err := Parse("f", []byte("#trivet/v1\n"+text)[:min(len(text), 1<<20)], "")
		t.Logf("%s %d %v %.100v", name, len(text), time.Since(began), err)
	}
}
