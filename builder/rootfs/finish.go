package rootfs

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// FinishOptions are the parts of the top layer that differ between images.
type FinishOptions struct {
	Digest string // of everything that the overlay callback will write
}

// Finish makes the top layer of an image on the layers below: it lets overlay
// write its files into the layer, applies the presets, moves what packages put
// under /var to where a machine's empty /var is filled from, and refuses an
// image that would hold a secret. The result is kept by the layers below and
// by o.Digest.
//
// What overlay writes over a directory of the layers below does not change
// that directory's owner and mode.
func Finish(ctx context.Context, in Inputs, below []string, overlay func(upper string) error, o FinishOptions) (string, error) {
	lines, err := belowLines(in, below)
	if err != nil {
		return "", fmt.Errorf("finish the root: %w", err)
	}
	key, err := keyOf(in, "finish 2", append(lines, "overlay "+o.Digest, "preset "+defaultPreset))
	if err != nil {
		return "", fmt.Errorf("finish the root: %w", err)
	}
	dir, err := cached(ctx, in, key, func(t *temp) (string, error) {
		f := finishing{build: build{in: in, below: below, tmp: t}}
		return f.run(ctx, overlay)
	})
	if err != nil {
		return "", fmt.Errorf("finish the root: %w", err)
	}
	return dir, nil
}

// A finishing makes the top layer.
type finishing struct {
	build
	top string // the layer's directory
}

func (f *finishing) run(ctx context.Context, overlay func(upper string) error) (string, error) {
	if err := f.tools(); err != nil {
		return "", err
	}
	var err error
	if f.top, err = f.tmp.sub("top"); err != nil {
		return "", err
	}
	if err := overlay(f.top); err != nil {
		return "", err
	}
	if err := f.refuseVolatile(); err != nil {
		return "", err
	}
	if err := f.fixDirs(); err != nil {
		return "", err
	}
	if err := f.presets(ctx); err != nil {
		return "", err
	}
	clean := folding{below: newView(f.below), dst: f.top}
	if err := clean.inPlace(f.top, "."); err != nil {
		return "", fmt.Errorf("clean the top layer: %w", err)
	}
	return f.top, f.seal()
}

// refuseVolatile refuses a file of the overlay that seal would remove again.
func (f *finishing) refuseVolatile() error {
	for _, pattern := range volatilePaths() {
		names, err := filepath.Glob(filepath.Join(f.top, pattern))
		if err != nil {
			return err
		}
		if len(names) > 0 {
			return fmt.Errorf("overlay path /%s: no image may hold it, since it is a machine's own or differs from run to run; render it on the node (NAME.tmpl) or leave it out",
				strings.TrimPrefix(names[0], f.top+"/"))
		}
	}
	return nil
}

// seal does what needs no program of the tree.
func (f *finishing) seal() error {
	root, err := os.OpenRoot(f.top)
	if err != nil {
		return err
	}
	defer root.Close()
	if err := removeMatches(root, volatilePaths()); err != nil {
		return fmt.Errorf("remove what differs from run to run: %w", err)
	}
	if err := checkSecrets(root); err != nil {
		return err
	}
	// systemd-machine-id-setup and first-boot logic take this word for an image
	// that never booted (machine-id(5)).
	if err := f.write(root, "etc/machine-id", "uninitialized\n"); err != nil {
		return err
	}
	if err := f.factory(root); err != nil {
		return fmt.Errorf("move /var to the factory: %w", err)
	}
	return f.in.setTimes(f.top)
}

// write writes a file of the image into the top layer, with directories as the
// layers below have them.
func (f *finishing) write(root *os.Root, name, text string) error {
	if err := f.scaffold(path.Dir(name)); err != nil {
		return err
	}
	w := dbWriter{root: root}
	w.write(name, []byte(text))
	return w.err
}

// scaffold makes the directory name in the top layer as the image has it.
func (f *finishing) scaffold(name string) error {
	return scaffold(newView(f.stack("top")), name, f.top)
}

// fixDirs gives the directories that the overlay wrote the owner and mode that
// they have below, and refuses an overlay that would change what they are.
func (f *finishing) fixDirs() error {
	v := newView(f.below)
	return filepath.WalkDir(f.top, func(at string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(f.top, at)
		if err != nil {
			return err
		}
		n, err := v.lookup(name)
		if err != nil || n.kind == "" {
			return err
		}
		switch {
		case d.IsDir() && n.kind == kindSymlink:
			return fmt.Errorf("overlay path /%s is a directory, and in the packages a link to %s; use that path", name, n.target)
		case d.IsDir() != (n.kind == kindDir):
			return fmt.Errorf("overlay path /%s would change a directory into a file or the other way round", name)
		case !d.IsDir():
			return nil
		}
		if err := unix.Lchown(at, int(n.stat.Uid), int(n.stat.Gid)); err != nil {
			return &os.PathError{Op: "chown", Path: at, Err: err}
		}
		return os.Chmod(at, fileMode(n.stat.Mode))
	})
}

// fileMode turns the permission bits of stat(2) into Go's.
func fileMode(m uint32) os.FileMode {
	mode := os.FileMode(m & 0o777)
	if m&unix.S_ISUID != 0 {
		mode |= os.ModeSetuid
	}
	if m&unix.S_ISGID != 0 {
		mode |= os.ModeSetgid
	}
	if m&unix.S_ISVTX != 0 {
		mode |= os.ModeSticky
	}
	return mode
}

// defaultPreset comes after all other presets (systemd.preset(5): the first
// match counts): what no overlay and no package of systemd itself enables
// stays off.
const defaultPreset = "# Written by trivet: services ship disabled.\ndisable *\n"

const defaultPresetPath = "usr/lib/systemd/system-preset/99-zz-trivet-default.preset"

// presets writes the default preset and applies all of them; users of the
// overlay's own sysusers.d files are made first.
func (f *finishing) presets(ctx context.Context) error {
	v := newView(f.stack("top"))
	n, err := v.follow("usr/bin/systemctl")
	if err != nil || n.kind == "" {
		return err
	}
	root, err := os.OpenRoot(f.top)
	if err != nil {
		return err
	}
	defer root.Close()
	if err := f.write(root, defaultPresetPath, defaultPreset); err != nil {
		return err
	}
	var script strings.Builder
	users, err := fs.Glob(root.FS(), "usr/lib/sysusers.d/*.conf")
	if err != nil {
		return err
	}
	for _, u := range users {
		script.WriteString("systemd-sysusers " + path.Base(u) + "\n")
	}
	script.WriteString("systemctl preset-all --quiet\nsystemctl --global preset-all --quiet\n")
	return f.shell(ctx, "apply the presets", f.below, "top", script.String(), standIns())
}
