package initrd

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cavaliergopher/cpio"
	"github.com/klauspost/compress/zstd"
)

// kernelDir makes a small module directory.
func kernelDir(t *testing.T) Inputs {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "6.12-test")
	var packed bytes.Buffer
	z, err := zstd.NewWriter(&packed)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = z.Write([]byte("module b"))
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"modules.dep":     "kernel/a-x.ko: kernel/sub/b.ko.zst\nkernel/sub/b.ko.zst:\nkernel/c.ko:\nkernel/d.ko:\n",
		"modules.builtin": "kernel/in/built.ko\n", "modules.alias": "# x\nalias pci:a* a_x\nalias pci:d* d\n",
		"modules.softdep": "softdep a_x pre: c crypto-none\nsoftdep d pre: c\n",
		"kernel/a-x.ko":   "module a", "kernel/sub/b.ko.zst": packed.String(), "kernel/c.ko": "module c", "kernel/d.ko": "module d", "init": "program",
	} {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return Inputs{Init: filepath.Join(dir, "init"), Modules: dir, Names: []string{"a_x", "built"}, Epoch: time.Unix(1_700_000_000, 0)}
}

// read unpacks an initrd into a map of path → content ("dir" for directories).
func read(t *testing.T, path string) map[string]string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := zstd.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for r := cpio.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return got
		}
		if err != nil {
			t.Fatal(err)
		}
		if dir := filepath.Dir(h.Name); dir != "." && got[dir] != "dir" {
			t.Errorf("%s comes before its directory", h.Name)
		}
		text, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		got[h.Name] = string(text)
		if h.Mode&cpio.TypeDir != 0 {
			got[h.Name] = "dir"
		}
	}
}

func TestBuildTakesModulesWithWhatTheyNeed(t *testing.T) {
	in := kernelDir(t)
	out := filepath.Join(t.TempDir(), "initrd")
	if err := Build(context.Background(), in, out); err != nil {
		t.Fatal(err)
	}
	got, base := read(t, out), "usr/lib/modules/6.12-test/"
	for name, want := range map[string]string{
		"init": "program", "sysroot": "dir", base + "kernel/a-x.ko": "module a", base + "kernel/sub/b.ko": "module b", base + "kernel/c.ko": "module c",
		base + "modules.dep":   "kernel/a-x.ko: kernel/sub/b.ko\nkernel/c.ko:\nkernel/sub/b.ko:\n",
		base + "modules.alias": "alias pci:a* a_x\n", base + "modules.softdep": "softdep a_x pre: c crypto-none\n",
	} {
		if got[name] != want {
			t.Errorf("%s = %q; want %q", name, got[name], want)
		}
	}
	if _, has := got[base+"kernel/d.ko"]; has {
		t.Error("a module that nobody asked for is in the initrd")
	}
}

func TestBuildIsReproducible(t *testing.T) {
	in := kernelDir(t)
	var texts [2][]byte
	for i := range texts {
		out := filepath.Join(t.TempDir(), "initrd")
		if err := Build(context.Background(), in, out); err != nil {
			t.Fatal(err)
		}
		var err error
		if texts[i], err = os.ReadFile(out); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(texts[0], texts[1]) {
		t.Error("two builds differ")
	}
}

func TestBuildRefusesAnUnknownModule(t *testing.T) {
	in := kernelDir(t)
	in.Names = []string{"nonesuch"}
	out := filepath.Join(t.TempDir(), "initrd")
	if err := Build(context.Background(), in, out); err == nil || !strings.Contains(err.Error(), "no module nonesuch") {
		t.Errorf("error = %v; want one that names the module", err)
	}
	if left, _ := os.ReadDir(filepath.Dir(out)); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func FuzzModuleIndex(f *testing.F) {
	f.Add("kernel/a.ko: kernel/b.ko", "softdep a pre: b")
	f.Fuzz(func(t *testing.T, dep, soft string) {
		tr := &tree{deps: map[string][]string{}, byName: map[string]string{}, builtin: map[string]bool{}, soft: map[string][]string{}, raw: map[string]string{}}
		if tr.readDep(dep) != nil || tr.readSoftdep(soft) != nil {
			return
		}
		var names []string
		for n := range tr.byName {
			names = append(names, n)
		}
		paths, err := tr.need(names)
		if err != nil {
			return
		}
		for _, p := range paths {
			if !filepath.IsLocal(p) {
				t.Errorf("%q leaves the module directory", p)
			}
		}
		tr.trimmed(paths)
	})
}
