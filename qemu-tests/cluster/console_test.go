package cluster_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"trivet/qemu-tests/cluster"
)

func TestScannerCutsCleanLines(t *testing.T) {
	s := cluster.NewScanner()
	var got []string
	for _, piece := range []string{
		"\x1b[2J\x1b[01;01H\x1b[=3hBdsDxe: load", "ing Boot0001\r\n", "[  OK  ] \x1b[0;32mReached\x1b[0m target\r\n\r\n",
		"\x1b]0;title\x07one\ttwo\rthree\n", "no end \xff\x00",
	} {
		got = append(got, s.Feed([]byte(piece))...)
	}
	want := []string{"BdsDxe: loading Boot0001", "[  OK  ] Reached target", "one two three"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Feed (-want +got):\n%s", diff)
	}
	if got := s.Rest(); got != "no end" {
		t.Errorf("Rest() = %q, want %q", got, "no end")
	}
}

func TestScannerBoundsALineWithoutEnd(t *testing.T) {
	s := cluster.NewScanner()
	n := 0
	for range 100 {
		for _, line := range s.Feed([]byte(strings.Repeat("x", 1000))) {
			n += len(line)
		}
	}
	if n < 90_000 || len(s.Rest()) > 5000 {
		t.Errorf("of 100000 bytes without a line end %d came out and %d are held; want all but some thousand", n, len(s.Rest()))
	}
}

func TestScannerFindsTrouble(t *testing.T) {
	for line, want := range map[string]string{
		"[    1.2] Kernel panic - not syncing: VFS: Unable to mount root fs":         "kernel panic",
		"[    1.2] BUG: unable to handle page fault for address: ffff":               "kernel oops",
		"[    1.2] Oops: 0002 [#1] SMP NOPTI":                                        "kernel oops",
		"[    1.2] device-mapper: verity: 254:2: data block 0 is corrupted":          "verity",
		"[   60.1] systemd[1]: Freezing execution.":                                  "emergency mode",
		"You are in emergency mode. After logging in, type":                          "emergency mode",
		"[   60.1] Out of memory: Killed process 812 (mariadbd)":                     "out of memory",
		"[   60.1] keystone[9]: segfault at 10 ip 00007f":                            "crash of a program",
		"trivet: render failed: haproxy.cfg: no value":                               "a step of the boot",
		"[   12.345678] trivet-init disk failed: no partition":                       "a step of the boot",
		"panic: runtime error: index out of range [3] with length 3":                 "Go panic",
		"[   60.1] EXT4-fs error (device vda6): ext4_lookup:1855":                    "file system",
		"trivet-init var done: after a step that failed: x":                          "",
		"trivet: render done: 41 files":                                              "",
		"[    0.0] Command line: roothash=00 panic=10 console=ttyS0":                 "",
		"[    1.2] device-mapper: verity: sha256 using implementation \"sha256-ni\"": "",
		"[   60.1] rcu: INFO: rcu_preempt self-detected stall on CPU":                "",
		"systemd[1]: emergency.service: Deactivated successfully.":                   "",
		"[  OK  ] Reached target multi-user.target":                                  "",
	} {
		if got := cluster.NewScanner().Trouble(line); got != want {
			t.Errorf("Trouble(%q) = %q, want %q", line, got, want)
		}
	}
}

func TestScannerLetsTheExpectedPass(t *testing.T) {
	s := cluster.NewScanner(regexp.MustCompile(`dm-verity device corrupted`))
	if got := s.Trouble("Kernel panic - not syncing: dm-verity device corrupted"); got != "" {
		t.Errorf("Trouble of an expected line = %q, want none", got)
	}
	if got := s.Trouble("Kernel panic - not syncing: Attempted to kill init!"); got != "kernel panic" {
		t.Errorf("Trouble of another panic = %q, want kernel panic", got)
	}
}

func FuzzScanner(f *testing.F) {
	f.Add([]byte("\x1b[31mred\x1b[0m\r\nnext"))
	f.Add([]byte("\x1b]0;\x1b[\x1b\x1b"))
	f.Fuzz(func(t *testing.T, data []byte) {
		s := cluster.NewScanner()
		for _, line := range append(s.Feed(data), s.Rest()) {
			s.Trouble(line)
			if strings.ContainsAny(line, "\n\r\x00") {
				t.Errorf("line %q has control characters", line)
			}
		}
	})
}
