package rootfs

import (
	"archive/tar"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// unpackAll unpacks packages into a new directory.
func unpackAll(t *testing.T, in Inputs, debs ...testDeb) (string, error) {
	t.Helper()
	root := filepath.Join(t.TempDir(), "root")
	return root, Unpack(context.Background(), in, writeAll(t, debs...), root)
}

// only returns the lines of a dump that are about the given paths, and no
// directories.
func only(text string, prefixes ...string) string {
	var out []string
	for line := range strings.Lines(text) {
		name, _, _ := strings.Cut(line, " ")
		for _, p := range prefixes {
			if strings.HasPrefix(name, p) && !strings.HasSuffix(name, "/") {
				out = append(out, line)
				break
			}
		}
	}
	return strings.Join(out, "")
}

// An unpackRow is packages and what becomes of them.
type unpackRow struct {
	summary string
	debs    []testDeb
	show    []string // prefixes of the paths to compare
	want    string
	err     string // a part of the error
}

func linkRows() []unpackRow {
	return []unpackRow{
		{
			summary: "files, links, modes",
			debs: []testDeb{{name: "a", entries: []testEntry{
				dir("usr"), dir("usr/bin"), file("usr/bin/su", "x").mode(0o4755), hard("usr/bin/sudo", "usr/bin/su"), hard("usr/bin/sux", "usr/bin/sudo"),
				link("usr/bin/sh", "dash"), link("usr/abs", "/etc/passwd"),
			}}},
			show: []string{"usr"},
			want: "usr/abs -> /etc/passwd\nusr/bin/sh -> dash\nusr/bin/su 4755 \"x\"\nusr/bin/sudo 4755 = usr/bin/su\nusr/bin/sux 4755 = usr/bin/su\n",
		},
		{
			summary: "a merged /usr, whatever the package says",
			debs: []testDeb{
				{name: "a", entries: []testEntry{dir("lib"), file("lib/x", "1"), dir("sbin"), file("sbin/y", "2"), dir("lib64"), file("lib64/ld.so", "3")}},
				{name: "b", entries: []testEntry{dir("usr"), dir("usr/lib64"), dir("usr/lib"), file("usr/lib/z", "4")}},
			},
			show: []string{"bin", "lib", "sbin", "usr"},
			want: "bin -> usr/bin\nlib -> usr/lib\nlib64 -> usr/lib64\nsbin -> usr/sbin\nusr/lib/x 0644 \"1\"\nusr/lib/z 0644 \"4\"\nusr/lib64/ld.so 0644 \"3\"\nusr/sbin/y 0644 \"2\"\n",
		},
		{
			summary: "an absolute link to outside, then a file through it, stays inside",
			debs:    []testDeb{{name: "a", entries: []testEntry{link("x", "/tmp"), file("x/evil", "!")}}},
			show:    []string{"x", "tmp"},
			want:    "tmp/evil 0644 \"!\"\nx -> /tmp\n",
		},
		{
			summary: "a climbing link of one package, then a file of another through it, stays inside",
			debs: []testDeb{
				{name: "a", entries: []testEntry{dir("usr"), link("usr/x", "../../../../../../tmp/far")}},
				{name: "b", entries: []testEntry{dir("usr"), dir("usr/x"), file("usr/x/evil", "!")}},
			},
			show: []string{"usr", "tmp"},
			want: "tmp/far/evil 0644 \"!\"\nusr/x -> ../../../../../../tmp/far\n",
		},
		{
			summary: "a circle of links",
			debs:    []testDeb{{name: "a", entries: []testEntry{link("x", "y"), link("y", "x"), file("x/f", "")}}},
			err:     "unpack package a 1: path /x goes through more than 40 symbolic links",
		},
		{
			summary: "a file through a file",
			debs:    []testDeb{{name: "a", entries: []testEntry{file("x", ""), file("x/f", "")}}},
			err:     "unpack package a 1: path /x would be a directory, but is something else in package a",
		},
	}
}

func packageRows() []unpackRow {
	return []unpackRow{
		{
			summary: "documentation is left out, copyright and empty directories stay",
			debs: []testDeb{{name: "a", entries: []testEntry{
				dir("usr"), dir("usr/share"), dir("usr/share/doc"), dir("usr/share/doc/a"), file("usr/share/doc/a/README", ""), file("usr/share/doc/a/copyright", "c"),
				dir("usr/share/man"), dir("usr/share/man/man1"), file("usr/share/man/man1/a.1", ""), file("usr/share/locale/de/LC_MESSAGES/a.mo", ""), file("usr/share/locale/en_GB/a.mo", "e"),
			}}},
			show: []string{"usr"},
			want: "usr/share/doc/a/copyright 0644 \"c\"\nusr/share/locale/en_GB/a.mo 0644 \"e\"\n",
		},
		{
			summary: "one path in two packages",
			debs:    []testDeb{{name: "a", entries: []testEntry{file("etc/x", "1")}}, {name: "b", version: "2-1", entries: []testEntry{file("etc/x", "1")}}},
			err:     "unpack package b 2-1: path /etc/x is also in package a 1, and neither replaces the other",
		},
		{
			summary: "one path in two packages by two names of one directory",
			debs:    []testDeb{{name: "a", entries: []testEntry{file("lib/x", "1")}}, {name: "b", entries: []testEntry{file("usr/lib/x", "1")}}},
			err:     "path /usr/lib/x is also in package a 1",
		},
		{
			summary: "the later package replaces the earlier",
			debs:    []testDeb{{name: "a", entries: []testEntry{file("etc/x", "a")}}, {name: "b", fields: "Replaces: c, a (<< 2)\n", entries: []testEntry{file("etc/x", "b")}}},
			show:    []string{"etc/x"},
			want:    "etc/x 0644 \"b\"\n",
		},
		{
			summary: "the earlier package replaces the later",
			debs:    []testDeb{{name: "a", fields: "Replaces: b\n", entries: []testEntry{file("etc/x", "a")}}, {name: "b", entries: []testEntry{file("etc/x", "b")}}},
			show:    []string{"etc/x"},
			want:    "etc/x 0644 \"a\"\n",
		},
		{
			summary: "Replaces of another version does not count",
			debs:    []testDeb{{name: "a", entries: []testEntry{file("etc/x", "a")}}, {name: "b", fields: "Replaces: a (<< 1)\n", entries: []testEntry{file("etc/x", "b")}}},
			err:     "path /etc/x is also in package a 1",
		},
		{
			summary: "one package twice",
			debs:    []testDeb{{name: "a"}, {name: "a", version: "2"}},
			err:     "unpack package a 2: it is installed in this layer or one below already",
		},
		{
			summary: "a name that leads elsewhere",
			debs:    []testDeb{{name: "../../x", version: "2"}},
			err:     "its name has letters that no package's name has",
		},
		{
			summary: "a directory that is a file elsewhere",
			debs:    []testDeb{{name: "a", entries: []testEntry{file("x", "")}}, {name: "b", entries: []testEntry{dir("x")}}},
			err:     "unpack package b 1: path /x is a directory in it, but a file in package a",
		},
	}
}

func TestUnpack(t *testing.T) {
	for _, test := range append(linkRows(), packageRows()...) {
		t.Run(test.summary, func(t *testing.T) {
			root, err := unpackAll(t, testInputs(t), test.debs...)
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Fatalf("Unpack: %v; want an error with %q", err, test.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, only(dump(t, root), test.show...)); diff != "" {
				t.Errorf("tree (-want +got):\n%s", diff)
			}
		})
	}
}

// TestRefuse holds what no package may have in its data archive.
func TestRefuse(t *testing.T) {
	raw := func(name string, kind byte, target string) testEntry {
		return testEntry{Header: tar.Header{Name: name, Typeflag: kind, Linkname: target, Mode: 0o644, Devmajor: 1, Devminor: 3}}
	}
	for _, test := range []struct {
		summary string
		entry   testEntry
		err     string
	}{
		{"climbing", raw("./../etc/passwd", tar.TypeReg, ""), `path "./../etc/passwd" has .. in it`},
		{"climbing later", raw("./usr/../../x", tar.TypeReg, ""), `has .. in it, which climbs out of the root`},
		{"absolute", raw("/etc/passwd", tar.TypeReg, ""), `path "/etc/passwd" is not relative to the root`},
		{"character device", raw("./dev/null", tar.TypeChar, ""), "path /dev/null is a device node"},
		{"block device", raw("./dev/sda", tar.TypeBlock, ""), "path /dev/sda is a device node"},
		{"fifo", raw("./run/fifo", tar.TypeFifo, ""), `path /run/fifo is of the tar type '6'`},
		{"contiguous file", raw("./x", tar.TypeCont, ""), `path /x is of the tar type '7'`},
		{"hard link to nothing", hard("x", "y"), "path /x is a hard link to /y, which is no file before it"},
		{"hard link out", raw("./x", tar.TypeLink, "../../etc/shadow"), "has .. in it, which climbs out of the root"},
		{"hard link to an absolute name", raw("./x", tar.TypeLink, "/etc/shadow"), "is not relative to the root"},
		{"twice", file("etc/first", ""), "path /etc/first is in its data archive twice"},
		{"line end in the name", file("a\nb", ""), "holds a control character"},
		{"trusted attribute", file("x", "").xattr("trusted.overlay.opaque", "y"), `has the extended attribute "trusted.overlay.opaque"`},
		{"overlay attribute", file("x", "").xattr("user.overlay.opaque", "y"), `has the extended attribute "user.overlay.opaque"`},
		{"too deep", file(strings.Repeat("d/", 70)+"x", ""), "is deeper than 64 directories"},
	} {
		t.Run(test.summary, func(t *testing.T) {
			in := testInputs(t)
			_, err := unpackAll(t, in, testDeb{name: "bad", version: "3.1", entries: []testEntry{file("etc/first", ""), test.entry}})
			want := "unpack package bad 3.1: "
			if err == nil || !strings.Contains(err.Error(), test.err) || !strings.HasPrefix(err.Error(), want) {
				t.Fatalf("Unpack: %v; want %q and %q", err, want, test.err)
			}
			if left, _ := filepath.Glob(filepath.Join(in.Cache, "unpacked/*/*")); len(left) > 0 {
				t.Errorf("a refused package is in the store: %v", left)
			}
		})
	}
}

func TestOwnersAndCapabilities(t *testing.T) {
	needRoot(t)
	// struct vfs_cap_data of version 2 (linux/capability.h): cap_net_raw, effective.
	capability := "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
	root, err := unpackAll(t, testInputs(t), testDeb{name: "a", entries: []testEntry{
		file("usr/bin/ping", "p").mode(0o755).xattr("security.capability", capability),
		file("usr/bin/chage", "c").mode(0o2755).owner(0, 42),
		dir("var").owner(0, 0), dir("var/mail").mode(0o2775).owner(0, 8),
	}})
	if err != nil {
		t.Fatal(err)
	}
	want := "usr/bin/chage 2755 0:42 \"c\"\nusr/bin/ping 0755 \"p\"\n"
	text := dump(t, root)
	if diff := cmp.Diff(want, only(text, "usr/bin")); diff != "" {
		t.Errorf("tree (-want +got):\n%s", diff)
	}
	if !strings.Contains(text, "var/mail/ 2775 0:8\n") {
		t.Errorf("no setgid directory in\n%s", text)
	}
	var buf [64]byte
	n, err := unix.Getxattr(filepath.Join(root, "usr/bin/ping"), "security.capability", buf[:])
	if err != nil || string(buf[:n]) != capability {
		t.Errorf("capability is %q, %v; want %q", buf[:max(n, 0)], err, capability)
	}
}

// TestTimes checks that files keep the archive's time, that none is later than
// the epoch, and that directories have the epoch.
func TestTimes(t *testing.T) {
	in := testInputs(t)
	deb := testDeb{name: "a", entries: []testEntry{dir("usr"), file("usr/x", "1"), link("usr/y", "x")}}
	for _, epoch := range []int64{testTime + 100, testTime - 100} {
		in.Epoch = time.Unix(epoch, 0)
		root, err := unpackAll(t, in, deb)
		if err != nil {
			t.Fatal(err)
		}
		for name, want := range map[string]int64{"usr": epoch, "usr/x": min(testTime, epoch), "usr/y": min(testTime, epoch)} {
			info, err := os.Lstat(filepath.Join(root, name))
			if err != nil {
				t.Fatal(err)
			}
			if got := info.ModTime().Unix(); got != want {
				t.Errorf("epoch %d: time of %s is %d, want %d", epoch, name, got, want)
			}
		}
	}
}
