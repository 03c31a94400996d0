package boot

import (
	"bytes"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestLinux(t *testing.T) {
	k, err := OpenEvents()
	if err != nil {
		t.Logf("without device events: %v", err) // a sandbox may forbid the socket
	}
	began := time.Now()
	k.Wait(30 * time.Millisecond)
	if took := time.Since(began); took > time.Second {
		t.Errorf("Wait took %v", took)
	}
	release, err := k.Release()
	if err != nil || release == "" {
		t.Errorf("release %q, %v", release, err)
	}
	b := make([]byte, 16)
	if err := k.Random(b); err != nil || bytes.Equal(b, make([]byte, 16)) {
		t.Errorf("random % x, %v", b, err)
	}
	if _, err := deviceNumber("/dev/null"); err == nil {
		t.Error("a character device is taken for a disk")
	}
}

func TestModprobe(t *testing.T) {
	m := newTestMachine(t, 512)
	if err := Modprobe(m, m.root, "fs-ext4"); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"load crc32c_fast", "load crc32c_generic", "load jbd2", "load ext4"}, m.calls); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
	if err := Modprobe(m, m.root, "fs-nosuch"); !errors.Is(err, errNoModule) {
		t.Errorf("fs-nosuch: %v", err)
	}
	if err := Modprobe(m, filepath.Join(m.root, "sys"), "ext4"); err == nil {
		t.Error("without an index: no error")
	}
}

func TestProblemText(t *testing.T) {
	one := advise(errors.New("open x: gone"), "plug it in")
	if got := one.Error(); got != "open x: gone; what to do: plug it in" {
		t.Error(got)
	}
	if got := advise(one, "something else").Error(); got != one.Error() {
		t.Errorf("advice was replaced: %s", got)
	}
	if got := advise(errors.New("a:\nb"), "c").Error(); got != "a:\nb\nWhat to do: c" {
		t.Error(got)
	}
	if advise(nil, "x") != nil {
		t.Error("advice without an error")
	}
}
