package rootfs

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// TestTempLeftovers checks that what a killed build left goes with the next
// build, and what a living one has does not.
func TestTempLeftovers(t *testing.T) {
	cache := t.TempDir()
	dead, err := newTemp(cache, "dead")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dead.dir, "x"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	dead.lock.Close() // as the kernel does when the process is killed
	living, err := newTemp(cache, "living")
	if err != nil {
		t.Fatal(err)
	}
	third, err := newTemp(cache, "third")
	if err != nil {
		t.Fatal(err)
	}
	if exists(dead.dir) || exists(dead.dir+".lock") {
		t.Error("the dead build's directory is still there")
	}
	if !exists(living.dir) || !exists(third.dir) {
		t.Error("a living build's directory was removed")
	}
	living.remove()
	third.remove()
	if left, _ := os.ReadDir(filepath.Join(cache, "tmp")); len(left) != 1 {
		t.Errorf("left: %v", left)
	}
}

// TestUnsynced checks that what was made in another boot and never synced is
// thrown away, and nothing else.
func TestUnsynced(t *testing.T) {
	cache := t.TempDir()
	layer := filepath.Join(cache, "layers", "k")
	deb := filepath.Join(cache, "debs", "d")
	for _, d := range []string{layer, deb} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	mark := filepath.Join(cache, unsyncedName)
	for _, step := range []struct {
		summary string
		do      func() error
		kept    bool
	}{
		{"nothing made", func() error { return nil }, true},
		{"made in this boot", func() error { return markUnsynced(cache) }, true},
		{"synced", func() error { return Sync(cache) }, true},
		{"made in another boot", func() error { return os.WriteFile(mark, []byte("another"), 0o644) }, false},
	} {
		if err := step.do(); err != nil {
			t.Fatal(err)
		}
		if err := trustCache(cache); err != nil {
			t.Fatal(err)
		}
		if exists(layer) != step.kept || !exists(deb) {
			t.Errorf("%s: layer kept: %v, package file kept: %v", step.summary, exists(layer), exists(deb))
		}
	}
	if exists(mark) {
		t.Error("the mark is still there")
	}
}

func TestSyncLeavesOthersMark(t *testing.T) {
	cache := t.TempDir()
	if err := markUnsynced(cache); err != nil {
		t.Fatal(err)
	}
	other, err := newTemp(cache, "other")
	if err != nil {
		t.Fatal(err)
	}
	defer other.remove()
	if err := Sync(cache); err != nil {
		t.Fatal(err)
	}
	if !exists(filepath.Join(cache, unsyncedName)) {
		t.Error("the mark of a build at work was taken away")
	}
}

// TestLayDamagedStore checks that a file of the store that lost its content is
// noticed.
func TestLayDamagedStore(t *testing.T) {
	in := testInputs(t)
	deb := testDeb{name: "a", entries: []testEntry{file("x", "content")}}
	if _, err := unpackAll(t, in, deb); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(in.Cache, "unpacked/*/*/1"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	if err := unix.Truncate(files[0], 0); err != nil {
		t.Fatal(err)
	}
	if _, err := unpackAll(t, in, deb); err == nil {
		t.Error("a damaged store was used")
	}
}
