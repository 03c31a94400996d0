package rootfs

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ulikunitz/xz"
)

// testEpoch is later than every time in a test package.
var testEpoch = time.Unix(1_700_000_000, 0)

// testTime is the time of everything in a test package.
const testTime = 1_600_000_000

// A testDeb describes a package. Entries are in tar's terms; a file's content
// is in its Linkname field's place: Body.
type testDeb struct {
	name, version string
	fields        string            // further control fields, each line with its end
	control       map[string]string // further control files
	entries       []testEntry
	format        string // "gz" (default), "xz" or ""
}

type testEntry struct {
	tar.Header
	body string
}

func dir(name string) testEntry {
	return testEntry{Header: tar.Header{Name: "./" + name + "/", Typeflag: tar.TypeDir, Mode: 0o755}}
}

func file(name, body string) testEntry {
	return testEntry{Header: tar.Header{Name: "./" + name, Typeflag: tar.TypeReg, Mode: 0o644}, body: body}
}

func link(name, target string) testEntry {
	return testEntry{Header: tar.Header{Name: "./" + name, Typeflag: tar.TypeSymlink, Linkname: target, Mode: 0o777}}
}

func hard(name, target string) testEntry {
	return testEntry{Header: tar.Header{Name: "./" + name, Typeflag: tar.TypeLink, Linkname: "./" + target, Mode: 0o644}}
}

func (e testEntry) mode(m int64) testEntry { e.Mode = m; return e }

func (e testEntry) owner(uid, gid int) testEntry { e.Uid, e.Gid = uid, gid; return e }

func (e testEntry) xattr(name, value string) testEntry {
	e.PAXRecords = map[string]string{"SCHILY.xattr." + name: value}
	e.Format = tar.FormatPAX
	return e
}

// tarOf writes a tar archive.
func tarOf(t testing.TB, entries []testEntry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		h := e.Header
		h.Size, h.ModTime = int64(len(e.body)), time.Unix(testTime, 0)
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, e.body); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func packAs(t testing.TB, format string, body []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	var w io.WriteCloser
	switch format {
	case "":
		return body
	case "gz":
		w = gzip.NewWriter(&b)
	case "xz":
		var err error
		if w, err = xz.NewWriter(&b); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.Write(body); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func arOf(members ...[2]string) []byte {
	var b bytes.Buffer
	b.WriteString(arMagic)
	for _, m := range members {
		fmt.Fprintf(&b, "%-16s%-12d%-6d%-6d%-8s%-10d`\n%s", m[0], 0, 0, 0, "100644", len(m[1]), m[1])
		if len(m[1])%2 == 1 {
			b.WriteByte('\n')
		}
	}
	return b.Bytes()
}

// bytes returns the .deb.
func (d testDeb) bytes(t testing.TB) []byte {
	t.Helper()
	version, format := d.version, d.format
	if version == "" {
		version = "1"
	}
	suffix := ""
	if format != "" {
		suffix = "." + format
	}
	text := fmt.Sprintf("Package: %s\nVersion: %s\nArchitecture: all\nMaintainer: Nobody <n@example.org>\n%sDescription: a test\n", d.name, version, d.fields)
	control := []testEntry{file("control", text)}
	for _, name := range sortedKeys(d.control) {
		e := file(name, d.control[name])
		if strings.HasPrefix(d.control[name], "#!") {
			e = e.mode(0o755)
		}
		control = append(control, e)
	}
	entries := append([]testEntry{{Header: tar.Header{Name: "./", Typeflag: tar.TypeDir, Mode: 0o755}}}, d.entries...)
	return arOf(
		[2]string{"debian-binary", "2.0\n"},
		[2]string{"control.tar" + suffix, string(packAs(t, format, tarOf(t, control)))},
		[2]string{"data.tar" + suffix, string(packAs(t, format, tarOf(t, entries)))},
	)
}

// write writes the .deb to a file and returns it as the builder's callers know it.
func (d testDeb) write(t testing.TB) Deb {
	t.Helper()
	return writeDeb(t, d.name, d.version, d.bytes(t))
}

func writeDeb(t testing.TB, name, version string, body []byte) Deb {
	t.Helper()
	path := filepath.Join(t.TempDir(), "package.deb")
	if err := os.WriteFile(path, body, 0o644); err != nil {
		t.Fatal(err)
	}
	if version == "" {
		version = "1"
	}
	sum := sha256.Sum256(body)
	return Deb{Name: name, Version: version, Arch: "all", SHA256: hex.EncodeToString(sum[:]), Path: path}
}

func writeAll(t testing.TB, debs ...testDeb) []Deb {
	t.Helper()
	var out []Deb
	for _, d := range debs {
		out = append(out, d.write(t))
	}
	return out
}

func testInputs(t testing.TB) Inputs {
	t.Helper()
	return Inputs{Cache: t.TempDir(), Epoch: testEpoch, Jobs: 2}
}

// xzInGo is an xz tool for tests: it decodes concatenated streams.
func xzInGo(_ context.Context, r io.Reader, w io.Writer) error {
	d, err := xz.NewReader(r)
	if err != nil {
		return err
	}
	_, err = io.Copy(w, d)
	return err
}

// dump lists a tree, one line a path: kind, mode, owner where it is not root's,
// content or target.
func dump(t testing.TB, root string) string {
	t.Helper()
	inodes := map[uint64]string{}
	var lines []string
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil || p == root {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		name, st := p[len(root)+1:], info.Sys().(*syscall.Stat_t)
		line := fmt.Sprintf("%s %04o", name, st.Mode&0o7777)
		if st.Uid != uint32(os.Getuid()) || st.Gid != uint32(os.Getgid()) {
			line += fmt.Sprintf(" %d:%d", st.Uid, st.Gid)
		}
		switch {
		case d.IsDir():
			line = strings.Replace(line, name, name+"/", 1)
		case d.Type()&fs.ModeSymlink != 0:
			target, err := os.Readlink(p)
			if err != nil {
				return err
			}
			line = name + " -> " + target
		case d.Type()&fs.ModeCharDevice != 0:
			line = name + " whiteout"
		case inodes[st.Ino] != "":
			line += " = " + inodes[st.Ino]
		default:
			body, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			inodes[st.Ino] = name
			line += fmt.Sprintf(" %q", body)
		}
		lines = append(lines, line)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	sort.Strings(lines)
	return strings.Join(lines, "\n") + "\n"
}

func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: owners, capabilities or mounts")
	}
}
