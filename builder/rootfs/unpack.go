package rootfs

import (
	"context"
	"errors"
	"fmt"
	"os"
)

// Unpack unpacks debs into the new or empty directory dir, without running any
// of their scripts: a root for tools that work as unpacked. The files are hard
// links into the store where dir is on its file system, so the tree must be
// used read-only.
func Unpack(ctx context.Context, in Inputs, debs []Deb, dir string) error {
	if err := Prepare(ctx, in, debs); err != nil {
		return err
	}
	pkgs, err := loadAll(in, debs)
	if err != nil {
		return err
	}
	p, err := newPlan(newView(nil), pkgs)
	if err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("unpack: %w", err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		return fmt.Errorf("unpack: %w", err)
	}
	if err := p.lay(in, dir); err != nil {
		return err
	}
	return in.setTimes(dir)
}
