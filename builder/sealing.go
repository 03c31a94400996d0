package builder

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"trivet/builder/apt"
	"trivet/builder/disk"
	"trivet/builder/initrd"
	"trivet/builder/publish"
	"trivet/builder/seal"
	"trivet/roles"
)

// kernel is the kernel of the image and the initrd made for it.
type kernel struct {
	version string // as uname -r says it
	image   string // path of vmlinuz
	initrd  string
	osrel   string // text of os-release
}

// sealed is the compressed root with its hash tree.
type sealed struct {
	root, tree string // paths
	verity     seal.Verity
}

// cmdline is the kernel command line of the UKI. panic=10: a machine whose
// root is corrupt restarts after ten seconds (dm-verity panics).
func cmdline(rootHash string) string {
	return "roothash=" + rootHash + " ro console=tty0 console=ttyS0,115200 panic=10 systemd.firstboot=no"
}

// kernel finds the one kernel of the tree and makes its initrd, which is kept
// by the kernel package and trivet-init.
func (b *build) kernel(ctx context.Context, layers []string) (kernel, error) {
	defer b.clock.stage("initrd")()
	version, modules, err := oneKernel(layers)
	if err != nil {
		return kernel{}, err
	}
	k := kernel{version: version}
	if k.image, err = lookUp(layers, "boot/vmlinuz-"+version); err != nil {
		return kernel{}, err
	}
	osrel, err := lookUp(layers, "usr/lib/os-release")
	if err != nil {
		return kernel{}, err
	}
	text, err := os.ReadFile(osrel)
	if err != nil {
		return kernel{}, fmt.Errorf("read os-release: %w", err)
	}
	k.osrel = string(text)
	k.initrd = filepath.Join(b.in.Cache, "initrd", digest("initrd 2", bases(layers[:1]), modules, fileDigest(b.in.Init), b.epoch.Unix(), initrd.DefaultModules()))
	if _, err := os.Stat(k.initrd); err == nil {
		return k, nil
	}
	b.tell("initrd", "", 0, 0)
	if err := os.MkdirAll(filepath.Dir(k.initrd), 0o755); err != nil {
		return kernel{}, fmt.Errorf("make the cache: %w", err)
	}
	return k, initrd.Build(ctx, initrd.Inputs{Init: b.in.Init, Modules: modules, Epoch: b.epoch}, k.initrd)
}

// oneKernel finds the module directory; two kernels in one image are an error.
func oneKernel(layers []string) (version, modules string, err error) {
	found := map[string]string{}
	for _, l := range layers {
		dirs, err := filepath.Glob(filepath.Join(l, "usr/lib/modules/*/modules.builtin"))
		if err != nil {
			return "", "", fmt.Errorf("look for kernels: %w", err)
		}
		for _, d := range dirs {
			dir := filepath.Dir(d)
			found[filepath.Base(dir)] = dir
		}
	}
	if len(found) != 1 {
		return "", "", fmt.Errorf("look for the kernel of the image: found %d, want exactly one; see the packages of roles/services/base.yaml", len(found))
	}
	for version, modules = range found {
	}
	return version, modules, nil
}

// seal compresses the root and makes its hash tree. Each layer is packed once
// and kept by the layer's own key; the merged root is kept by all of them.
func (b *build) seal(ctx context.Context, t *tools, layers []string) (sealed, error) {
	defer b.clock.stage("seal")()
	dir := filepath.Join(b.in.Cache, "sealed", digest("sealed 2", bases(layers), filepath.Base(t.dir), b.epoch.Unix()))
	s := sealed{root: filepath.Join(dir, "root"), tree: filepath.Join(dir, "verity")}
	record := filepath.Join(dir, "verity.json")
	if text, err := os.ReadFile(record); err == nil {
		return s, json.Unmarshal(text, &s.verity)
	}
	b.tell("seal", "", 0, 0)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return sealed{}, fmt.Errorf("make the cache: %w", err)
	}
	packed, err := b.pack(ctx, t, layers)
	if err != nil {
		return sealed{}, err
	}
	if err := seal.MergeSquashfs(ctx, packed, s.root, b.epoch); err != nil {
		return sealed{}, err
	}
	if s.verity, err = seal.FormatVerity(ctx, s.root, s.tree); err != nil {
		return sealed{}, err
	}
	text, err := json.Marshal(s.verity)
	if err != nil {
		return sealed{}, fmt.Errorf("write the verity record: %w", err)
	}
	// The record is written last: a directory without it is made again.
	return s, writeAtomic(record, text)
}

// reserve refuses a root that leaves less of its slot free than the role asks
// for: a later image must fit the slots of machines that exist.
func (b *build) reserve(role roles.Role, s sealed) error {
	info, err := os.Stat(s.root)
	if err != nil {
		return fmt.Errorf("measure the root: %w", err)
	}
	if free := int64(role.Disk.Root) - info.Size(); free < int64(role.Disk.RootReserve) {
		return fmt.Errorf("seal the root of %s: its %d MiB leave %d MiB of the slot's %s free, less than disk.root_reserve %s; enlarge disk.root in roles/%s.yaml",
			role.Name, info.Size()>>20, free>>20, role.Disk.Root, role.Disk.RootReserve, role.Name)
	}
	return nil
}

// pack compresses the layers that are not packed yet.
func (b *build) pack(ctx context.Context, t *tools, layers []string) ([]string, error) {
	var packed []string
	if err := os.MkdirAll(filepath.Join(b.in.Cache, "packed"), 0o755); err != nil {
		return nil, fmt.Errorf("make the cache: %w", err)
	}
	for _, l := range layers {
		out := filepath.Join(b.in.Cache, "packed", digest("packed 1", filepath.Base(l), filepath.Base(t.dir), b.epoch.Unix()))
		if _, err := os.Stat(out); err != nil {
			if err := seal.PackLayer(ctx, t.run, l, out, b.epoch); err != nil {
				return nil, err
			}
		}
		packed = append(packed, out)
	}
	return packed, nil
}

// bases are the names of the layers' directories: digests of what is in them.
func bases(layers []string) []string {
	var names []string
	for _, l := range layers {
		names = append(names, filepath.Base(l))
	}
	return names
}

func writeAtomic(path string, text []byte) error {
	temp := path + ".tmp"
	if err := os.WriteFile(temp, text, 0o644); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := os.Rename(temp, path); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// efiName is the firmware's name for an architecture (UEFI 2.10, §3.5.1.1),
// as systemd names its stub and boot loader.
func efiName(arch string) (string, error) {
	names := map[string]string{"amd64": "x64", "arm64": "aa64"}
	if n, ok := names[arch]; ok {
		return n, nil
	}
	return "", fmt.Errorf("build for architecture %s: no UEFI name is known for it; known are amd64 and arm64", arch)
}

// uki joins stub, kernel, initrd and command line into one EFI program.
func (b *build) uki(t *tools, k kernel, s sealed) (string, error) {
	defer b.clock.stage("uki")()
	efi, err := efiName(b.in.Arch)
	if err != nil {
		return "", err
	}
	out := filepath.Join(filepath.Dir(s.root), "uki-"+digest("uki 2", filepath.Base(k.initrd), k.osrel, k.version, filepath.Base(t.dir), cmdline(""))[:16]+".efi")
	if _, err := os.Stat(out); err == nil {
		return out, nil
	}
	return out, seal.UKI(seal.UKIInputs{
		Stub: t.file("usr/lib/systemd/boot/efi/linux" + efi + ".efi.stub"), Kernel: k.image, Initrd: k.initrd,
		Cmdline: cmdline(s.verity.RootHash), OSRelease: k.osrel, Uname: k.version,
	}, out)
}

// disk assembles the raw image in a scratch directory beside the output.
func (b *build) disk(ctx context.Context, role roles.Role, t *tools, uki string, s sealed) (string, error) {
	defer b.clock.stage("disk")()
	efi, err := efiName(b.in.Arch)
	if err != nil {
		return "", err
	}
	b.tell("disk", "", 0, 0)
	out := filepath.Join(b.in.Out, "."+b.base(role)+".raw.tmp")
	if err := os.Remove(out); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("remove what a killed build left: %w", err)
	}
	return out, disk.Assemble(ctx, t.run, b.layout(role), disk.Contents{
		Loader: t.file("usr/lib/systemd/boot/efi/systemd-boot" + efi + ".efi"), UKI: uki, Root: s.root, Verity: s.tree, RootHash: s.verity.RootHash,
		Version: imageVersion(b.epoch), Epoch: b.epoch,
	}, out)
}

// publish writes the artifacts and the manifest.
func (b *build) publish(ctx context.Context, role roles.Role, lock apt.Lock, key string, k kernel, s sealed, uki, raw string) (publish.Manifest, error) {
	defer b.clock.stage("publish")()
	b.tell("publish", "", 0, 0)
	m := publish.Manifest{
		Role: role.Name, Version: imageVersion(b.epoch), Tool: b.in.Version, Suite: lock.Suite, Arch: lock.Arch, Date: b.epoch,
		Kernel: k.version, RootHash: s.verity.RootHash, Cmdline: cmdline(s.verity.RootHash), Inputs: key,
	}
	for _, svc := range role.Services {
		for _, u := range svc.Units {
			m.Units = append(m.Units, publish.Unit{Name: u, Service: svc.Name, Boot: svc.Boot})
		}
	}
	for _, p := range lock.Packages {
		if p.Set != toolsSet {
			m.Packages = append(m.Packages, publish.Package{Set: p.Set, Name: p.Name, Version: p.Version, Arch: p.Arch, Source: p.Source, SHA256: p.SHA256})
		}
	}
	return publish.Write(ctx, publish.Inputs{
		Out: b.in.Out, Base: b.base(role), Raw: raw, Jobs: b.in.Jobs, Manifest: m,
		Known: map[string]string{".root": s.verity.DataSHA256, ".root.verity": s.verity.TreeSHA256},
		Parts: map[string]string{".efi": uki, ".vmlinuz": k.image, ".initrd": k.initrd, ".root": s.root, ".root.verity": s.tree},
		Texts: map[string]string{".lock": lock.String()},
	})
}
