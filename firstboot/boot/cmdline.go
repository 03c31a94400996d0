package boot

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Limits of the kernel command line. Linux itself ends at 4096 bytes on the
// largest architecture (COMMAND_LINE_SIZE).
const (
	maxCmdline = 16 << 10
	maxWords   = 2048
)

// defaultWait is how long the disk with the root may take to appear.
const defaultWait = 60 * time.Second

// A Cmdline is what the initrd takes from the kernel command line.
type Cmdline struct {
	RootHash   RootHash
	Disk       string              // trivet.disk=NAME: only the disk with this kernel name or serial number is looked at
	Wait       time.Duration       // trivet.wait=SECONDS: how long the root's disk may take to appear
	FsckSkip   bool                // fsck.mode=skip, as systemd-fsck@.service(8) has it
	FsckForce  bool                // fsck.mode=force
	FsckRepair string              // fsck.repair=: preen, yes or no
	Blacklist  map[string]bool     // modprobe.blacklist=, normalised names
	Params     map[string][]string // MODULE.PARAMETER=VALUE, by normalised module
	Notes      []string            // what was not understood, for the operator
}

// splitCmdline parts a command line as the kernel does (next_arg in
// lib/cmdline.c): at white space outside of double quotes, which are dropped.
func splitCmdline(text string) ([]string, error) {
	if len(text) > maxCmdline {
		return nil, fmt.Errorf("has %d bytes, at most %d are read", len(text), maxCmdline)
	}
	var words []string
	var word strings.Builder
	quoted, begun := false, false
	end := func() {
		if begun {
			words = append(words, word.String())
			word.Reset()
			begun = false
		}
	}
	for i := range len(text) {
		switch c := text[i]; {
		case c == '"':
			quoted, begun = !quoted, true
		case !quoted && strings.IndexByte(" \t\n\r\v\f\x00", c) >= 0:
			end()
		default:
			word.WriteByte(c)
			begun = true
		}
	}
	end()
	if len(words) > maxWords {
		return nil, fmt.Errorf("has %d words, at most %d are read", len(words), maxWords)
	}
	return words, nil
}

// ParseCmdline reads the text of /proc/cmdline. Words of others,
// the agent's among them, are passed over.
func ParseCmdline(text string) (Cmdline, error) {
	c := Cmdline{Wait: defaultWait, FsckRepair: "preen", Blacklist: map[string]bool{}, Params: map[string][]string{}}
	words, err := splitCmdline(text)
	if err != nil {
		return Cmdline{}, fmt.Errorf("read the kernel command line: it %w", err)
	}
	seen := false
	for _, word := range words {
		if word == "--" { // the rest is for init
			break
		}
		key, value, _ := strings.Cut(word, "=")
		if key != "roothash" {
			c.take(key, value, word)
			continue
		}
		hash, err := parseRootHash(value)
		if err != nil {
			return Cmdline{}, fmt.Errorf("read roothash=%.80s of the kernel command line: it %w", value, err)
		}
		if seen && hash != c.RootHash {
			return Cmdline{}, errors.New("read the kernel command line: two different roothash= stand on it")
		}
		c.RootHash, seen = hash, true
	}
	if !seen {
		return Cmdline{}, errors.New("read the kernel command line: no roothash= stands on it")
	}
	return c, nil
}

// take reads one word that is not the root hash.
func (c *Cmdline) take(key, value, word string) {
	switch key {
	case "trivet.disk":
		c.Disk = strings.TrimPrefix(value, "/dev/")
	case "trivet.wait":
		seconds, err := strconv.Atoi(value)
		if err != nil || seconds < 1 || seconds > 3600 {
			c.Notes = append(c.Notes, fmt.Sprintf("%s is ignored: want 1 to 3600 seconds", word))
			return
		}
		c.Wait = time.Duration(seconds) * time.Second
	case "fsck.mode":
		c.FsckSkip, c.FsckForce = value == "skip", value == "force"
	case "fsck.repair":
		if value == "preen" || value == "yes" || value == "no" {
			c.FsckRepair = value
		}
	case "modprobe.blacklist":
		for name := range strings.SplitSeq(value, ",") {
			c.Blacklist[moduleName(name)] = true
		}
	default:
		module, param, ok := strings.Cut(key, ".")
		switch {
		case !ok || module == "" || param == "":
		case module == "trivet": // the agent's
		default:
			module = moduleName(module)
			c.Params[module] = append(c.Params[module], moduleParam(word))
		}
	}
}

// moduleParam turns the word MODULE.PARAMETER=VALUE into what finit_module takes:
// the module is cut off, and a value with white space is quoted again.
func moduleParam(word string) string {
	_, param, _ := strings.Cut(word, ".")
	key, value, ok := strings.Cut(param, "=")
	if ok && strings.ContainsAny(value, " \t") {
		return key + `="` + value + `"`
	}
	return param
}
