package builder

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"trivet/builder/apt"
	"trivet/builder/disk"
	"trivet/builder/overlay"
	"trivet/roles"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// TestPlans compares what each role's image will hold with testdata/plan. The
// locks beside it are recorded; the roles and overlays are those of the repository.
func TestPlans(t *testing.T) {
	all, err := roles.LoadAll("../roles")
	if err != nil {
		t.Fatal(err)
	}
	for _, role := range all {
		t.Run(role.Name, func(t *testing.T) {
			lock, err := apt.ReadLock(filepath.Join("testdata", role.Name+".lock"))
			if err != nil {
				t.Fatal(err)
			}
			locked := map[string]bool{}
			for _, p := range lock.Packages {
				locked[p.Name] = true
			}
			for _, set := range role.PackageSets() {
				for _, p := range set.Packages {
					if !locked[p] {
						t.Errorf("testdata/%s.lock lacks %s: copy out/%s.lock over it and run make golden", role.Name, p, role.Name)
					}
				}
			}
			tree, err := overlay.Read("../overlays", role.Overlays())
			if err != nil {
				t.Fatal(err)
			}
			b := &build{in: Inputs{SectorSize: 512, Arch: "amd64"}}
			repart, err := disk.Repart(b.layout(role))
			if err != nil {
				t.Fatal(err)
			}
			golden(t, filepath.Join("testdata/plan", role.Name+".txt"), planOf(role, lock, tree, b.layout(role), repart).String())
		})
	}
}

func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-golden +now; if it is wanted: make golden):\n%s", path, diff)
	}
}
