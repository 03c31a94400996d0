package cluster

import (
	"bytes"
	"regexp"
	"strings"
)

// maxLine is how much of one console line is kept, in bytes.
const maxLine = 4 << 10

// A Trouble is a kind of console line that fails a test unless it is expected.
type Trouble struct {
	Name string
	re   *regexp.Regexp
}

// troubles are what a healthy machine never says. Stalls of the scheduler (soft
// lockups, RCU) are not among them: emulation on a loaded host causes them.
func troubles() []Trouble {
	return []Trouble{
		{"kernel panic", regexp.MustCompile(`Kernel panic - not syncing`)},
		{"kernel oops", regexp.MustCompile(`\bOops: |\bkernel BUG at |BUG: (kernel NULL|unable to handle)|general protection fault`)},
		{"kernel warning of corruption", regexp.MustCompile(`BUG: KASAN|list_(add|del) corruption|scheduling while atomic`)},
		{"verity", regexp.MustCompile(`device-mapper: verity: .*(corrupted|panic)|dm-verity device corrupted`)},
		{"file system", regexp.MustCompile(`EXT4-fs error|SQUASHFS error|erofs: .*(corrupted|failed to)|I/O error, dev `)},
		{"out of memory", regexp.MustCompile(`Out of memory: Killed process|oom-kill:`)},
		{"crash of a program", regexp.MustCompile(`\bsegfault at [0-9a-f]+ ip|traps: .* (trap invalid opcode|general protection)`)},
		{"emergency mode", regexp.MustCompile(`You are in (emergency|rescue) mode|Freezing execution|Entering emergency mode`)},
		{"a step of the boot", regexp.MustCompile(`^\s*(\[[ 0-9.]+\]\s*)?trivet(:|-init) [a-z-]+ failed: `)},
		{"Go panic", regexp.MustCompile(`^(panic: |fatal error: |goroutine \d+ \[running\]:)`)},
	}
}

// A Scanner cuts a serial console into clean lines and looks for trouble.
type Scanner struct {
	expect   []*regexp.Regexp
	troubles []Trouble
	rest     []byte
}

// NewScanner returns a scanner that lets lines pass which match one of expect.
func NewScanner(expect ...*regexp.Regexp) *Scanner {
	return &Scanner{expect: expect, troubles: troubles()}
}

// escapes are terminal control sequences: CSI, OSC and the two-byte ones
// (ECMA-48, 5.4). Firmware and systemd paint with them.
var escapes = regexp.MustCompile(`\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(\x07|\x1b\\)|\x1b[@-Z\\-_cH78=>]`)

// Feed takes the next bytes of the console and returns its finished lines, in
// order, without control characters.
func (s *Scanner) Feed(data []byte) []string {
	s.rest = append(s.rest, data...)
	var lines []string
	for {
		i := bytes.IndexByte(s.rest, '\n')
		if i < 0 && len(s.rest) > maxLine {
			i = maxLine
		}
		if i < 0 {
			return lines
		}
		if line := Clean(s.rest[:i]); line != "" {
			lines = append(lines, line)
		}
		if i < len(s.rest) && s.rest[i] == '\n' {
			i++
		}
		s.rest = s.rest[i:]
	}
}

// Rest returns the last, unfinished line: a kernel that died may never end it.
func (s *Scanner) Rest() string { return Clean(s.rest) }

// Trouble returns what is wrong with a line, or "" when nothing is.
func (s *Scanner) Trouble(line string) string {
	for _, t := range s.troubles {
		if !t.re.MatchString(line) {
			continue
		}
		for _, e := range s.expect {
			if e.MatchString(line) {
				return ""
			}
		}
		return t.Name
	}
	return ""
}

// Clean returns a line as it is read by a human: control sequences and
// unprintable bytes are gone, and what a carriage return starts anew begins a
// new word.
func Clean(line []byte) string {
	line = escapes.ReplaceAll(line, nil)
	if len(line) > maxLine {
		line = line[:maxLine]
	}
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		switch {
		case r == '\t' || r == '\r':
			return ' '
		case r < ' ' || r == 0x7f || r == '�':
			return -1
		}
		return r
	}, string(line)))
}
