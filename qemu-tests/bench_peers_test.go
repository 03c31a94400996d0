package qemutests

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"trivet/builder/apt"
)

// benchArchive is the archive that all contenders take packages from.
func benchArchive(b *testing.B, cache string) apt.Archive {
	mirrors, err := apt.HostMirrors("/etc/apt")
	if err != nil {
		b.Fatal(err)
	}
	return apt.Archive{Mirrors: mirrors, Suite: "trixie", Arch: "amd64", Cache: cache}
}

const debianKeyring = "/usr/share/keyrings/debian-archive-keyring.gpg"

// sources is the archive in the form of sources.list(5), deb822.
func sources(a apt.Archive) string {
	const stanza = "Types: deb\nURIs: %s\nSuites: %s\nComponents: main\nSigned-By: " + debianKeyring + "\n\n"
	return fmt.Sprintf(stanza, a.Mirrors.Archive, a.Suite+" "+a.Suite+"-updates") + fmt.Sprintf(stanza, a.Mirrors.Security, a.Suite+"-security")
}

// A mkosi is Debian 13's own package of it, unpacked, with a project that makes
// the same image. Its host tools come from its default tools tree.
type mkosi struct {
	dir, code string
	packages  []string
	changes   int
}

func newMkosi(b *testing.B, packages []string) *mkosi {
	need(b, "python3")
	m := &mkosi{dir: benchDir(b), packages: slices.Sorted(slices.Values(packages))}
	a := benchArchive(b, filepath.Join(m.dir, "apt"))
	m.code = mkosiCode(b, a, m.dir)
	// Its list of sources takes the place of the built-in one, which names an
	// archive of debug symbols that is not everywhere to be had.
	write(b, filepath.Join(m.dir, "apt.tree/etc/apt/sources.list.d/mkosi.sources"), sources(a))
	write(b, filepath.Join(m.dir, "mkosi.repart/00-esp.conf"), "[Partition]\nType=esp\nFormat=vfat\nCopyFiles=/boot:/\nCopyFiles=/efi:/\nSizeMinBytes=512M\nSizeMaxBytes=512M\n")
	write(b, filepath.Join(m.dir, "mkosi.repart/10-root.conf"), "[Partition]\nType=root\nFormat=squashfs\nCompression=zstd\nCompressionLevel=3\nCopyFiles=/\nVerity=data\nVerityMatchKey=root\nMinimize=best\n")
	write(b, filepath.Join(m.dir, "mkosi.repart/20-verity.conf"), "[Partition]\nType=root-verity\nVerity=hash\nVerityMatchKey=root\nMinimize=best\n")
	for _, dir := range []string{"cache", "fetched", "out"} {
		if err := os.Mkdir(filepath.Join(m.dir, dir), 0o755); err != nil {
			b.Fatal(err)
		}
	}
	m.configure(b)
	m.build(b) // fetches
	return m
}

// mkosiCode fetches and unpacks the package, and returns the Python path.
func mkosiCode(b *testing.B, a apt.Archive, dir string) string {
	idx, err := a.Refresh(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	lock, err := a.Resolve(b.Context(), idx, []apt.Set{{Name: "mkosi", Packages: []string{"mkosi"}}})
	if err != nil {
		b.Fatal(err)
	}
	at := slices.IndexFunc(lock.Packages, func(p apt.Package) bool { return p.Name == "mkosi" })
	if at < 0 {
		b.Fatal("the archive has no mkosi")
	}
	debs, err := a.Fetch(b.Context(), lock.Packages[at:at+1])
	if err != nil {
		b.Fatal(err)
	}
	b.Logf("mkosi %s", lock.Packages[at].Version)
	code := filepath.Join(dir, "mkosi")
	measure(b, nil, dir, "dpkg-deb", "-x", debs[lock.Packages[at].SHA256], code)
	return filepath.Join(code, "usr/lib/python3/dist-packages")
}

func (m *mkosi) configure(b *testing.B) {
	const head = `[Distribution]
Distribution=debian
Release=trixie
[Output]
Format=disk
Output=controller
OutputDirectory=out
[Build]
ToolsTree=default
ToolsTreeRelease=trixie
ToolsTreeSandboxTrees=apt.tree
SandboxTrees=apt.tree
CacheDirectory=cache
PackageCacheDirectory=fetched
Incremental=yes
[Content]
Bootable=yes
Bootloader=systemd-boot
UnifiedKernelImages=yes
WithDocs=no
Packages=
    systemd-boot-efi
    systemd-boot-tools
`
	write(b, filepath.Join(m.dir, "mkosi.conf"), head+"    "+strings.Join(m.packages, "\n    ")+"\n")
}

func (m *mkosi) build(b *testing.B) usage {
	return measure(b, []string{"PYTHONPATH=" + m.code}, m.dir, "python3", "-m", "mkosi", "--force", "build")
}

// forgetImage leaves the tools tree and the packages.
func (m *mkosi) forgetImage(b *testing.B) {
	made, err := filepath.Glob(filepath.Join(m.dir, "cache", "debian~*"))
	if err != nil {
		b.Fatal(err)
	}
	for _, path := range append(made, m.image()) {
		remove(b, path)
	}
}

// forget leaves the packages.
func (m *mkosi) forget(b *testing.B) {
	for _, dir := range []string{"cache", "out"} {
		remove(b, filepath.Join(m.dir, dir))
		if err := os.Mkdir(filepath.Join(m.dir, dir), 0o755); err != nil {
			b.Fatal(err)
		}
	}
}

func (m *mkosi) changeExtra(b *testing.B) {
	m.changes++
	write(b, filepath.Join(m.dir, "mkosi.extra/etc/motd"), fmt.Sprintf("change %d\n", m.changes))
}

func (m *mkosi) addPackage(b *testing.B) {
	small := smallPackages()
	m.packages = append(m.packages, small[m.changes%len(small)])
	m.changes++
	m.configure(b)
}

func (m *mkosi) image() string { return filepath.Join(m.dir, "out", "controller.raw") }

func (m *mkosi) size(b *testing.B) float64 { return sizeOnDisk(b, m.image()) }

// A mmdebstrap makes a directory of the packages, from a store of fetched ones.
type mmdebstrap struct {
	dir, include, list string
}

func newMmdebstrap(b *testing.B, packages []string) *mmdebstrap {
	need(b, "mmdebstrap")
	d := &mmdebstrap{dir: benchDir(b), include: strings.Join(packages, ",")}
	a := benchArchive(b, filepath.Join(d.dir, "apt"))
	d.list = filepath.Join(d.dir, "debian.sources")
	write(b, d.list, sources(a))
	if err := os.Mkdir(filepath.Join(d.dir, "fetched"), 0o755); err != nil {
		b.Fatal(err)
	}
	d.build(b) // fetches
	return d
}

func (d *mmdebstrap) build(b *testing.B) usage {
	store := filepath.Join(d.dir, "fetched")
	return measure(
		b, nil, d.dir, "mmdebstrap", "--variant=apt", "--include="+d.include, "--skip=essential/unlink",
		`--setup-hook=mkdir -p "$1"/var/cache/apt/archives/`, "--setup-hook=sync-in "+store+" /var/cache/apt/archives/",
		"--customize-hook=sync-out /var/cache/apt/archives "+store,
		"--dpkgopt=path-exclude=/usr/share/doc/*", "--dpkgopt=path-exclude=/usr/share/man/*",
		"trixie", filepath.Join(d.dir, "root"), d.list)
}

func (d *mmdebstrap) forget(b *testing.B) { remove(b, filepath.Join(d.dir, "root")) }
