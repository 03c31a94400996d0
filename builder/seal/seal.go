// Package seal makes the sealed parts of an image: the compressed read-only
// root file system (squashfs, or erofs as the alternative), its dm-verity hash
// tree, and the unified kernel image that carries the tree's root hash.
//
// A root of many layers is made in two steps, so that work follows the change:
// each layer is packed once (PackLayer) and the caller keeps the result by the
// layer's content; MergeSquashfs then makes one file system of the packed
// layers without compressing any file again. Squashfs does both at once for a
// caller that keeps nothing.
package seal

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"trivet/builder/host"
)

// A Tool runs a program of the tools root with the given mounts, which it sees
// below /tmp, and waits for it. The program gets only these mounts and no
// network.
type Tool func(ctx context.Context, mounts []host.Mount, args ...string) error

// inDir and outDir are where a tool finds its input and leaves its output.
const (
	inDir  = "/tmp/trivet-in"
	outDir = "/tmp/trivet-out"
)

// replace lets write fill a file in a new directory beside out and renames it
// to out when write returned nil. Whatever happens, nothing half-written is
// left. There is no fsync: a caller that must outlive a power cut checks the
// file's digest.
func replace(out string, write func(tmp string) error) (err error) {
	dir, err := os.MkdirTemp(filepath.Dir(out), ".seal-*")
	if err != nil {
		return fmt.Errorf("make a directory for %s: %w", filepath.Base(out), err)
	}
	defer os.RemoveAll(dir)
	tmp := filepath.Join(dir, filepath.Base(out))
	if err := write(tmp); err != nil {
		return err
	}
	if err := os.Chmod(tmp, 0o644); err != nil {
		return fmt.Errorf("set the mode of %s: %w", filepath.Base(out), err)
	}
	if err := os.Rename(tmp, out); err != nil {
		return fmt.Errorf("put %s in place: %w", filepath.Base(out), err)
	}
	return nil
}
