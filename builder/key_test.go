package builder

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"trivet/builder/apt"
	"trivet/builder/overlay"
	"trivet/roles"
)

// TestKeyFollowsEveryInput: whatever goes into an image changes the key by
// which a build knows that nothing changed.
func TestKeyFollowsEveryInput(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "init")
	if err := os.WriteFile(program, []byte("one"), 0o755); err != nil {
		t.Fatal(err)
	}
	base := func() (*build, roles.Role, apt.Lock, overlay.Tree) {
		return &build{in: Inputs{Version: "1", Init: program, SectorSize: 512}}, roles.Role{Name: "web"},
			apt.Lock{Version: 1, Date: time.Unix(1, 0)}, overlay.Tree{Files: []overlay.File{{Path: "etc/x"}}}
	}
	b, role, lock, files := base()
	first := b.key(role, lock, files)
	if again := b.key(role, lock, files); again != first {
		t.Fatal("the same inputs have two keys")
	}
	for name, change := range map[string]func(b *build, role *roles.Role, lock *apt.Lock, files *overlay.Tree){
		"version of trivet": func(b *build, _ *roles.Role, _ *apt.Lock, _ *overlay.Tree) { b.in.Version = "2" },
		"sector size":       func(b *build, _ *roles.Role, _ *apt.Lock, _ *overlay.Tree) { b.in.SectorSize = 4096 },
		"trivet-init":       func(b *build, _ *roles.Role, _ *apt.Lock, _ *overlay.Tree) { b.in.Init = dir },
		"role":              func(_ *build, role *roles.Role, _ *apt.Lock, _ *overlay.Tree) { role.Name = "db" },
		"a package": func(_ *build, _ *roles.Role, lock *apt.Lock, _ *overlay.Tree) {
			lock.Packages = []apt.Package{{Name: "x"}}
		},
		"an overlay file": func(_ *build, _ *roles.Role, _ *apt.Lock, files *overlay.Tree) { files.Files[0].Content = []byte("y") },
	} {
		b, role, lock, files := base()
		change(b, &role, &lock, &files)
		if b.key(role, lock, files) == first {
			t.Errorf("%s changes and the key does not", name)
		}
	}
}
