package boot

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const hashText = "00a478c4c490bd570cd5f09819b828b590eab3f6492e508f268b3b6b7965b02d"

func TestParseCmdline(t *testing.T) {
	text := `BOOT_IMAGE=x roothash=` + hashText + ` ro "console=ttyS0,115200" trivet.disk=/dev/vdb trivet.wait=90 trivet.wait=soon trivet.url=x` +
		` fsck.mode=force fsck.repair=yes modprobe.blacklist=nouveau,e1000-e nvme-core.io_timeout=255 dm_mod.create="a b" quiet -- roothash=zz` + "\n"
	got, err := ParseCmdline(text)
	if err != nil {
		t.Fatal(err)
	}
	hash, _ := parseRootHash(hashText)
	want := Cmdline{
		RootHash: hash, Disk: "vdb", Wait: 90 * time.Second, FsckForce: true, FsckRepair: "yes",
		Blacklist: map[string]bool{"nouveau": true, "e1000_e": true},
		Params:    map[string][]string{"nvme_core": {"io_timeout=255"}, "dm_mod": {`create="a b"`}},
		Notes:     []string{"trivet.wait=soon is ignored: want 1 to 3600 seconds"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("ParseCmdline (-want +got):\n%s", diff)
	}
}

func TestRootHashHalves(t *testing.T) {
	hash, err := parseRootHash(hashText)
	if err != nil {
		t.Fatal(err)
	}
	if got := hash.Data().String(); got != "00a478c4-c490-bd57-0cd5-f09819b828b5" {
		t.Errorf("Data() = %s", got)
	}
	if got := hash.Tree().String(); got != "90eab3f6-492e-508f-268b-3b6b7965b02d" {
		t.Errorf("Tree() = %s", got)
	}
}

func TestParseCmdlineRefuses(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"no hash":        {"ro quiet", "no roothash="},
		"short hash":     {"roothash=abcd", "has 4 hexadecimal digits, want 64"},
		"no hexadecimal": {"roothash=" + strings.Repeat("g", 64), "is not hexadecimal"},
		"zeros":          {"roothash=" + strings.Repeat("0", 64), "all zeros"},
		"two":            {"roothash=" + hashText + " roothash=" + strings.Repeat("1", 64), "two different"},
		"too long":       {strings.Repeat("a", maxCmdline+1), "at most"},
		"too many":       {strings.Repeat("a ", maxWords+1), "words"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ParseCmdline(c.text)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("ParseCmdline gave %v, want an error with %q", err, c.want)
			}
		})
	}
	// The same hash twice, as a boot loader entry and a stub may add it, is one.
	if _, err := ParseCmdline("roothash=" + hashText + " roothash=" + hashText); err != nil {
		t.Error(err)
	}
}

func TestSplitCmdline(t *testing.T) {
	for text, want := range map[string][]string{
		"":                     nil,
		"  a\tb\n":             {"a", "b"},
		`a="b c" d`:            {"a=b c", "d"},
		`"a b"="c"`:            {"a b=c"},
		`a="never closed word`: {"a=never closed word"},
		`"" x`:                 {"", "x"},
	} {
		got, err := splitCmdline(text)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("splitCmdline(%q) (-want +got):\n%s", text, diff)
		}
	}
}

func FuzzParseCmdline(f *testing.F) {
	f.Add("roothash=" + hashText + ` ro a.b="c d" trivet.wait=3 modprobe.blacklist=a,b -- x`)
	f.Add(`"`)
	f.Fuzz(func(t *testing.T, text string) {
		c, err := ParseCmdline(text)
		if err == nil && (c.Wait <= 0 || c.RootHash == RootHash{}) {
			t.Errorf("ParseCmdline(%q) = %+v", text, c)
		}
	})
}
