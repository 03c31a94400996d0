package rootfs

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sort"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// Prepare decompresses every package of debs that is not in the store yet.
// Install and Unpack do it themselves; a caller that has nothing else to do
// for its second CPU may do it ahead for all layers.
func Prepare(ctx context.Context, in Inputs, debs []Deb) error {
	if err := trustCache(in.Cache); err != nil {
		return err
	}
	todo, err := missing(in, debs)
	if err != nil || len(todo) == 0 {
		return err
	}
	if err := markUnsynced(in.Cache); err != nil {
		return err
	}
	tmp, err := newTemp(in.Cache, "unpack")
	if err != nil {
		return err
	}
	defer tmp.remove()
	queue, total, err := bySize(todo)
	if err != nil {
		return err
	}
	var done atomic.Int64
	report := func(d Deb, size int64) {
		in.progress("unpack", done.Add(size), total)
	}
	g, ctx := errgroup.WithContext(ctx)
	for range min(in.jobs(), len(todo)) {
		g.Go(func() error {
			w := storeWriter{in: in, tmp: tmp.dir, report: report}
			return w.run(ctx, queue)
		})
	}
	return g.Wait()
}

// bySize queues the packages, the largest first, so that no worker is left
// with a large one at the end. It also returns the sum of their sizes.
func bySize(debs []Deb) (<-chan Deb, int64, error) {
	sizes := make(map[string]int64, len(debs))
	total := int64(0)
	for _, d := range debs {
		info, err := os.Stat(d.Path)
		if err != nil {
			return nil, 0, fmt.Errorf("unpack package %s: %w", d.Name, err)
		}
		sizes[d.SHA256] = info.Size()
		total += info.Size()
	}
	sort.SliceStable(debs, func(i, j int) bool { return sizes[debs[i].SHA256] > sizes[debs[j].SHA256] })
	queue := make(chan Deb, len(debs))
	for _, d := range debs {
		queue <- d
	}
	close(queue)
	return queue, total, nil
}

// A storeWriter puts the packages of a queue into the store, with one run of
// the xz tool for all of them: a feeder writes their data archives one after
// another into the tool, and this side cuts its output by the sizes that the
// containers' own indices give. Starting the tool in its sandbox for each of
// 800 packages would cost more than the decoding.
type storeWriter struct {
	in     Inputs
	tmp    string
	report func(d Deb, size int64)
}

// A fed package is one whose data archive is on its way through the tool, or
// will be decoded here when the tool has no part in it.
type fed struct {
	deb   Deb
	file  *os.File
	size  int64
	parts debFile
	plain int64 // bytes of the data archive that come out of the tool; -1: decode here
	err   error
}

func (w storeWriter) run(ctx context.Context, queue <-chan Deb) error {
	if w.in.XZ == nil {
		for d := range queue {
			if err := ctx.Err(); err != nil {
				return err
			}
			s, err := w.stage(nil, openFed(d, false))
			if err := errors.Join(err, w.keep(s)); err != nil {
				return err
			}
		}
		return nil
	}
	toTool, err := newPipe()
	if err != nil {
		return err
	}
	fromTool, err := newPipe()
	if err != nil {
		toTool.close()
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var g errgroup.Group
	sent := 0 // read when g has ended
	order := make(chan fed, 1024)
	g.Go(func() error {
		defer close(order)
		defer toTool.w.Close()
		n, err := w.feed(ctx, queue, toTool.w, order)
		sent = n
		return err
	})
	g.Go(func() error {
		defer toTool.r.Close() // a feeder that still writes gets EPIPE
		defer fromTool.w.Close()
		return w.in.XZ(ctx, toTool.r, fromTool.w)
	})
	last, err := w.drain(fromTool.r, order)
	if err != nil {
		cancel()
	}
	fromTool.r.Close()
	for f := range order {
		f.close()
	}
	toolErr := g.Wait()
	switch {
	case err != nil && toolErr != nil && !errors.Is(toolErr, context.Canceled):
		return fmt.Errorf("%w: %w", err, toolErr)
	case err != nil:
		return err
	case toolErr != nil && sent > 0: // of nothing at all xz(1) says that it knows no such format
		return fmt.Errorf("decompress packages: %w", toolErr)
	}
	return w.keep(last)
}

// feed writes the data archives into the tool, says to order which, and returns
// how many the tool got.
func (w storeWriter) feed(ctx context.Context, queue <-chan Deb, to io.Writer, order chan<- fed) (sent int, err error) {
	for d := range queue {
		f := openFed(d, true)
		select {
		case order <- f:
		case <-ctx.Done():
			f.close()
			return sent, nil // who cancelled has the reason
		}
		if f.err != nil {
			return sent, nil // the reader reports it
		}
		if f.plain >= 0 {
			sent++
			if _, err := io.Copy(to, f.parts.data); err != nil {
				return sent, nil // the tool is gone and says why
			}
		}
	}
	return sent, nil
}

// drain takes the packages in the order in which they were fed. A package is
// kept when the first byte of the next one has come, or the tool has ended
// well: before that the tool may still find its checksum wrong.
func (w storeWriter) drain(from io.Reader, order <-chan fed) (last *staged, err error) {
	buf := bufio.NewReaderSize(from, 256<<10)
	for f := range order {
		if last != nil && f.plain >= 0 {
			if _, err := buf.Peek(1); err != nil {
				f.close()
				return nil, blame(last.deb, f.deb)
			}
			if err := w.keep(last); err != nil {
				f.close()
				return nil, err
			}
			last = nil
		}
		s, err := w.stage(buf, f)
		if err != nil {
			return nil, err
		}
		if f.plain >= 0 {
			last = s
		} else if err := w.keep(s); err != nil {
			return nil, err
		}
	}
	return last, nil
}

// blame finds out which of two packages the tool stopped at: it may stop
// before it gives out the first byte of the second.
func blame(debs ...Deb) error {
	for _, d := range debs {
		f := openFed(d, false)
		err := f.err
		if err == nil {
			err = f.test()
		}
		f.close()
		if err != nil {
			return fmt.Errorf("unpack package %s %s: %w", d.Name, d.Version, err)
		}
	}
	return fmt.Errorf("unpack package %s: the xz tool stopped", debs[0].Name)
}

// test decodes the data archive and throws it away.
func (f fed) test() error {
	plain, err := decompress(f.parts.dataFormat, bufio.NewReader(f.parts.data))
	if err != nil {
		return err
	}
	defer plain.Close()
	_, err = io.Copy(io.Discard, plain)
	return err
}

// stage writes one package into a temporary directory.
func (w storeWriter) stage(from io.Reader, f fed) (*staged, error) {
	defer f.close()
	s, err := w.stageFed(from, f)
	if err != nil {
		return nil, fmt.Errorf("unpack package %s %s: %w", f.deb.Name, f.deb.Version, err)
	}
	return s, nil
}

func (w storeWriter) stageFed(from io.Reader, f fed) (*staged, error) {
	if f.err != nil {
		return nil, f.err
	}
	body := io.Reader(&exactReader{r: from, left: f.plain})
	if f.plain < 0 {
		plain, err := decompress(f.parts.dataFormat, bufio.NewReaderSize(f.parts.data, 256<<10))
		if err != nil {
			return nil, err
		}
		defer plain.Close()
		body = plain
	}
	s, err := newStaged(w.tmp, f.deb, f.size)
	if err != nil {
		return nil, err
	}
	return s, s.fill(f.parts, body)
}

// keep moves a complete package to its place in the store.
func (w storeWriter) keep(s *staged) error {
	if s == nil {
		return nil
	}
	if err := s.keep(w.in.Cache); err != nil {
		return fmt.Errorf("unpack package %s: %w", s.deb.Name, err)
	}
	w.report(s.deb, s.size)
	return nil
}

// An exactReader reads left bytes of r and says when r has fewer.
type exactReader struct {
	r    io.Reader
	left int64
}

func (e *exactReader) Read(p []byte) (int, error) {
	if e.left == 0 {
		return 0, io.EOF
	}
	n, err := e.r.Read(p[:min(int64(len(p)), e.left)])
	if e.left -= int64(n); errors.Is(err, io.EOF) && e.left > 0 {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// openFed opens a package. The file stays open until its content was taken.
func openFed(d Deb, tool bool) fed {
	f := fed{deb: d, plain: -1}
	if f.file, f.err = os.Open(d.Path); f.err != nil {
		return f
	}
	info, err := f.file.Stat()
	if f.err = err; err != nil {
		return f
	}
	f.size = info.Size()
	if f.parts, f.err = readDeb(f.file, f.size); f.err != nil {
		return f
	}
	if tool && f.parts.dataFormat == "xz" {
		f.plain, f.err = xzPlainSize(f.parts.data, f.parts.data.Size())
	}
	return f
}

func (f fed) close() {
	if f.file != nil {
		f.file.Close()
	}
}

type pipe struct{ r, w *os.File }

// newPipe makes a pipe with a large buffer, so that decoder and writer do not
// wait for each other at every 64 KiB.
func newPipe() (pipe, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return pipe{}, fmt.Errorf("make a pipe to the xz tool: %w", err)
	}
	if conn, err := w.SyscallConn(); err == nil {
		// A limit on pipes (/proc/sys/fs/pipe-user-pages-soft) only makes it slower.
		_ = conn.Control(func(fd uintptr) { _, _ = unix.FcntlInt(fd, unix.F_SETPIPE_SZ, 1<<20) })
	}
	return pipe{r, w}, nil
}

func (p pipe) close() {
	p.r.Close()
	p.w.Close()
}
