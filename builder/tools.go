package builder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"trivet/builder/apt"
	"trivet/builder/host"
	"trivet/builder/rootfs"
)

// tools is the tools root: Debian 13's image tools, unpacked from the lock's
// own packages, so that every host makes the same bytes with them.
type tools struct {
	dir string
	log io.Writer
}

// tools unpacks the tools root once and keeps it by the digests of its packages.
func (b *build) tools(ctx context.Context, lock apt.Lock, paths map[string]string) (*tools, error) {
	defer b.clock.stage("tools")()
	debs := debsOf(lock, toolsSet, paths)
	if len(debs) == 0 {
		return nil, errors.New("unpack the image tools: the lock names none; run: trivet lock")
	}
	key := []any{"tools 1"}
	for _, d := range debs {
		key = append(key, d.SHA256)
	}
	dir := filepath.Join(b.in.Cache, "tools", digest(key...))
	if _, err := os.Stat(dir); err == nil {
		return &tools{dir: dir, log: b.in.Log}, nil
	}
	b.tell("tools", "", 0, 0)
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return nil, fmt.Errorf("make the cache: %w", err)
	}
	temp, err := os.MkdirTemp(filepath.Dir(dir), ".tmp-")
	if err != nil {
		return nil, fmt.Errorf("make the tools root: %w", err)
	}
	defer os.RemoveAll(temp)
	if err := rootfs.Unpack(ctx, b.rootfs(nil), debs, temp); err != nil {
		return nil, fmt.Errorf("unpack the image tools: %w", err)
	}
	// A read-only root must bring the mount points that a sandbox needs.
	for _, name := range []string{"proc", "sys", "dev", "run", "tmp"} {
		if err := os.MkdirAll(filepath.Join(temp, name), 0o755); err != nil {
			return nil, fmt.Errorf("make the tools root: %w", err)
		}
	}
	if err := os.Chmod(temp, 0o755); err != nil {
		return nil, fmt.Errorf("make the tools root: %w", err)
	}
	if err := os.Rename(temp, dir); err != nil {
		return nil, fmt.Errorf("keep the tools root: %w", err)
	}
	return &tools{dir: dir, log: b.in.Log}, nil
}

// run runs a program of the tools root; the stages get it as their Tool.
func (t *tools) run(ctx context.Context, mounts []host.Mount, args ...string) error {
	box := host.Sandbox{Mounts: append([]host.Mount{{Target: "/", Layers: []string{t.dir}}}, mounts...)}
	return box.Run(ctx, host.Command{Args: args, Stdout: t.log, Stderr: t.log})
}

// xz decompresses with xz(1) of the tools root, which is 2 to 5 times faster
// than a decoder in Go. It is started by its own dynamic loader: no sandbox is
// needed for a filter, and hundreds of them would cost seconds.
func (t *tools) xz(ctx context.Context, r io.Reader, w io.Writer) error {
	loaders, err := filepath.Glob(filepath.Join(t.dir, "usr/lib*/ld-linux*.so.*"))
	if err != nil || len(loaders) == 0 {
		return fmt.Errorf("find the dynamic loader of the tools root %s: none", t.dir)
	}
	libs, err := filepath.Glob(filepath.Join(t.dir, "usr/lib/*-linux-gnu*"))
	if err != nil || len(libs) == 0 {
		return fmt.Errorf("find the libraries of the tools root %s: none", t.dir)
	}
	return host.Exec(ctx, host.Command{
		Args:  []string{loaders[0], "--library-path", libs[0], filepath.Join(t.dir, "usr/bin/xz"), "-dc", "-T1"},
		Stdin: r, Stdout: w,
	})
}

// file is the path of a file of the tools root.
func (t *tools) file(name string) string { return filepath.Join(t.dir, name) }
