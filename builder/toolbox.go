package builder

import (
	"context"
	"fmt"
	"io"
	"time"

	"trivet/builder/apt"
	"trivet/builder/host"
	"trivet/builder/rootfs"
)

// A Toolbox runs programs of Debian packages that this host need not have, in a
// sandbox without network.
type Toolbox struct{ tools *tools }

// toolboxDir is where a program finds the directory that it works in.
const toolboxDir = "/tmp/work"

// OpenToolbox unpacks packages and what they depend on, from the archive as it
// is now, into a root that the cache keeps. No maintainer script runs.
func OpenToolbox(ctx context.Context, in Inputs, packages ...string) (*Toolbox, error) {
	unlock, err := lockCache(in.Cache, false)
	if err != nil {
		return nil, err
	}
	defer unlock()
	b := &build{in: in, clock: newClock()}
	a := b.archive()
	idx, err := a.Refresh(ctx)
	if err != nil {
		return nil, err
	}
	lock, err := a.Resolve(ctx, idx, []apt.Set{{Name: toolsSet, Packages: packages}})
	if err != nil {
		return nil, err
	}
	b.epoch = lock.Date.UTC().Truncate(time.Second)
	if err := rootfs.Open(in.Cache); err != nil {
		return nil, err
	}
	debs, err := b.fetch(ctx, lock)
	if err != nil {
		return nil, err
	}
	t, err := b.tools(ctx, lock, debs)
	if err != nil {
		return nil, err
	}
	return &Toolbox{t}, rootfs.Sync(in.Cache)
}

// Run runs a program in dir, the only directory of this host that it sees.
// What it prints goes to out; its errors are in the error.
func (t *Toolbox) Run(ctx context.Context, dir string, out io.Writer, args ...string) error {
	box := host.Sandbox{Mounts: []host.Mount{{Target: "/", Layers: []string{t.tools.dir}}, {Target: toolboxDir, Layers: []string{dir}, Writable: true}}}
	if err := box.Run(ctx, host.Command{Args: args, Dir: toolboxDir, Stdout: out}); err != nil {
		return fmt.Errorf("run %s of the toolbox: %w", args[0], err)
	}
	return nil
}
