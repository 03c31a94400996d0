package publish

import (
	"context"
	"encoding/binary"
	"runtime"

	"github.com/klauspost/compress/zstd"
)

// compress writes from to out with zstd. Each chunk becomes a frame of its own;
// a file of frames is one valid stream (RFC 8878, 3.1), and the frames do not
// depend on the number of jobs that make them. The level is the fastest: what an
// image holds is compressed already, and what is left is zeroes.
func compress(ctx context.Context, from, out string, jobs int) (Artifact, error) {
	if jobs < 1 {
		jobs = runtime.NumCPU()
	}
	in, err := openSparse(from)
	if err != nil {
		return Artifact{}, err
	}
	defer in.close()
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(jobs))
	if err != nil {
		return Artifact{}, err
	}
	defer enc.Close()
	w, err := create(out)
	if err != nil {
		return Artifact{}, err
	}
	return w.written(frames(ctx, in, w, enc, jobs))
}

// pack appends one frame with data to out. What a sample says cannot be made
// smaller, nearly everything in an image, is stored as it is: five times faster
// than letting the encoder find out.
func pack(enc *zstd.Encoder, data, out []byte) []byte {
	const step, piece = 256 << 10, 4 << 10
	sample := make([]byte, 0, chunk/step*piece)
	for at := 0; at+piece <= len(data); at += step {
		sample = append(sample, data[at:at+piece]...)
	}
	if len(sample) == 0 || len(enc.EncodeAll(sample, nil)) < len(sample)/100*97 {
		return enc.EncodeAll(data, out)
	}
	// RFC 8878, 3.1.1: magic number, a header that is one segment with a content
	// size of 4 bytes, and raw blocks of at most 128 KiB.
	le := binary.LittleEndian
	out = le.AppendUint32(out, 0xfd2fb528)
	out = le.AppendUint32(append(out, 0xa0), uint32(len(data)))
	for len(data) > 0 {
		n := min(len(data), 128<<10)
		head := uint32(n) << 3
		if n == len(data) {
			head |= 1 // the last
		}
		out = append(out, byte(head), byte(head>>8), byte(head>>16))
		out = append(out, data[:n]...)
		data = data[n:]
	}
	return out
}

// frame is a compressed chunk, with the buffers to use again.
type frame struct {
	raw, packed []byte
	err         error
}

// frames reads chunks in order, compresses jobs of them at once, and writes the
// frames in order.
func frames(ctx context.Context, in *sparse, w *output, enc *zstd.Encoder, jobs int) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	queue := make(chan chan frame, jobs)
	free := make(chan frame, jobs+2)
	for range cap(free) {
		free <- frame{raw: make([]byte, chunk), packed: make([]byte, 0, chunk+4096)}
	}
	empty := enc.EncodeAll(in.zeros, nil) // the frame of a whole chunk of zeroes
	go func() {
		defer close(queue)
		for off := int64(0); off < in.size && ctx.Err() == nil; off += chunk {
			result := make(chan frame, 1)
			f := <-free
			data, zero, err := in.read(off, min(chunk, in.size-off), f.raw)
			if err != nil || zero && len(data) == chunk {
				free <- f
				result <- frame{packed: empty, err: err}
			} else {
				go func() { result <- frame{raw: f.raw, packed: pack(enc, data, f.packed[:0])} }()
			}
			queue <- result
		}
	}()
	for result := range queue {
		f := <-result
		if f.err == nil && ctx.Err() == nil {
			_, f.err = w.Write(f.packed)
		}
		if f.err != nil {
			cancel()
			for result := range queue { // nobody waits on a full queue for ever
				<-result
			}
			return f.err
		}
		if f.raw != nil {
			free <- f
		}
	}
	return ctx.Err()
}
