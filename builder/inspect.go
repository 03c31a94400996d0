package builder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"trivet/builder/disk"
	"trivet/builder/publish"
	"trivet/builder/seal"
)

// An Inspection is what a disk image and the manifest beside it say.
type Inspection struct {
	Disk     disk.Info         `json:"disk"`
	Manifest *publish.Manifest `json:"manifest,omitempty"` // nil where none lies beside the image
}

// manifestOf is the path of the manifest that belongs to an image.
func manifestOf(image string) string {
	return strings.TrimSuffix(image, ".raw") + ".manifest.json"
}

// Inspect reads the disk image at path and the manifest beside it.
func Inspect(path string) (Inspection, error) {
	info, err := disk.Inspect(path)
	if err != nil {
		return Inspection{}, err
	}
	in := Inspection{Disk: info}
	m, err := publish.Read(manifestOf(path))
	if errors.Is(err, fs.ErrNotExist) {
		return in, nil
	}
	if err != nil {
		return Inspection{}, err
	}
	in.Manifest = &m
	return in, nil
}

func (in Inspection) String() string {
	var w strings.Builder
	fmt.Fprintf(&w, "disk %d MiB, sectors of %d bytes, GUID %s\n", in.Disk.Size>>20, in.Disk.SectorSize, in.Disk.GUID)
	for _, p := range in.Disk.Partitions {
		fmt.Fprintf(&w, "partition %d %-9s %-22s %6d MiB  %s\n", p.Number, p.Label, p.Type, p.Size>>20, p.UUID)
	}
	fmt.Fprintf(&w, "root hash %s\nuki %s\ncmdline %s\n", in.Disk.RootHash, in.Disk.UKI, in.Disk.Cmdline)
	if in.Manifest == nil {
		return w.String()
	}
	m := in.Manifest
	fmt.Fprintf(&w, "role %s, version %s, %s %s, kernel %s, made by trivet %s\n", m.Role, m.Version, m.Suite, m.Arch, m.Kernel, m.Tool)
	for _, a := range m.Artifacts {
		fmt.Fprintf(&w, "artifact %-22s %8.1f MiB  %s\n", a.Name, float64(a.Size)/(1<<20), a.SHA256)
	}
	for _, u := range m.Units {
		when := "by the agent"
		if u.Boot {
			when = "at boot"
		}
		fmt.Fprintf(&w, "unit %s of %s, %s\n", u.Name, u.Service, when)
	}
	for _, p := range m.Packages {
		fmt.Fprintf(&w, "package %s %s %s\n", p.Set, p.Name, p.Version)
	}
	return w.String()
}

// Verify checks the image at path against its manifest, re-computes the hash
// tree of its root, and compares the root hash with the UKI's. The error is
// not nil when a check failed.
func Verify(ctx context.Context, path string) ([]publish.Check, error) {
	m, err := publish.Read(manifestOf(path))
	if err != nil {
		return nil, err
	}
	checks, err := publish.Verify(ctx, filepath.Dir(path), m)
	if err != nil {
		return nil, err
	}
	info, err := disk.Inspect(path)
	if err != nil {
		return checks, err
	}
	checks = append(checks,
		check("root hash of the UKI is the manifest's", same(info.RootHash, m.RootHash)),
		check("verity: every block of the root", checkRoot(ctx, path, info, m.RootHash)))
	for _, c := range checks {
		if !c.OK {
			return checks, fmt.Errorf("verify %s: %s: %s; do not boot it, build it again", path, c.Name, c.Why)
		}
	}
	return checks, nil
}

func check(name string, err error) publish.Check {
	c := publish.Check{Name: name, OK: err == nil}
	if err != nil {
		c.Why = err.Error()
	}
	return c
}

func same(got, want string) error {
	if got != want {
		return fmt.Errorf("it is %s, not %s", got, want)
	}
	return nil
}

func checkRoot(ctx context.Context, path string, info disk.Info, rootHash string) error {
	root, ok := info.Partition("root-a")
	tree, has := info.Partition("verity-a")
	if !ok || !has {
		return errors.New("the image has no partitions root-a and verity-a")
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return seal.CheckVerity(ctx, io.NewSectionReader(f, root.Offset, root.Size), io.NewSectionReader(f, tree.Offset, tree.Size), rootHash)
}
