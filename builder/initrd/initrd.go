// Package initrd writes the initial RAM file system of an image: trivet-init as
// /init and the kernel modules that a machine needs to find its disk and its
// network, in one cpio archive compressed with zstd.
package initrd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"sort"
	"strings"
	"time"

	"github.com/cavaliergopher/cpio"
	"github.com/klauspost/compress/zstd"
)

// Inputs is what an initrd is made of.
type Inputs struct {
	Init    string // path of trivet-init, a static program
	Modules string // path of usr/lib/modules/VERSION, with the files that depmod(8) writes
	// Names are the modules to take beside those they depend on; - and _ are the
	// same. A name that the kernel has neither as a module nor built in is an
	// error, unless it ends in "?". nil is DefaultModules().
	Names []string
	Epoch time.Time // of every file in the archive
	// XZ decompresses a module; nil is a decoder in Go, half as fast as xz(1).
	XZ func(ctx context.Context, r io.Reader, w io.Writer) error
}

// entry is one member of the archive.
type entry struct {
	name string
	mode cpio.FileMode
	data []byte
}

// emptyDirs are the mount points that trivet-init uses. /dev/console is in the
// archive that is built into every kernel (usr/default_cpio_list).
func emptyDirs() []string {
	return []string{"dev", "etc", "proc", "run", "sys", "sysroot", "tmp", "usr", "usr/lib", "usr/lib/modules"}
}

// Build writes the initrd to out. In it, below /usr/lib/modules/VERSION, lie the
// modules as plain .ko files at their usual paths, and modules.dep,
// modules.alias, modules.softdep and modules.builtin cut down to them. The same
// inputs give the same bytes.
func Build(ctx context.Context, in Inputs, out string) error {
	if err := build(ctx, in, out); err != nil {
		return fmt.Errorf("make the initrd %s: %w", filepath.Base(out), err)
	}
	return nil
}

func build(ctx context.Context, in Inputs, out string) (err error) {
	init, err := os.ReadFile(in.Init)
	if err != nil {
		return err
	}
	if err := checkStatic(init); err != nil {
		return fmt.Errorf("take %s as its first program: %w", filepath.Base(in.Init), err)
	}
	files, err := moduleFiles(ctx, in)
	if err != nil {
		return err
	}
	entries := []entry{{"init", cpio.TypeReg | 0o755, init}}
	for _, dir := range emptyDirs() {
		entries = append(entries, entry{dir, cpio.TypeDir | 0o755, nil})
	}
	entries = append(entries, withParents(files, "usr/lib/modules")...)
	sort.Slice(entries, func(i, j int) bool { return entries[i].name < entries[j].name }) // parents before children
	f, err := os.CreateTemp(filepath.Dir(out), ".initrd-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if err := archive(ctx, f, entries, in.Epoch); err != nil {
		return err
	}
	if err := errors.Join(f.Chmod(0o644), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), out)
}

// withParents adds the directories of files that lie below root.
func withParents(files []entry, root string) []entry {
	seen := map[string]bool{root: true}
	out := files
	for _, f := range files {
		for dir := path.Dir(f.name); !seen[dir] && strings.HasPrefix(dir, root); dir = path.Dir(dir) {
			seen[dir] = true
			out = append(out, entry{dir, cpio.TypeDir | 0o755, nil})
		}
	}
	return out
}

// archive writes the entries as a cpio archive of the "newc" kind (kernel,
// Documentation/driver-api/early-userspace/buffer-format.rst), with zstd. The
// kernel's decoder takes windows up to 128 MiB (lib/decompress_unzstd.c).
func archive(ctx context.Context, to io.Writer, entries []entry, epoch time.Time) error {
	z, err := zstd.NewWriter(to, zstd.WithEncoderLevel(zstd.SpeedDefault), zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(8<<20))
	if err != nil {
		return fmt.Errorf("set up zstd: %w", err)
	}
	w := cpio.NewWriter(z)
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			return err
		}
		h := &cpio.Header{Name: e.name, Mode: e.mode, Links: 1, ModTime: epoch, Size: int64(len(e.data))}
		if err := w.WriteHeader(h); err != nil {
			return fmt.Errorf("write %s: %w", e.name, err)
		}
		if _, err := w.Write(e.data); err != nil {
			return fmt.Errorf("write %s: %w", e.name, err)
		}
	}
	if err := w.Close(); err != nil {
		return fmt.Errorf("end the archive: %w", err)
	}
	if err := z.Close(); err != nil {
		return fmt.Errorf("end the zstd stream: %w", err)
	}
	return nil
}
