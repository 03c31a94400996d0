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
	"github.com/ulikunitz/xz"
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

func TestOptionalNamesMayBeMissing(t *testing.T) {
	in := kernelDir(t)
	in.Names = []string{"c", "nonesuch?", "D?"}
	out := filepath.Join(t.TempDir(), "initrd")
	if err := Build(context.Background(), in, out); err != nil {
		t.Fatal(err)
	}
	got, base := read(t, out), "usr/lib/modules/6.12-test/"
	if got[base+"modules.dep"] != "kernel/c.ko:\n" || got[base+"modules.builtin"] != "kernel/in/built.ko\n" {
		t.Errorf("modules.dep is %q, modules.builtin %q", got[base+"modules.dep"], got[base+"modules.builtin"])
	}
}

// TestSoftDependenciesGoByAlias: ext4 asks for crypto-crc32c, which several
// modules are.
func TestSoftDependenciesGoByAlias(t *testing.T) {
	in := kernelDir(t)
	alias := filepath.Join(in.Modules, "modules.alias")
	if err := os.WriteFile(alias, []byte("alias crypto-none d\nalias pci:a b*c a_x\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "initrd")
	if err := Build(context.Background(), in, out); err != nil {
		t.Fatal(err)
	}
	got, base := read(t, out), "usr/lib/modules/6.12-test/"
	if got[base+"kernel/d.ko"] != "module d" || got[base+"modules.alias"] != "alias crypto-none d\nalias pci:a b*c a_x\n" {
		t.Errorf("d.ko is %q, modules.alias %q", got[base+"kernel/d.ko"], got[base+"modules.alias"])
	}
}

func TestModulesAreDecompressed(t *testing.T) {
	var packed bytes.Buffer
	w, err := xz.NewWriter(&packed)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(w, "module e")
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "e.ko.xz")
	if err := os.WriteFile(file, packed.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	tool := func(_ context.Context, _ io.Reader, w io.Writer) error {
		_, err := io.WriteString(w, "by the tool")
		return err
	}
	for want, unxz := range map[string]func(context.Context, io.Reader, io.Writer) error{"module e": nil, "by the tool": tool} {
		got, err := readModule(t.Context(), file, unxz)
		if err != nil || string(got) != want {
			t.Errorf("module is %q (%v), want %q", got, err, want)
		}
	}
	if err := os.WriteFile(file, packed.Bytes()[:packed.Len()-9], 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := readModule(t.Context(), file, nil); err == nil || !strings.Contains(err.Error(), "e.ko.xz") {
		t.Errorf("a module that was cut off: error %v", err)
	}
}

func TestMissingDepmodFilesAreSaid(t *testing.T) {
	in := kernelDir(t)
	if err := os.Remove(filepath.Join(in.Modules, "modules.dep")); err != nil {
		t.Fatal(err)
	}
	err := Build(t.Context(), in, filepath.Join(t.TempDir(), "initrd"))
	if err == nil || !strings.Contains(err.Error(), "depmod") {
		t.Errorf("error %v, want one that tells of depmod", err)
	}
}

// TestDefaultModulesAreNamedOnce guards the list against a module that is both
// required and optional.
func TestDefaultModulesAreNamedOnce(t *testing.T) {
	seen := map[string]bool{}
	for _, name := range DefaultModules() {
		plain := strings.TrimSuffix(name, "?")
		if seen[plain] || plain != normal(plain) {
			t.Errorf("%q is there twice, or not written with _", name)
		}
		seen[plain] = true
	}
}

// TestDefaultModulesOfARealKernel needs the kernel of a Debian root.
func TestDefaultModulesOfARealKernel(t *testing.T) {
	dirs, _ := filepath.Glob(filepath.Join(os.Getenv("TRIVET_TEST_TOOLS"), "usr/lib/modules/*/modules.dep"))
	if os.Getenv("TRIVET_TEST_TOOLS") == "" || len(dirs) == 0 {
		t.Skip("skipped: TRIVET_TEST_TOOLS names no Debian root with a configured kernel")
	}
	x, err := readIndex(filepath.Dir(dirs[0]))
	if err != nil {
		t.Fatal(err)
	}
	set, err := x.selected(DefaultModules())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"dm_bufio", "jbd2", "nvme_core", "libata", "fat"} {
		if !set[name] && !x.builtin[name] {
			t.Errorf("%s, on which a default module depends, is missing", name)
		}
	}
	for _, name := range DefaultModules() {
		if plain := strings.TrimSuffix(name, "?"); !set[plain] && !x.builtin[plain] {
			t.Logf("this kernel has no %s", plain)
		}
	}
}

// FuzzModuleIndex reads any text as depmod's files.
func FuzzModuleIndex(f *testing.F) {
	f.Add("kernel/a.ko: kernel/b.ko\nkernel/b.ko.xz:", "softdep a pre: b post: c", "alias crypto-c a")
	f.Fuzz(func(t *testing.T, dep, soft, alias string) {
		x := index{map[string]string{}, map[string][]string{}, map[string]bool{}, map[string][]string{}, map[string][]string{}}
		err := errors.Join(eachLine([]byte(dep), x.depLine), eachLine([]byte(soft), x.softdepLine), eachLine([]byte(alias), x.aliasLine))
		if err != nil {
			return
		}
		var names []string
		for n, p := range x.files {
			names = append(names, n)
			if !filepath.IsLocal(p) {
				t.Errorf("%q leaves the module directory", p)
			}
		}
		set, err := x.selected(names)
		if err != nil || len(set) != len(names) {
			t.Errorf("%d of %d modules were selected: %v", len(set), len(names), err)
		}
		trimDep(x, set)
	})
}
