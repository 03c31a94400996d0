package rootfs

import (
	"context"
	"io"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// A Deb is one package file.
type Deb struct {
	Name, Version, Arch string // as in its control file
	SHA256              string // of the file, 64 hex digits; verified by who fetched it
	Path                string // of the file on the host
	Essential           bool
}

// A Layer is a set of packages that are installed together on the layers below.
type Layer struct {
	Name string // for messages only
	Debs []Deb
}

// Inputs is what all work of this package needs.
type Inputs struct {
	Cache    string                                                    // directory of the store, the layers and temporary files; one file system
	XZ       func(ctx context.Context, r io.Reader, w io.Writer) error // decodes concatenated .xz streams, called by Jobs goroutines at once; nil is the Go decoder, which is half as fast
	Epoch    time.Time                                                 // no file is younger, all directories are as old; whole seconds
	Jobs     int                                                       // how many things at once; 0 is the number of CPUs
	Log      io.Writer                                                 // what dpkg and the scripts say; nil is nowhere
	Progress func(stage string, done, total int64)                     // called from several goroutines; nil is nobody
	Pinned   []byte                                                    // users and groups with fixed numbers, as sysusers.d(5) text
}

func (in Inputs) jobs() int {
	if in.Jobs > 0 {
		return in.Jobs
	}
	return runtime.NumCPU()
}

func (in Inputs) log() io.Writer {
	if in.Log == nil {
		return io.Discard
	}
	return in.Log
}

func (in Inputs) progress(stage string, done, total int64) {
	if in.Progress != nil {
		in.Progress(stage, done, total)
	}
}

// eachParallel calls f for 0 … n-1, jobs at a time, and returns the first error.
func eachParallel(jobs, n int, f func(i int) error) error {
	var g errgroup.Group
	g.SetLimit(jobs)
	for i := range n {
		g.Go(func() error { return f(i) })
	}
	return g.Wait()
}

// A lockedWriter takes whole writes from several goroutines.
type lockedWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}
