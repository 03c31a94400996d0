package cluster_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/diskfs/go-diskfs"
	"github.com/diskfs/go-diskfs/filesystem"
	"github.com/google/go-cmp/cmp"

	"trivet/qemu-tests/cluster"
)

// seedFiles has what a seed has, and a file of several clusters whose length is
// no multiple of one.
func seedFiles() []cluster.File {
	return []cluster.File{
		{Name: "meta-data", Data: []byte("instance-id: i-1\nlocal-hostname: ctl1\n")},
		{Name: "user-data", Data: append([]byte("#trivet/v1\n"), bytes.Repeat([]byte("# 0123456789\n"), 5000)...)},
		{Name: "network-config", Data: []byte("version: 2\n")},
		{Name: "vendor-data"},
	}
}

func writeFAT(t *testing.T) string {
	t.Helper()
	img, err := cluster.FAT("CIDATA", seedFiles())
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "seed.img")
	if err := os.WriteFile(path, img, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func need(t *testing.T, tool string) {
	t.Helper()
	if _, err := exec.LookPath(tool); err != nil {
		t.Skipf("%s is not on this machine", tool)
	}
}

func TestFATReadsBackWithAnotherLibrary(t *testing.T) {
	d, err := diskfs.Open(writeFAT(t), diskfs.WithOpenMode(diskfs.ReadOnly))
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	fs, err := d.GetFilesystem(0)
	if err != nil {
		t.Skipf("go-diskfs reads no FAT16: %v", err)
	}
	if got := strings.TrimSpace(fs.Label()); got != "CIDATA" {
		t.Errorf("label = %q, want CIDATA", got)
	}
	checkFiles(t, fs)
}

func checkFiles(t *testing.T, fs filesystem.FileSystem) {
	t.Helper()
	for _, f := range seedFiles() {
		if len(f.Data) == 0 {
			continue // go-diskfs 1.9.4 takes an empty file, which has no cluster, for a broken one
		}
		got, err := fs.ReadFile(f.Name)
		if err != nil {
			t.Error(err)
		} else if !bytes.Equal(got, f.Data) {
			t.Errorf("%s has %d bytes, want the %d that were stored", f.Name, len(got), len(f.Data))
		}
	}
}

func TestFATIsCleanForFsck(t *testing.T) {
	need(t, "fsck.fat")
	out, err := exec.Command("fsck.fat", "-n", "-v", writeFAT(t)).CombinedOutput()
	if err != nil {
		t.Fatalf("fsck.fat: %v\n%s", err, out)
	}
}

func TestFATReadsBackWithMtools(t *testing.T) {
	need(t, "mcopy")
	path := writeFAT(t)
	out, err := exec.Command("mdir", "-b", "-i", path, "::").Output()
	if err != nil {
		t.Fatal(err)
	}
	want := "::/meta-data\n::/user-data\n::/network-config\n::/vendor-data\n"
	if diff := cmp.Diff(want, string(out)); diff != "" {
		t.Errorf("mdir (-want +got):\n%s", diff)
	}
	for _, f := range seedFiles() {
		got, err := exec.Command("mtype", "-i", path, "::"+f.Name).Output()
		if err != nil || !bytes.Equal(got, f.Data) {
			t.Errorf("mtype %s gave %d bytes (%v), want the %d that were stored", f.Name, len(got), err, len(f.Data))
		}
	}
}

func TestFATHasTheLabelThatBlkidReads(t *testing.T) {
	need(t, "blkid")
	out, err := exec.Command("blkid", "-p", "-o", "export", writeFAT(t)).Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"LABEL=CIDATA\n", "TYPE=vfat\n", "LABEL_FATBOOT=CIDATA\n", "VERSION=FAT16\n"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("blkid does not say %q:\n%s", want, out)
		}
	}
}

func TestFATIsTheSameEachTime(t *testing.T) {
	a, err := cluster.FAT("CIDATA", seedFiles())
	if err != nil {
		t.Fatal(err)
	}
	b, err := cluster.FAT("CIDATA", seedFiles())
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(a, b) {
		t.Error("two images of the same files differ")
	}
}

func TestFATRefusesWhatDoesNotFit(t *testing.T) {
	for _, tt := range []struct {
		name, want string
		label      string
		files      []cluster.File
	}{
		{"a long label", "more than 11 characters", "CIDATA-CIDATA", nil},
		{"too much data", "more than the", "CIDATA", []cluster.File{{Name: "user-data", Data: make([]byte, 5<<20)}}},
		{"a path", "not a name that fits", "CIDATA", []cluster.File{{Name: "a/b"}}},
		{"no name", "not a name that fits", "CIDATA", []cluster.File{{}}},
		{"a name beyond ASCII", "plain ASCII", "CIDATA", []cluster.File{{Name: "données"}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := cluster.FAT(tt.label, tt.files)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("FAT(%q, …) = %v, want an error with %q", tt.label, err, tt.want)
			}
		})
	}
}
