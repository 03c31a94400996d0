package builder

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"trivet/builder/apt"
	"trivet/builder/disk"
	"trivet/builder/overlay"
	"trivet/builder/rootfs"
	"trivet/roles"
)

// build is one run of the recipe.
type build struct {
	in    Inputs
	clock *clock
	epoch time.Time // of the lock: no file of the image is younger
}

// toolPackages are the Debian packages of the tools root: every program that
// makes a byte of an image, and the boot loader and stub that go into it. They
// are locked with the role, so the host's own tools never matter.
func toolPackages() []string {
	return []string{"squashfs-tools", "dosfstools", "mtools", "xz-utils", "systemd-boot-efi"}
}

// toolsSet is the name of the tool packages' set in a lock.
const toolsSet = "tools"

func (b *build) archive() apt.Archive {
	return apt.Archive{
		Mirrors: b.in.Mirrors, Suite: b.in.Suite, Arch: b.in.Arch, Cache: b.in.Cache, Proxy: b.in.Proxy, At: b.in.At,
		Progress: func(name string, done, total int64) { b.tell(name, "B", done, total) },
	}
}

func (b *build) tell(stage, unit string, done, total int64) {
	if b.in.Progress != nil {
		b.in.Progress(stage, unit, done, total)
	}
}

// packageSets are what the role asks of apt, in the order of its layers.
func packageSets(role roles.Role) []apt.Set {
	var sets []apt.Set
	for _, s := range role.PackageSets() {
		sets = append(sets, apt.Set{Name: s.Name, Packages: s.Packages})
	}
	return sets
}

// lock reads the lock that was asked for, or resolves one.
func (b *build) lock(ctx context.Context, role roles.Role) (apt.Lock, error) {
	defer b.clock.stage("resolve")()
	lock, err := b.resolve(ctx, role)
	b.epoch = lock.Date.UTC().Truncate(time.Second)
	return lock, err
}

func (b *build) resolve(ctx context.Context, role roles.Role) (apt.Lock, error) {
	sets := packageSets(role)
	tools := []apt.Set{{Name: toolsSet, Packages: toolPackages()}}
	request := apt.RequestDigest(b.in.Suite, b.in.Arch, append(append([]apt.Set{}, sets...), tools...))
	if b.in.Locked != "" {
		lock, err := apt.ReadLock(b.in.Locked)
		if err != nil {
			return apt.Lock{}, err
		}
		return lock, lock.Check(request)
	}
	b.tell("resolve", "", 0, 0)
	a := b.archive()
	idx, err := a.Refresh(ctx)
	if err != nil {
		return apt.Lock{}, err
	}
	lock, err := a.Resolve(ctx, idx, sets)
	if err != nil {
		return apt.Lock{}, askedBy(role, err)
	}
	t, err := a.Resolve(ctx, idx, tools)
	if err != nil {
		return apt.Lock{}, err
	}
	lock.Packages = append(lock.Packages, t.Packages...)
	lock.Request = request
	return lock, nil
}

// askedBy names the file that asks for a package which cannot be had.
func askedBy(role roles.Role, err error) error {
	var asked *apt.AskedError
	if !errors.As(err, &asked) {
		return err
	}
	for _, s := range role.Services {
		if slices.Contains(s.Packages, asked.Package) {
			return fmt.Errorf("roles/services/%s.yaml: %w", s.Name, err)
		}
	}
	if slices.Contains(role.Packages, asked.Package) {
		return fmt.Errorf("roles/%s.yaml: %w", role.Name, err)
	}
	return err
}

// clear removes what killed builds left in the output directory.
func (b *build) clear(role roles.Role) error {
	left, err := filepath.Glob(filepath.Join(b.in.Out, "."+b.base(role)+".*"))
	if err != nil {
		return fmt.Errorf("look for what a killed build left: %w", err)
	}
	for _, path := range left {
		if err := os.RemoveAll(path); err != nil {
			return fmt.Errorf("remove what a killed build left: %w", err)
		}
	}
	return nil
}

// overlays reads the role's overlays and adds the files that the builder
// itself makes: the agent, the role for the agent to read, the partitions for
// systemd-repart.
func (b *build) overlays(role roles.Role) (overlay.Tree, error) {
	defer b.clock.stage("overlays")()
	tree, err := overlay.Read(filepath.Join(b.in.Source, "overlays"), role.Overlays())
	if err != nil {
		return overlay.Tree{}, err
	}
	roleJSON, err := json.MarshalIndent(role, "", "  ")
	if err != nil {
		return overlay.Tree{}, fmt.Errorf("write role %s as JSON: %w", role.Name, err)
	}
	agent, err := os.ReadFile(b.in.Agent)
	if err != nil {
		return overlay.Tree{}, fmt.Errorf("read the agent: %w", err)
	}
	files := []overlay.File{
		{Path: "usr/share/trivet/role.json", Mode: 0o644, Content: append(roleJSON, '\n')},
		{Path: "usr/bin/trivet-agent", Mode: 0o755, Content: agent},
	}
	definitions, err := disk.Repart(b.layout(role))
	if err != nil {
		return overlay.Tree{}, err
	}
	for name, text := range definitions {
		files = append(files, overlay.File{Path: "usr/lib/repart.d/" + name, Mode: 0o644, Content: []byte(text)})
	}
	for _, f := range files {
		f.From = "the builder"
		if err := tree.Add(f); err != nil {
			return overlay.Tree{}, err
		}
	}
	return tree, nil
}

func (b *build) layout(role roles.Role) disk.Layout {
	return disk.Layout{
		ESP: int64(role.Disk.ESP), Root: int64(role.Disk.Root), Verity: int64(role.Disk.Verity), SectorSize: b.in.SectorSize, Arch: b.in.Arch,
	}
}

// base is the name of the role's artifacts without their endings.
func (b *build) base(role roles.Role) string {
	if b.in.SectorSize == 4096 {
		return role.Name + ".4k"
	}
	return role.Name
}

// key is the digest of everything that the artifacts depend on.
func (b *build) key(role roles.Role, lock apt.Lock, files overlay.Tree) string {
	self, err := os.Executable()
	if err != nil {
		self = "" // then no key equals another, and everything is looked at anew
	}
	return digest(b.in.Version, fileDigest(self), fileDigest(b.in.Init), role.Name, lock.Digest(), files.Digest(), b.in.SectorSize, cmdline(""), toolPackages())
}

// digest is the SHA-256, in hex, of the JSON of its arguments.
func digest(parts ...any) string {
	h := sha256.New()
	// Only strings, numbers and slices of them come here: their JSON cannot fail.
	_ = json.NewEncoder(h).Encode(parts)
	return hex.EncodeToString(h.Sum(nil))
}

// fileDigest is the SHA-256 of a file, or a text that equals no digest.
func fileDigest(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return "unreadable: " + err.Error()
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// fetch brings every package of the lock into the store.
func (b *build) fetch(ctx context.Context, lock apt.Lock) (map[string]string, error) {
	defer b.clock.stage("fetch")()
	return b.archive().Fetch(ctx, lock.Packages)
}

// debsOf are the packages of one set, with their files.
func debsOf(lock apt.Lock, set string, paths map[string]string) []rootfs.Deb {
	var debs []rootfs.Deb
	for _, p := range lock.Packages {
		if p.Set == set {
			debs = append(debs, rootfs.Deb{Name: p.Name, Version: p.Version, Arch: p.Arch, SHA256: p.SHA256, Path: paths[p.SHA256], Essential: p.Essential})
		}
	}
	return debs
}

// setNames are the sets of a lock that make layers, in order.
func setNames(lock apt.Lock) []string {
	var names []string
	seen := map[string]bool{toolsSet: true}
	for _, p := range lock.Packages {
		if !seen[p.Set] {
			seen[p.Set] = true
			names = append(names, p.Set)
		}
	}
	return names
}

func (b *build) rootfs(tools *tools) rootfs.Inputs {
	pinned, err := os.ReadFile(filepath.Join(b.in.Source, "overlays/common/usr/lib/sysusers.d/trivet.conf"))
	if err != nil {
		pinned = nil // a source without pinned users is allowed; the image test of ours is not
	}
	in := rootfs.Inputs{
		Cache: b.in.Cache, Epoch: b.epoch, Jobs: b.in.Jobs, Log: b.in.Log, Pinned: pinned,
		Progress: func(stage string, done, total int64) { b.tell(stage, "", done, total) },
	}
	if tools != nil {
		in.XZ = tools.xz
	}
	return in
}

// layers makes the package layers, lowest first, and over them the one that
// moves /var.
func (b *build) layers(ctx context.Context, lock apt.Lock, paths map[string]string, tools *tools) ([]string, error) {
	defer b.clock.stage("layers")()
	in := b.rootfs(tools)
	var want []rootfs.Layer
	for _, set := range setNames(lock) {
		want = append(want, rootfs.Layer{Name: set, Debs: debsOf(lock, set, paths)})
	}
	layers, err := rootfs.InstallAll(ctx, in, want)
	if err != nil {
		return nil, err
	}
	factory, err := rootfs.Factory(ctx, in, layers)
	return append(layers, factory), err
}

// finish lays the overlays and everything else that makes the tree an image.
func (b *build) finish(ctx context.Context, role roles.Role, lock apt.Lock, files overlay.Tree, layers []string) ([]string, error) {
	defer b.clock.stage("overlays and scrub")()
	lay := func(upper string) error {
		if err := files.Lay(upper, layers, b.epoch); err != nil {
			return err
		}
		return osRelease(layers, upper, imageID(role, lock))
	}
	// The version of the image, which os-release names, is a date of the lock,
	// and so is every layer's epoch: the digest of the files says it all.
	dir, err := rootfs.Finish(ctx, b.rootfs(nil), layers, lay, rootfs.FinishOptions{Digest: digest(files.Digest(), role.Name, imageVersion(b.epoch))})
	if err != nil {
		return nil, err
	}
	return append(append([]string{}, layers...), dir), nil
}

// osRelease adds the image's own lines to the distribution's os-release(5).
func osRelease(layers []string, upper string, lines map[string]string) error {
	const name = "usr/lib/os-release"
	from, err := lookUp(layers, name)
	if err != nil {
		return err
	}
	text, err := os.ReadFile(from)
	if err != nil {
		return fmt.Errorf("read os-release: %w", err)
	}
	for _, key := range slices.Sorted(maps.Keys(lines)) {
		text = fmt.Appendf(text, "%s=%q\n", key, lines[key])
	}
	if err := os.WriteFile(filepath.Join(upper, name), text, 0o644); err != nil {
		return fmt.Errorf("write os-release: %w", err)
	}
	return nil
}

// imageID is what os-release(5) says of the image.
func imageID(role roles.Role, lock apt.Lock) map[string]string {
	return map[string]string{"IMAGE_ID": "trivet-" + role.Name, "IMAGE_VERSION": imageVersion(lock.Date)}
}

// imageVersion names an image by the archive's date.
func imageVersion(epoch time.Time) string { return epoch.UTC().Format("20060102150405") }

// lookUp is the path of a file in the topmost layer that has it.
func lookUp(layers []string, name string) (string, error) {
	for i := len(layers) - 1; i >= 0; i-- {
		path := filepath.Join(layers[i], name)
		if _, err := os.Lstat(path); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("find /%s in the image: %w", name, fs.ErrNotExist)
}
