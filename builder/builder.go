// Package builder makes the sealed disk image of a role. Build is the recipe:
// one flat function in which each line takes what the line above returned.
// Only the recipe knows the order of the stages; no stage imports another.
package builder

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"trivet/builder/apt"
	"trivet/builder/host"
	"trivet/builder/overlay"
	"trivet/builder/publish"
	"trivet/builder/rootfs"
	"trivet/roles"
)

// Inputs say what to build from, and where.
type Inputs struct {
	Source      string      // the directory that holds roles/ and overlays/
	Out         string      // where the artifacts go
	Cache       string      // what is kept between builds
	Mirrors     apt.Mirrors // zero: those of the host's own apt
	Proxy       apt.Proxy   // nil: that of the environment
	At          time.Time   // the time of a snapshot that Mirrors are; zero: now
	Suite, Arch string      // "trixie", "amd64"
	Locked      string      // a lock file to take exactly; "" resolves anew
	Init, Agent string      // the binaries trivet-init and trivet-agent
	Version     string      // of trivet itself; part of every key
	SectorSize  int         // of the disk image, in bytes: 512 or 4096
	Jobs        int         // workers
	Log         io.Writer   // what maintainer scripts and tools print
	Progress    Progress
}

// Progress is told how far a stage is. Total 0 means unknown; unit is "B" for
// bytes, else the name of what is counted.
type Progress func(stage, unit string, done, total int64)

// A Result is what Build made of one role.
type Result struct {
	Manifest  publish.Manifest
	Unchanged bool // every input is the one of the artifacts in Out: nothing was done
	Stages    []Stage
}

// A Stage is one step of the recipe with the time it took.
type Stage struct {
	Name  string        `json:"name"`
	Took  time.Duration `json:"took_ns"`
	About string        `json:"about,omitempty"` // such as "cached"
}

// Funcs are the functions that run inside a sandbox; a program that calls
// Build hands them to host.Main first.
func Funcs() map[string]host.Func {
	return map[string]host.Func{nothingFunc: func(context.Context, io.Reader, io.Writer) error { return nil }}
}

// nothingFunc is what doctor runs to see whether a sandbox works.
const nothingFunc = "nothing"

// Build makes the artifacts of the role called name. It writes only below
// in.Cache and in.Out, and in.Out changes only when everything is there.
func Build(ctx context.Context, in Inputs, name string) (Result, error) {
	unlock, err := lockCache(in.Cache, false)
	if err != nil {
		return Result{}, err
	}
	defer unlock()
	b := &build{in: in, clock: newClock()}
	role, err := roles.Load(filepath.Join(in.Source, "roles"), name)
	if err != nil {
		return Result{}, err
	}
	lock, err := b.lock(ctx, role)
	if err != nil {
		return Result{}, err
	}
	files, err := b.overlays(role)
	if err != nil {
		return Result{}, err
	}
	key := b.key(role, lock, files)
	if m, ok := publish.Current(in.Out, b.base(role), key); ok {
		return Result{Manifest: m, Unchanged: true, Stages: b.clock.stages}, nil
	}
	free, err := lockOut(in.Out)
	if err != nil {
		return Result{}, err
	}
	defer free()
	if err := b.clear(role); err != nil {
		return Result{}, err
	}
	if err := rootfs.Open(in.Cache); err != nil {
		return Result{}, err
	}
	root, tools, err := b.root(ctx, role, lock, files)
	if err != nil {
		return Result{}, err
	}
	m, err := b.image(ctx, role, lock, key, root, tools)
	return Result{Manifest: m, Stages: b.clock.stages}, err
}

// image seals the tree and writes the artifacts.
func (b *build) image(ctx context.Context, role roles.Role, lock apt.Lock, key string, root []string, tools *tools) (publish.Manifest, error) {
	var none publish.Manifest
	kernel, err := b.kernel(ctx, root)
	if err != nil {
		return none, err
	}
	sealed, err := b.seal(ctx, tools, root)
	if err != nil {
		return none, err
	}
	if err := b.reserve(role, sealed); err != nil {
		return none, err
	}
	uki, err := b.uki(tools, kernel, sealed)
	if err != nil {
		return none, err
	}
	synced := b.sync()
	raw, err := b.disk(ctx, role, tools, uki, sealed)
	if err != nil {
		return none, err
	}
	m, err := b.publish(ctx, role, lock, key, kernel, sealed, uki, raw)
	if err != nil {
		return none, err
	}
	return m, <-synced
}

// sync brings the cache to the disk while the artifacts are written.
func (b *build) sync() <-chan error {
	done := make(chan error, 1)
	go func() { done <- rootfs.Sync(b.in.Cache) }()
	return done
}

// root makes the tree of the image, as overlay layers, lowest first.
func (b *build) root(ctx context.Context, role roles.Role, lock apt.Lock, files overlay.Tree) ([]string, *tools, error) {
	debs, err := b.fetch(ctx, lock)
	if err != nil {
		return nil, nil, err
	}
	tools, err := b.tools(ctx, lock, debs)
	if err != nil {
		return nil, nil, err
	}
	layers, err := b.layers(ctx, lock, debs, tools)
	if err != nil {
		return nil, nil, err
	}
	root, err := b.finish(ctx, role, lock, files, layers)
	return root, tools, err
}

// Lock resolves the packages of a role and of the image tools against the
// archive as it is now.
func Lock(ctx context.Context, in Inputs, name string) (apt.Lock, error) {
	role, err := roles.Load(filepath.Join(in.Source, "roles"), name)
	if err != nil {
		return apt.Lock{}, err
	}
	in.Locked = ""
	b := &build{in: in, clock: newClock()}
	lock, err := b.lock(ctx, role)
	if err != nil {
		return apt.Lock{}, fmt.Errorf("lock role %s: %w", name, err)
	}
	return lock, nil
}
