package disk

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestRepartDefinitions(t *testing.T) {
	got, err := Repart(Layout{ESP: 512 * mib, Root: 2048 * mib, Verity: 32 * mib, Arch: "arm64"})
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for _, name := range []string{"10-esp.conf", "20-root-a.conf", "21-verity-a.conf", "30-root-b.conf", "31-verity-b.conf", "40-var.conf"} {
		fmt.Fprintf(&text, "== %s\n%s", name, got[name])
		delete(got, name)
	}
	want, err := os.ReadFile("testdata/repart-arm64.txt")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), text.String()); diff != "" || len(got) > 0 {
		t.Errorf("definitions differ from the golden (-want +got), and there are more: %v\n%s", got, diff)
	}
}

// TestRepartCompletesTheDisk runs systemd-repart on an image that was grown to
// 20 GB, as the machine does at its first boot, and again, as at its second.
func TestRepartCompletesTheDisk(t *testing.T) {
	for _, sector := range []int{512, 4096} {
		t.Run(fmt.Sprint(sector), func(t *testing.T) {
			needTools(t, "systemd-repart", "mkfs.ext4")
			dir, _ := assembled(t, sector)
			if v := output(t, dir, "systemd-repart", "--version"); regexp.MustCompile(`systemd 2[0-4]\d|systemd 25[0-6]`).MatchString(v) {
				t.Skipf("skipped: the images have systemd 257, here is %.12s", v)
			}
			before, err := Inspect(dir + "/disk.raw")
			if err != nil {
				t.Fatal(err)
			}
			if err := os.Truncate(dir+"/disk.raw", 20e9/mib*mib); err != nil {
				t.Fatal(err)
			}
			repart(t, dir, sector)
			first, err := Inspect(dir + "/disk.raw")
			if err != nil {
				t.Fatal(err)
			}
			checkGrown(t, before, first, testLayout(sector))
			repart(t, dir, sector)
			second, err := Inspect(dir + "/disk.raw")
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(first, second); diff != "" {
				t.Errorf("a second run changed the disk (-first +second):\n%s", diff)
			}
			if sector == 512 {
				if out := output(t, dir, "sgdisk", "-v", workAt+"/disk.raw"); !strings.Contains(out, "No problems found") {
					t.Errorf("sgdisk -v:\n%s", out)
				}
			}
		})
	}
}

func repart(t *testing.T, dir string, sector int) {
	t.Helper()
	defs, err := Repart(testLayout(sector))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "repart.d"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range defs {
		if err := os.WriteFile(filepath.Join(dir, "repart.d", name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	out := output(t, dir, "env", "TMPDIR=/tmp", "systemd-repart", "--definitions="+workAt+"/repart.d", "--dry-run=no", "--offline=yes", "--seed=random",
		fmt.Sprintf("--sector-size=%d", sector), "--json=short", workAt+"/disk.raw")
	if !json.Valid([]byte(out)) {
		t.Logf("systemd-repart says:\n%s", out)
	}
}

func checkGrown(t *testing.T, before, after Info, l Layout) {
	t.Helper()
	if diff := cmp.Diff(before.Partitions, after.Partitions[:3]); diff != "" {
		t.Errorf("the image's own partitions were changed (-before +after):\n%s", diff)
	}
	if after.RootHash != before.RootHash {
		t.Error("the UKI was changed")
	}
	var got []string
	for _, p := range after.Partitions[3:] {
		got = append(got, p.Label+" "+p.Type)
	}
	if diff := cmp.Diff([]string{"root-b root-x86-64", "verity-b root-x86-64-verity", "var var"}, got); diff != "" {
		t.Fatalf("the new partitions differ (-want +got):\n%s", diff)
	}
	b, verity, data := after.Partitions[3], after.Partitions[4], after.Partitions[5]
	if b.Size != l.Root || verity.Size != l.Verity {
		t.Errorf("slot B has %d and %d bytes, want %d and %d", b.Size, verity.Size, l.Root, l.Verity)
	}
	free := after.Size - data.Offset - data.Size
	if free < 64*mib || free > 68*mib {
		t.Errorf("%d bytes are free at the end, want 64 MiB and the backup table", free)
	}
	if used := data.Offset + data.Size; used < 19e9 {
		t.Errorf("/var ends at %d, it did not grow", used)
	}
}
