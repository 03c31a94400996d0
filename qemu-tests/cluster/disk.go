package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"

	"golang.org/x/sys/unix"
)

// overlay makes path a qcow2 disk of size bytes whose first content is base,
// which is only read.
func overlay(ctx context.Context, base, path string, size int64) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", base, path, fmt.Sprint(size))
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("make disk %s over %s: %w: %.200s", path, base, err, out)
	}
	return nil
}

// damaged makes path a raw copy of base, grown to size bytes, in which one bit
// of the byte at each offset is flipped.
func damaged(base, path string, size int64, offsets []int64) error {
	if err := copySparse(base, path); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	var b [1]byte
	for _, at := range offsets {
		if _, err := f.ReadAt(b[:], at); err != nil {
			return fmt.Errorf("flip the byte at %d of %s: %w", at, path, err)
		}
		b[0] ^= 1
		if _, err := f.WriteAt(b[:], at); err != nil {
			return fmt.Errorf("flip the byte at %d of %s: %w", at, path, err)
		}
	}
	if err := f.Truncate(size); err != nil {
		return fmt.Errorf("grow %s to %d bytes: %w", path, size, err)
	}
	return f.Close()
}

// copySparse copies a file and keeps its holes (lseek(2), SEEK_DATA).
func copySparse(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	st, err := in.Stat()
	if err != nil {
		return err
	}
	out, err := os.OpenFile(to, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	for at := int64(0); at < st.Size(); {
		data, err := unix.Seek(int(in.Fd()), at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			break // nothing but a hole is left
		}
		if err != nil {
			return fmt.Errorf("find data in %s: %w", from, err)
		}
		hole, err := unix.Seek(int(in.Fd()), data, unix.SEEK_HOLE)
		if err != nil {
			return fmt.Errorf("find a hole in %s: %w", from, err)
		}
		if _, err := io.Copy(io.NewOffsetWriter(out, data), io.NewSectionReader(in, data, hole-data)); err != nil {
			return fmt.Errorf("copy %s: %w", from, err)
		}
		at = hole
	}
	if err := out.Truncate(st.Size()); err != nil {
		return fmt.Errorf("copy %s: %w", from, err)
	}
	return out.Close()
}

// blank makes path an empty disk of size bytes.
func blank(path string, size int64) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Truncate(size); err != nil {
		return fmt.Errorf("make disk %s of %d bytes: %w", path, size, err)
	}
	return f.Close()
}

func copyFile(from, to string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, data, 0o600)
}
