package cluster

import (
	"bytes"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// TestDamagedFlipsOneBitAndKeepsHoles copies a disk of 64 MiB that holds two
// islands of data.
func TestDamagedFlipsOneBitAndKeepsHoles(t *testing.T) {
	dir := t.TempDir()
	base, path := filepath.Join(dir, "base"), filepath.Join(dir, "copy")
	if err := blank(base, 64<<20); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(base, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	island := bytes.Repeat([]byte("island "), 1000)
	for _, at := range []int64{1 << 20, 40 << 20} {
		if _, err := f.WriteAt(island, at); err != nil {
			t.Fatal(err)
		}
	}
	if err := damaged(base, path, 128<<20, []int64{1<<20 + 3, 50 << 20}); err != nil {
		t.Fatal(err)
	}
	want := make([]byte, 128<<20)
	copy(want[1<<20:], island)
	copy(want[40<<20:], island)
	want[1<<20+3] ^= 1
	want[50<<20] ^= 1
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("the copy is not the base, grown, with two bits flipped")
	}
	st, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if used := st.Sys().(*syscall.Stat_t).Blocks * 512; used > 8<<20 {
		t.Errorf("the copy uses %d bytes of the file system, want its holes kept", used)
	}
	if err := damaged(base, filepath.Join(dir, "beyond"), 128<<20, []int64{1 << 40}); err == nil {
		t.Error("a flip beyond the end = no error")
	}
}
