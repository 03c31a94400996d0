package apt

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func testLock() Lock {
	return Lock{
		Version: 1, Suite: "trixie", Arch: "amd64", Date: day, Request: strings.Repeat("a", 64),
		Packages: []Package{
			{
				Set: "base", Name: "libc6", Version: "1:2.41-12+deb13u1~x", Arch: "amd64", SHA256: strings.Repeat("0", 64), Size: 7,
				Pool: "pool/updates/main/g/glibc/libc6_2.41-12+deb13u1_amd64.deb", Source: "glibc(2.41)", Security: true, Essential: true,
			},
			{
				Set: "tools", Name: "xz-utils", Version: "5.8.1-1", Arch: "all", SHA256: strings.Repeat("f", 64), Size: 664_000,
				Pool: "pool/main/x/xz-utils/xz-utils_5.8.1-1_all.deb", Source: "xz-utils",
			},
		},
	}
}

// The form of the file is what people review and commit.
func TestLockGolden(t *testing.T) {
	want, err := os.ReadFile("testdata/example.lock")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), testLock().String()); diff != "" {
		t.Errorf("lock (-want +got):\n%s", diff)
	}
}

func TestLockIsReadBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.lock")
	if err := testLock().WriteFile(path); err != nil {
		t.Fatal(err)
	}
	got, err := ReadLock(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(testLock(), got); diff != "" {
		t.Errorf("ReadLock (-want +got):\n%s", diff)
	}
	if got.Digest() != testLock().Digest() {
		t.Error("the digest changed")
	}
	if err := got.Check(got.Request); err != nil {
		t.Errorf("Check of its own request: %v", err)
	}
	if err := got.Check("other"); err == nil || !strings.Contains(err.Error(), "trivet lock") {
		t.Errorf("Check = %v; want the command to renew", err)
	}
	if left, err := filepath.Glob(filepath.Join(filepath.Dir(path), ".*")); err != nil || len(left) > 0 {
		t.Errorf("left beside the lock: %v, %v", left, err)
	}
}

func TestReadLockNamesThePlace(t *testing.T) {
	good := testLock().String()
	first := strings.Split(good, "\n")[6]
	for _, tc := range []struct{ old, new, want string }{
		{"version 1", "version 9", ":2:9: lock version"},
		{"suite trixie", "sweet trixie", `:3:1: unknown key "sweet"`},
		{"suite trixie", "suite ../trixie", ":3:7: "},
		{"arch amd64", "suite amd64", `:4:1: "suite" stands twice`},
		{"date 2026", "date 26", ":5:6: date"},
		{"request a", "request A", ":6:9: "},
		{"package base", "package ba/se", ":7:9: "},
		{" libc6 ", " Libc6 ", `:7:14: "Libc6" is not the name of a package`},
		{" 1:2.41", " 1:2'.41", ":7:20: "},
		{" 7 ", " -7 ", `:7:46: "-7" is not the size`},
		{" 7 ", " 99999999999 ", ":7:46: "},
		{" security ", " elsewhere ", `:7:113: "elsewhere" is not main or security`},
		{" essential ", " yes ", ":7:122: "},
		{" pool/updates", " ../../updates", `:7:144: "../../updates`},
		{" pool/updates", " /updates", ":7:144: "},
		{"package base libc6", "package libc6", ":7:9: a package has 10 fields, this one 9"},
		{"\npackage tools", "\n" + first + "\npackage tools", ":8:1: this package stands twice"},
		{"request " + strings.Repeat("a", 64) + "\n", "", `:8:1: no line "request"`},
		{good, "", ":1:1: no line"},
		{good, "<html>", ":1:1: unknown key"},
		{good, strings.Repeat("#\n", maxLockLines+1), ":50001:1: more than 50000 lines"},
		{good, strings.Repeat("x", 1<<20), ":1:1: "},
	} {
		path := filepath.Join(t.TempDir(), "x.lock")
		if err := os.WriteFile(path, []byte(strings.Replace(good, tc.old, tc.new, 1)), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadLock(path); err == nil || !strings.Contains(err.Error(), path+tc.want) {
			t.Errorf("%q for %q: error = %v; want %q", tc.new, tc.old, err, tc.want)
		}
	}
	if _, err := ReadLock(filepath.Join(t.TempDir(), "none")); err == nil || !strings.Contains(err.Error(), "read the lock") {
		t.Errorf("no file: error = %v", err)
	}
}
