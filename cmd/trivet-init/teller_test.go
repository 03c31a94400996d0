package main

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"trivet/firstboot/status"
)

func TestStatusPort(t *testing.T) {
	class := t.TempDir()
	if got := statusPort(class); got != "" {
		t.Errorf("without ports: %q", got)
	}
	for dir, name := range map[string]string{"vport1p1": "org.qemu.guest_agent.0\n", "vport2p3": "trivet.status\n"} {
		if err := os.Mkdir(filepath.Join(class, dir), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(class, dir, "name"), []byte(name), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got := statusPort(class); got != "/dev/vport2p3" {
		t.Errorf("port %q", got)
	}
}

func TestTeller(t *testing.T) {
	read := func(f *os.File) string {
		_, _ = f.Seek(0, io.SeekStart)
		text, err := io.ReadAll(f)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	file := func() *os.File {
		f, err := os.CreateTemp(t.TempDir(), "")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		return f
	}
	first, second, kmsg := file(), file(), file()
	held := &teller{consoles: []*os.File{first, second}, kmsg: kmsg}
	held.Say("var", "failed", "no \x1b[2Jpartition\nsecond "+strings.Repeat("x", 1000), nil)
	want := "trivet-init var failed: no  [2Jpartition\r\ntrivet-init var failed: second " + strings.Repeat("x", 1000) + "\r\n"
	if got := read(first); got != want || read(second) != want {
		t.Errorf("console: %q", got)
	}
	lines := strings.Split(strings.TrimSpace(read(kmsg)), "\n")
	if len(lines) != 3 || !strings.HasPrefix(lines[0], "<15>trivet-init var failed:") || len(lines[1]) != maxLogLine+4 {
		t.Errorf("kmsg: %q", lines)
	}
	if len(held.held) != 1 || held.held[0].Step != "initrd-var" || held.held[0].State != status.Failed {
		t.Errorf("held: %+v", held.held)
	}
	for range maxHeld + 10 {
		held.put(status.Record{})
	}
	if len(held.held) != maxHeld {
		t.Errorf("%d records are held", len(held.held))
	}
}
