package cluster

import (
	"os"
	"path/filepath"
	"testing"
)

// TestScratchOfTheDeadIsSwept leaves a folder as a killed test does: unlocked
// by the kernel, with its lock file.
func TestScratchOfTheDeadIsSwept(t *testing.T) {
	parent := t.TempDir()
	dead, err := newScratch(parent)
	if err != nil {
		t.Fatal(err)
	}
	if err := dead.lock.Close(); err != nil {
		t.Fatal(err)
	}
	living, err := newScratch(parent)
	if err != nil {
		t.Fatal(err)
	}
	third, err := newScratch(parent)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dead.dir); !os.IsNotExist(err) {
		t.Errorf("the folder of a dead process is still there (%v)", err)
	}
	if !isFile(filepath.Join(living.dir, "lock")) {
		t.Error("the folder of a living process was removed")
	}
	for _, s := range []scratch{living, third} {
		if err := s.remove(); err != nil {
			t.Error(err)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(parent, "*")); len(left) > 0 {
		t.Errorf("folders are left: %q", left)
	}
}
