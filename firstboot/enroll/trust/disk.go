package trust

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// A disk writes files so that each is old or new, never between, whenever the
// power fails. Its zero value works; cut is for tests, which end the work before
// any step: an error of it stands for the end of the process.
type disk struct {
	cut func(step string) error
}

func (d disk) step(name string) error {
	if d.cut == nil {
		return nil
	}
	return d.cut(name)
}

// write puts data at path: into a new file beside it, which then takes its name.
func (d disk) write(path string, data []byte, mode fs.FileMode) error {
	if err := d.step("create " + filepath.Base(path)); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".new-*")
	if err != nil {
		return err
	}
	err = d.fill(f, data, mode)
	if err == nil {
		if err = d.step("rename " + filepath.Base(path)); err == nil {
			err = os.Rename(f.Name(), path)
		}
	}
	if err != nil {
		if d.step("remove") == nil {
			_ = os.Remove(f.Name())
		}
		return err
	}
	return d.sync(filepath.Dir(path))
}

// fill writes and closes a new file, in two parts so that tests can part them.
func (d disk) fill(f *os.File, data []byte, mode fs.FileMode) error {
	half := len(data) / 2
	for _, part := range [][]byte{data[:half], data[half:]} {
		if err := d.step("write"); err != nil {
			return errors.Join(err, f.Close())
		}
		if _, err := f.Write(part); err != nil {
			return errors.Join(err, f.Close())
		}
	}
	if err := errors.Join(d.step("fsync"), f.Chmod(mode), f.Sync()); err != nil {
		return errors.Join(err, f.Close())
	}
	return f.Close()
}

// sync makes the names in a directory last.
func (d disk) sync(dir string) error {
	if err := d.step("fsync directory"); err != nil {
		return err
	}
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// sweep removes what a killed write left in a locked directory. It has no name
// that counts, so an error does not matter.
func (d disk) sweep(dir string) {
	if d.step("sweep") != nil {
		return
	}
	left, _ := filepath.Glob(filepath.Join(dir, ".*.new-*"))
	for _, path := range left {
		_ = os.Remove(path)
	}
}

// a created file has a name in the new directory.
type created struct {
	name string
	data []byte
	mode fs.FileMode
}

// directory makes a directory with all its files, or leaves none. At path there
// must be nothing, or an empty directory.
func (d disk) directory(path string, files []created) error {
	if err := d.step("mkdir"); err != nil {
		return err
	}
	parent := filepath.Dir(path)
	if err := os.MkdirAll(parent, 0o700); err != nil {
		return err
	}
	fresh, err := os.MkdirTemp(parent, "."+filepath.Base(path)+".new-*") // of mode 0700
	if err != nil {
		return err
	}
	for _, f := range files {
		if err = d.write(filepath.Join(fresh, f.name), f.data, f.mode); err != nil {
			break
		}
	}
	if err == nil {
		if err = d.step("rename directory"); err == nil {
			// rename(2) takes an empty directory's place, and no other's.
			err = unix.Rename(fresh, path)
		}
	}
	if err != nil {
		if d.step("remove") == nil {
			_ = os.RemoveAll(fresh)
		}
		return err
	}
	return d.sync(parent)
}

// lock keeps other processes out of the directory until the result is called.
func lock(dir string) (release func(), err error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("another trivet works on %s; wait for its end", dir)
		}
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	return func() { _ = f.Close() }, nil // which releases the lock
}

// read reads a file of at most limit bytes.
func read(path string, limit int64) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > limit {
		return nil, fmt.Errorf("%s is not a file of at most %d bytes", path, limit)
	}
	return os.ReadFile(path)
}
