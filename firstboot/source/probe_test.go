package source

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"trivet/firstboot/host"
)

// TestProbe looks at the images that the usual tools make.
func TestProbe(t *testing.T) {
	const mkfs = "/usr/sbin/mkfs.vfat"
	if _, err := os.Stat(mkfs); err != nil {
		t.Skip("mkfs.vfat (Debian's dosfstools) is not installed")
	}
	for _, c := range []struct {
		args []string
		size int64
		want Label
	}{
		{[]string{"-F", "12", "-n", "CIDATA"}, 1 << 20, Label{"vfat", "CIDATA", "CIDATA"}},
		{[]string{"-F", "16", "-n", "CIDATA"}, 16 << 20, Label{"vfat", "CIDATA", "CIDATA"}},
		{[]string{"-F", "32", "-n", "CIDATA"}, 40 << 20, Label{"vfat", "CIDATA", "CIDATA"}},
		{[]string{"-F", "32", "-S", "4096", "-n", "CIDATA"}, 300 << 20, Label{"vfat", "CIDATA", "CIDATA"}},
		{[]string{"-S", "4096", "-n", "CONFIG-2"}, 64 << 20, Label{"vfat", "CONFIG-2", "CONFIG-2"}}, // as Ironic makes it
		{[]string{"-F", "32", "-S", "4096", "-n", "CONFIG-2"}, 64 << 20, Label{"vfat", "CONFIG-2", "CONFIG-2"}},
		{nil, 16 << 20, Label{"vfat", "", ""}},
	} {
		path := filepath.Join(t.TempDir(), "img")
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(path, c.size); err != nil {
			t.Fatal(err)
		}
		command := append(append([]string{mkfs}, c.args...), path)
		if _, err := (host.System{}).Run(t.Context(), host.Command{Args: command}); err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		got, ok := Probe(f)
		f.Close()
		if !ok || got != c.want {
			t.Errorf("%v: %+v %t, want %+v", c.args, got, ok, c.want)
		}
	}
}

func TestProbeOther(t *testing.T) {
	mbr := make([]byte, 64<<10)
	mbr[510], mbr[511] = 0x55, 0xaa
	for name, data := range map[string][]byte{"nothing": nil, "zeros": make([]byte, 64<<10), "a partition table": mbr, "short": {1, 2}} {
		if l, ok := Probe(bytes.NewReader(data)); ok {
			t.Errorf("%s: %+v", name, l)
		}
	}
}
