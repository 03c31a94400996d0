package boot

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// testModules is what depmod writes, in small.
var testModules = map[string]string{
	"modules.dep": `kernel/drivers/md/dm-mod.ko:
kernel/drivers/md/dm-verity.ko: kernel/drivers/md/dm-bufio.ko kernel/lib/reed_solomon.ko kernel/drivers/md/dm-mod.ko
kernel/drivers/md/dm-bufio.ko: kernel/drivers/md/dm-mod.ko
kernel/lib/reed_solomon.ko:
kernel/drivers/block/virtio_blk.ko:
kernel/drivers/block/loop.ko:
kernel/drivers/net/virtio_net.ko: kernel/drivers/net/failover.ko
kernel/drivers/net/failover.ko:
kernel/drivers/scsi/cnic.ko: kernel/drivers/net/failover.ko
kernel/fs/ext4/ext4.ko: kernel/fs/jbd2/jbd2.ko
kernel/fs/jbd2/jbd2.ko:
kernel/fs/squashfs/squashfs.ko:
kernel/fs/overlayfs/overlay.ko:
kernel/crypto/crc32c-fast.ko:
kernel/crypto/crc32c_generic.ko:
kernel/a.ko:
kernel/b.ko.xz:
`,
	"modules.alias": `# Aliases extracted from modules themselves.
alias virtio:d00000002v* virtio_blk
alias virtio:d00000001v* virtio_net
alias pci:v000014E4d*sv*sd*bc*sc*i* cnic
alias crypto-crc32c crc32c_fast
alias crypto-crc32c crc32c_generic
alias fs-ext4 ext4
alias dmi*:svnMaker Inc.:* a
`,
	"modules.softdep": `# Soft dependencies extracted from modules themselves.
softdep ext4 pre: crypto-crc32c
softdep a pre: b post: nothing
softdep b pre: a
softdep b gcm
`,
	"modules.builtin": "kernel/drivers/virtio/virtio_pci.ko\n",
}

func testIndex(t *testing.T) *ModuleIndex {
	t.Helper()
	dir := t.TempDir()
	writeModules(t, dir)
	x, err := ReadModuleIndex(dir)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func writeModules(t *testing.T, dir string) {
	t.Helper()
	for name, text := range testModules {
		put(t, filepath.Join(dir, name), text)
	}
}

// put writes a file and the folders that lead to it.
func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// loads returns what loading name inserts, in order; fails names modules that
// do not load.
func loads(t *testing.T, c Cmdline, fails map[string]error, act func(*modules) error) ([]string, error) {
	t.Helper()
	var inserted []string
	x := testIndex(t)
	m := newModules(x, c, func(file, params string) error {
		rel, _ := filepath.Rel(x.Dir, file)
		if err := fails[moduleName(file)]; err != nil {
			return err
		}
		inserted = append(inserted, strings.TrimSpace(rel+" "+params))
		return nil
	})
	err := act(m)
	return inserted, err
}

func TestLoadOrder(t *testing.T) {
	for name, c := range map[string]struct {
		load string
		want []string
	}{
		"dependencies first": {"dm-verity", []string{"kernel/drivers/md/dm-mod.ko", "kernel/lib/reed_solomon.ko", "kernel/drivers/md/dm-bufio.ko", "kernel/drivers/md/dm-verity.ko"}},
		"soft by alias":      {"ext4", []string{"kernel/crypto/crc32c-fast.ko", "kernel/crypto/crc32c_generic.ko", "kernel/fs/jbd2/jbd2.ko", "kernel/fs/ext4/ext4.ko"}},
		"alias":              {"fs-ext4", []string{"kernel/crypto/crc32c-fast.ko", "kernel/crypto/crc32c_generic.ko", "kernel/fs/jbd2/jbd2.ko", "kernel/fs/ext4/ext4.ko"}},
		"circle":             {"a", []string{"kernel/b.ko.xz", "kernel/a.ko"}},
		"built in":           {"virtio_pci", nil},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := loads(t, Cmdline{}, nil, func(m *modules) error { return m.load(c.load) })
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("inserted (-want +got):\n%s", diff)
			}
		})
	}
}

func TestLoadFailures(t *testing.T) {
	_, err := loads(t, Cmdline{}, nil, func(m *modules) error { return m.load("nosuch") })
	if !errors.Is(err, errNoModule) {
		t.Errorf("load nosuch: %v", err)
	}
	_, err = loads(t, Cmdline{}, map[string]error{"jbd2": syscall.EEXIST}, func(m *modules) error { return m.load("ext4") })
	if err != nil {
		t.Errorf("a module that is there already is an error: %v", err)
	}
	// The processor has no fast one: the generic one will do.
	_, err = loads(t, Cmdline{}, map[string]error{"crc32c_fast": syscall.ENODEV}, func(m *modules) error { return m.load("crypto-crc32c") })
	if err != nil {
		t.Errorf("load crypto-crc32c: %v", err)
	}
	_, err = loads(t, Cmdline{}, map[string]error{"ext4": syscall.EINVAL}, func(m *modules) error {
		_ = m.load("ext4")
		return m.load("ext4")
	})
	if !errors.Is(err, syscall.EINVAL) {
		t.Errorf("the second load of a bad module gives %v", err)
	}
}

func TestPlug(t *testing.T) {
	c := Cmdline{Blacklist: map[string]bool{}, Params: map[string][]string{"virtio_blk": {"queue_depth=1", "x"}}}
	aliases := []string{"virtio:d00000002v00001AF4", "virtio:d00000001v00001AF4", "pci:v000014E4d0sv0sd0bc0sc0i0", "other:x", "dmi:bvn1:svnMaker Inc.:pn2"}
	plug := func(m *modules) error {
		if n := m.plug(aliases); n == 0 {
			return errors.New("nothing was loaded")
		}
		if n := m.plug(aliases); n != 0 {
			return errors.New("something was loaded twice")
		}
		return nil
	}
	got, err := loads(t, c, nil, plug)
	if err != nil {
		t.Fatal(err)
	}
	// virtio_net is left to udev; failover, which a storage driver needs, is not.
	want := []string{"kernel/drivers/block/virtio_blk.ko queue_depth=1 x", "kernel/drivers/net/failover.ko", "kernel/drivers/scsi/cnic.ko", "kernel/b.ko.xz", "kernel/a.ko"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("inserted (-want +got):\n%s", diff)
	}
	c.Blacklist["cnic"] = true
	got, err = loads(t, c, nil, plug)
	if err != nil || len(got) != 3 {
		t.Errorf("with cnic on the blacklist: %q, %v", got, err)
	}
}

func TestReadModuleIndexRefuses(t *testing.T) {
	for name, c := range map[string]struct{ file, text, want string }{
		"outside":       {"modules.dep", "../../etc/x.ko:\n", "line 1"},
		"no colon":      {"modules.dep", "a.ko:\nkernel/b.ko\n", "line 2"},
		"no module":     {"modules.dep", "kernel/README:\n", "not the path of a module"},
		"bad alias":     {"modules.alias", "alias x\n", "want alias PATTERN MODULE"},
		"bad softdep":   {"modules.softdep", "soft x y\n", "want softdep MODULE"},
		"endless line":  {"modules.dep", "a.ko: " + strings.Repeat("b.ko ", maxModuleWords+1), "words"},
		"endless lines": {"modules.builtin", strings.Repeat("\n", maxModuleLines+1), "lines"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			writeModules(t, dir)
			put(t, filepath.Join(dir, c.file), c.text)
			_, err := ReadModuleIndex(dir)
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), c.file) {
				t.Errorf("got %v, want an error with %q", err, c.want)
			}
		})
	}
}

func FuzzModuleIndex(f *testing.F) {
	f.Add(testModules["modules.dep"], testModules["modules.alias"], testModules["modules.softdep"], "virtio:d00000002v00001AF4")
	f.Fuzz(func(t *testing.T, dep, alias, soft, ask string) {
		x := &ModuleIndex{Dir: "/m"}
		if x.parseDep(dep) != nil || x.parseAlias(alias) != nil || x.parseSoftDep(soft) != nil {
			return
		}
		m := newModules(x, Cmdline{}, func(file, _ string) error {
			if !strings.HasPrefix(file, "/m/") {
				t.Errorf("module outside of its folder: %q", file)
			}
			return nil
		})
		m.plug([]string{ask})
		_ = m.load(ask)
		for name := range x.Path {
			_ = m.load(name)
		}
	})
}

func TestModaliases(t *testing.T) {
	dir := t.TempDir()
	put(t, filepath.Join(dir, "pci0000:00/0000:00:04.0/modalias"), "pci:v1\n")
	put(t, filepath.Join(dir, "pci0000:00/0000:00:04.0/virtio1/modalias"), "virtio:d2\n")
	put(t, filepath.Join(dir, "pci0000:00/0000:00:05.0/modalias"), "pci:v1\n")
	put(t, filepath.Join(dir, "platform/x/modalias"), "\n")
	put(t, filepath.Join(dir, "platform/y/modalias"), strings.Repeat("x", maxModalias+1))
	// A link, as sysfs has many, must not lead in circles.
	if err := os.Symlink(dir, filepath.Join(dir, "platform/subsystem")); err != nil {
		t.Fatal(err)
	}
	got := map[string]bool{}
	for _, a := range modaliases(dir) {
		got[a] = true
	}
	if diff := cmp.Diff(map[string]bool{"pci:v1": true, "virtio:d2": true}, got); diff != "" {
		t.Errorf("modaliases (-want +got):\n%s", diff)
	}
}
