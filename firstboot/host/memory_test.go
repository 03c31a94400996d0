package host

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestUnwritable(t *testing.T) {
	const maps = `00400000-00a00000 r-xp 00000000 fe:00 12 /usr/bin/agent
00a00000-00e00000 r--p 00600000 fe:00 12 /usr/bin/agent
00e00000-00e80000 rw-p 00a00000 fe:00 12 /usr/bin/agent
00f00000-00f10000 r--s 00000000 fe:00 13 /usr/bin/agent
7f0000000000-7f0000001000 r-xp 00000000 fe:00 14 /lib/other.so
7ffc0000-7ffd0000 rw-p 00000000 00:00 0 [stack]
c000000000-c000400000 rw-p 00000000 00:00 0
`
	got, err := unwritable(strings.NewReader(maps), "/usr/bin/agent")
	if err != nil {
		t.Fatal(err)
	}
	want := []memoryRange{{0x400000, 0xa00000}, {0xa00000, 0xe00000}}
	if d := cmp.Diff(want, got, cmp.AllowUnexported(memoryRange{})); d != "" {
		t.Error(d)
	}
}

// TestReleaseProgram runs on after its own code was taken out of memory.
func TestReleaseProgram(t *testing.T) {
	if err := ReleaseProgram(); err != nil {
		t.Error(err)
	}
}
