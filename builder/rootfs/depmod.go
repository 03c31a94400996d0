package rootfs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"trivet/builder/host"
)

const modulesDir = "usr/lib/modules"

// runDepmod makes the indices of the layer's kernel modules (modules.dep(5)).
// It decompresses every module, which takes seconds that the kernel's postinst
// would let dpkg wait for. It returns the kernels' versions; the files are in
// the directory depmod.
func (b *build) runDepmod(ctx context.Context) ([]string, error) {
	versions := b.plan.kernels()
	n, err := newView(b.stack("unpack")).follow("usr/sbin/depmod")
	if err != nil || n.kind == "" || len(versions) == 0 {
		return nil, err
	}
	out, err := b.tmp.sub("depmod")
	if err != nil {
		return nil, err
	}
	for _, v := range versions {
		c := host.Command{Args: []string{"depmod", "--outdir", outTarget, v}, Stdout: b.in.log(), Stderr: b.in.log()}
		if err := b.beside(out).Run(ctx, c); err != nil {
			return nil, fmt.Errorf("index the modules of kernel %s: %w", v, err)
		}
	}
	return versions, nil
}

// kernels returns the versions of the kernels that the plan has modules of.
func (p *plan) kernels() []string {
	found := map[string]bool{}
	for name := range p.nodes {
		rest, ok := strings.CutPrefix(name, modulesDir+"/")
		if !ok {
			continue
		}
		version, file, _ := strings.Cut(rest, "/")
		if stem, _, ok := strings.Cut(path.Base(file), ".ko"); ok && stem != "" {
			found[version] = true
		}
	}
	return sortedKeys(found)
}

// layDepmod copies the indices into the tree.
func (b *build) layDepmod(root *os.Root, versions []string) error {
	for _, v := range versions {
		from, err := depmodDir(b.path("depmod"), v)
		if err != nil {
			return err
		}
		names, err := os.ReadDir(from)
		if err != nil {
			return fmt.Errorf("index the modules of kernel %s: %w", v, err)
		}
		for _, n := range names {
			if err := installFile(root, filepath.Join(from, n.Name()), path.Join(modulesDir, v, n.Name())); err != nil {
				return fmt.Errorf("index the modules of kernel %s: %w", v, err)
			}
		}
	}
	return nil
}

// depmodDir finds where depmod put its files: below usr/lib or lib, as it was
// built for.
func depmodDir(out, version string) (string, error) {
	for _, d := range []string{modulesDir, "lib/modules"} {
		dir := filepath.Join(out, d, version)
		if info, err := os.Lstat(dir); err == nil && info.IsDir() {
			return dir, nil
		}
	}
	return "", fmt.Errorf("index the modules of kernel %s: depmod wrote nothing", version)
}

// installFile moves the file from to the path name of the tree, as root's 0644.
func installFile(root *os.Root, from, name string) error {
	if err := root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	dir, err := root.OpenFile(path.Dir(name), unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := os.Chmod(from, 0o644); err != nil {
		return err
	}
	if err := unix.Renameat(unix.AT_FDCWD, from, int(dir.Fd()), path.Base(name)); err != nil {
		return &os.LinkError{Op: "move", Old: from, New: name, Err: err}
	}
	return nil
}
