package boot

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func ones(b []byte) error {
	for i := range b {
		b[i] = 0xff
	}
	return nil
}

// onesID is made of ones, but for the bits that make it a random UUID.
const onesID = "ffffffffffff4fffbfffffffffffffff"

func TestKeepMachineID(t *testing.T) {
	const old = "0123456789abcdef0123456789abcdef"
	for name, c := range map[string]struct {
		there       string
		want, aside string
	}{
		"none":       {"", onesID, ""},
		"kept":       {old + "\n", old, ""},
		"no newline": {old, old, ""},
		"empty":      {" ", onesID, "machine-id.bad-1"},
		"cut off":    {old[:31] + "\n", onesID, "machine-id.bad-1"},
		"zeros":      {strings.Repeat("0", 32), onesID, "machine-id.bad-1"},
		"upper case": {strings.ToUpper(old), onesID, "machine-id.bad-1"},
		"blocks":     {strings.Repeat("\x00", 4096), onesID, "machine-id.bad-1"},
		"two lines":  {old + "\n\n", onesID, "machine-id.bad-1"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "var/lib/trivet")
			path := filepath.Join(dir, machineIDFile)
			if c.there != "" {
				put(t, path, c.there)
			}
			// A power cut left this.
			put(t, path+".new", "half")
			id, made, aside, err := keepMachineID(dir, ones)
			if err != nil {
				t.Fatal(err)
			}
			if id != c.want || made != (c.want == onesID) || aside != c.aside {
				t.Errorf("got %q, made %v, aside %q", id, made, aside)
			}
			again, made, _, err := keepMachineID(dir, func([]byte) error { return errIO })
			if err != nil || made || again != id {
				t.Errorf("the next boot gets %q, made %v, %v", again, made, err)
			}
			if c.aside != "" {
				if text, err := os.ReadFile(filepath.Join(dir, c.aside)); err != nil || string(text) != c.there {
					t.Errorf("what was put aside: %q, %v", text, err)
				}
			}
		})
	}
}

func TestMachineIDIsNoFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, machineIDFile)
	put(t, filepath.Join(path, "x"), "a folder")
	put(t, path+".bad-1", "an older one")
	id, made, aside, err := keepMachineID(dir, ones)
	if err != nil || id != onesID || !made || aside != "machine-id.bad-2" {
		t.Errorf("a folder: %q, %v, %q, %v", id, made, aside, err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	// A link could lead out of /var, to a file that is not this machine's.
	if err := os.Symlink("elsewhere", path); err != nil {
		t.Fatal(err)
	}
	if _, made, aside, err := keepMachineID(dir, ones); err != nil || !made || aside != "machine-id.bad-3" {
		t.Errorf("a link: made %v, aside %q, %v", made, aside, err)
	}
	if _, _, _, err := keepMachineID(t.TempDir(), func([]byte) error { return errIO }); !errors.Is(err, errIO) {
		t.Errorf("no random bytes: %v", err)
	}
}

func FuzzParseMachineID(f *testing.F) {
	f.Add([]byte(onesID + "\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		id, err := parseMachineID(text)
		if err == nil && (len(id) != 32 || strings.Trim(id, "0123456789abcdef") != "") {
			t.Errorf("parseMachineID(%q) = %q", text, id)
		}
	})
}
