package boot

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestSeedOfTheInitramfs: what the network boot put below /run is there after
// /run is a file system of its own, closed to all but root.
func TestSeedOfTheInitramfs(t *testing.T) {
	m := newTestMachine(t, 512)
	m.put(initrdSeed+"/user-data", "canary\n")
	m.put(initrdSeed+"/meta-data", "")
	if err := m.start(); err != nil {
		t.Fatal(err)
	}
	if got := m.read(initrdSeed + "/user-data"); got != "canary\n" {
		t.Errorf("user-data %q", got)
	}
	for path, want := range map[string]os.FileMode{initrdSeed: 0o700, initrdSeed + "/user-data": 0o600, initrdSeed + "/meta-data": 0o600} {
		if info, err := os.Stat(filepath.Join(m.root, path)); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v; want %v", path, info, err, want)
		}
	}
	if said := strings.Join(m.said, "\n"); strings.Contains(said, "canary") {
		t.Errorf("the seed is told: %s", said)
	}
}

func TestSeedIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		make func(m *machine)
		want string
	}{
		"a folder": {func(m *machine) { m.put(initrdSeed+"/folder/file", "") }, "/run/trivet/seed/folder is not a file"},
		"a link": {func(m *machine) {
			m.put(initrdSeed+"/file", "")
			if err := os.Symlink("/etc/shadow", filepath.Join(m.root, initrdSeed, "link")); err != nil {
				t.Fatal(err)
			}
		}, "/run/trivet/seed/link is not a file"},
		"many": {func(m *machine) {
			for i := range maxSeedFiles + 1 {
				m.put(fmt.Sprintf("%s/%d", initrdSeed, i), "")
			}
		}, "17 files in /run/trivet/seed, more than 16"},
		"long": {func(m *machine) { m.put(initrdSeed+"/user-data", strings.Repeat("x", maxSeedFile+1)) }, "user-data"},
	} {
		t.Run(name, func(t *testing.T) {
			m := newTestMachine(t, 512)
			c.make(m)
			if err := m.start(); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}
