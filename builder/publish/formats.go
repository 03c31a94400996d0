package publish

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"

	"github.com/klauspost/compress/zstd"

	"trivet/builder/host"
)

// chunk is what one worker compresses at a time, in bytes. Each becomes a frame
// of its own; a file of frames is one valid stream (RFC 8878 §3.1), and the
// frames do not depend on the number of workers.
const chunk = 4 << 20

// compress writes from to out with zstd, jobs frames at a time.
func compress(ctx context.Context, from, out string, jobs int) (err error) {
	if jobs < 1 {
		jobs = runtime.NumCPU()
	}
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	w, err := os.Create(out)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(jobs))
	if err != nil {
		return err
	}
	defer enc.Close()
	return frames(ctx, in, w, enc, jobs)
}

type frame struct {
	out []byte
	err error
}

// frames reads chunks in order, compresses several at once, writes in order.
func frames(ctx context.Context, in io.Reader, w io.Writer, enc *zstd.Encoder, jobs int) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	queue := make(chan chan frame, jobs)
	go func() {
		defer close(queue)
		for ctx.Err() == nil {
			buf := make([]byte, chunk)
			n, err := io.ReadFull(in, buf)
			result := make(chan frame, 1)
			if n > 0 {
				go func() { result <- frame{out: enc.EncodeAll(buf[:n], nil)} }()
			} else if !errors.Is(err, io.EOF) {
				result <- frame{err: err}
			} else {
				return
			}
			select {
			case queue <- result:
			case <-ctx.Done():
				return
			}
			if n < chunk {
				return
			}
		}
	}()
	for result := range queue {
		f := <-result
		if f.err != nil {
			return f.err
		}
		if _, err := w.Write(f.out); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// qcow2 converts with qemu-img(1) of the tools root.
func qcow2(ctx context.Context, tool Tool, raw, out string) error {
	dir := filepath.Dir(raw)
	const in = "/tmp/images"
	mounts := []host.Mount{{Target: in, Layers: []string{dir}, Writable: true}}
	return tool(ctx, mounts, "qemu-img", "convert", "-f", "raw", "-O", "qcow2", "-S", "64k", "-W", "-m", "4",
		in+"/"+filepath.Base(raw), in+"/"+filepath.Base(out))
}

func copyFile(from, to string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	_, err = io.Copy(out, in)
	return err
}

// measure reads a file and says its name, size and digest.
func measure(path string) (Artifact, error) {
	f, err := os.Open(path)
	if err != nil {
		return Artifact{}, err
	}
	defer f.Close()
	h := sha256.New()
	n, err := io.CopyBuffer(h, f, make([]byte, 1<<20))
	if err != nil {
		return Artifact{}, err
	}
	return Artifact{Name: filepath.Base(path), Size: n, SHA256: hex.EncodeToString(h.Sum(nil))}, nil
}
