package builder

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestPruneTakesTheOldestAndLeavesNothingAside(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"old", "new"} {
		path := filepath.Join(dir, "layers", name)
		if err := os.MkdirAll(path, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(path, "x"), make([]byte, 1<<20), 0o644); err != nil {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Millisecond)
	}
	freed, err := PruneCache(context.Background(), dir, "1500KiB")
	if err != nil || freed < 1<<20 {
		t.Fatalf("PruneCache = %d, %v; want 1 MiB freed", freed, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "layers", "old")); err == nil {
		t.Error("the entry that was not used for longest is still there")
	}
	if _, err := os.Stat(filepath.Join(dir, "layers", "new", "x")); err != nil {
		t.Errorf("the newer entry is gone: %v", err)
	}
	if left, err := os.ReadDir(filepath.Join(dir, "tmp")); err != nil || len(left) > 0 {
		t.Errorf("left aside: %v (%v)", left, err)
	}
}
