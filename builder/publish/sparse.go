package publish

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// chunk is the piece, in bytes, in which a disk image is read, hashed and
// compressed.
const chunk = 4 << 20

// sparse reads a file whose holes cost nothing.
type sparse struct {
	f     *os.File
	size  int64
	zeros []byte // chunk zero bytes
}

func openSparse(path string) (*sparse, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, err
	}
	return &sparse{f, info.Size(), make([]byte, chunk)}, nil
}

func (s *sparse) close() { s.f.Close() }

// hole says whether the n bytes at off are known to be zero without reading.
func (s *sparse) hole(off, n int64) bool {
	data, err := s.f.Seek(off, unix.SEEK_DATA)
	if errors.Is(err, unix.ENXIO) {
		return true
	}
	return err == nil && data >= off+n
}

// read returns the n bytes at off, in buf or among the zeros, and whether they
// are all zero: a fact of the contents, not of how the file system keeps them.
func (s *sparse) read(off, n int64, buf []byte) (data []byte, zero bool, err error) {
	if s.hole(off, n) {
		return s.zeros[:n], true, nil
	}
	if _, err := s.f.ReadAt(buf[:n], off); err != nil {
		return nil, false, fmt.Errorf("read %s at byte %d: %w", filepath.Base(s.f.Name()), off, err)
	}
	return buf[:n], bytes.Equal(buf[:n], s.zeros[:n]), nil
}

// zero says whether the n bytes at off are all zero; the first few nearly always
// tell.
func (s *sparse) zero(off, n int64, buf []byte) (bool, error) {
	for _, k := range []int64{min(512, n), n} {
		if _, err := s.f.ReadAt(buf[:k], off); err != nil {
			return false, fmt.Errorf("read %s at byte %d: %w", filepath.Base(s.f.Name()), off, err)
		}
		if !bytes.Equal(buf[:k], s.zeros[:k]) {
			return false, nil
		}
	}
	return true, nil
}

// chunks calls do with each chunk in order. What do gets is not its to keep.
func (s *sparse) chunks(ctx context.Context, do func(data []byte, zero bool) error) error {
	buf := make([]byte, chunk)
	for off := int64(0); off < s.size; off += chunk {
		if err := ctx.Err(); err != nil {
			return err
		}
		data, zero, err := s.read(off, min(chunk, s.size-off), buf)
		if err != nil {
			return err
		}
		if err := do(data, zero); err != nil {
			return err
		}
	}
	return nil
}

// measure reads a file and says its name, size and digest.
func measure(ctx context.Context, path string) (Artifact, error) {
	s, err := openSparse(path)
	if err != nil {
		return Artifact{}, err
	}
	defer s.close()
	sum := sha256.New()
	if err := s.chunks(ctx, func(data []byte, _ bool) error { sum.Write(data); return nil }); err != nil {
		return Artifact{}, err
	}
	return Artifact{Name: filepath.Base(path), Size: s.size, SHA256: hex.EncodeToString(sum.Sum(nil))}, nil
}

// output is a file that is hashed while it is written.
type output struct {
	f   *os.File
	sum hash.Hash
	n   int64
}

func create(path string) (*output, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return nil, err
	}
	return &output{f: f, sum: sha256.New()}, nil
}

func (o *output) Write(p []byte) (int, error) {
	n, err := o.f.Write(p)
	o.sum.Write(p[:n])
	o.n += int64(n)
	return n, err
}

// written closes the file and describes it. err is what went wrong before.
func (o *output) written(err error) (Artifact, error) {
	if err := errors.Join(err, o.f.Close()); err != nil {
		return Artifact{}, err
	}
	return Artifact{Name: filepath.Base(o.f.Name()), Size: o.n, SHA256: hex.EncodeToString(o.sum.Sum(nil))}, nil
}

// place puts a copy of the file from at to. A large one shares its blocks with
// from where the file system can (a reflink), or else is a second name of the
// same file: nobody edits a root file system in place, while a UKI may well be
// signed in place, which must not change the one in the cache.
// known is its SHA-256, where the caller has it.
func place(ctx context.Context, from, to, known string) (Artifact, error) {
	info, err := os.Stat(from)
	if err != nil {
		return Artifact{}, err
	}
	if info.Size() >= linkSize && (reflink(from, to) == nil || os.Link(from, to) == nil) {
		if known != "" {
			return Artifact{Name: filepath.Base(to), Size: info.Size(), SHA256: known}, nil
		}
		return measure(ctx, to)
	}
	in, err := openSparse(from)
	if err != nil {
		return Artifact{}, err
	}
	defer in.close()
	out, err := create(to)
	if err != nil {
		return Artifact{}, err
	}
	return out.written(in.chunks(ctx, func(data []byte, _ bool) error {
		_, err := out.Write(data)
		return err
	}))
}

// linkSize is the size in bytes from which a file is not copied.
const linkSize = 128 << 20

// reflink makes to share the blocks of from (ioctl_ficlone(2)).
func reflink(from, to string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	err = errors.Join(unix.IoctlFileClone(int(out.Fd()), int(in.Fd())), out.Close())
	if err != nil {
		os.Remove(to)
	}
	return err
}

// move renames from to to, or copies it sparsely to another file system.
func move(ctx context.Context, from, to string) error {
	err := os.Rename(from, to)
	if !errors.Is(err, unix.EXDEV) {
		return err
	}
	in, err := openSparse(from)
	if err != nil {
		return err
	}
	defer in.close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	err = in.chunks(ctx, func(data []byte, zero bool) error {
		if zero {
			_, err := out.Seek(int64(len(data)), io.SeekCurrent)
			return err
		}
		_, err := out.Write(data)
		return err
	})
	if err := errors.Join(err, out.Truncate(in.size), out.Close()); err != nil {
		return err
	}
	return os.Remove(from)
}
