package rootfs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// A temp is a temporary directory below CACHE/tmp. It is locked for as long as
// its process lives, so that what a killed build left is known by its lock
// being free, and is removed by the next build.
type temp struct {
	dir  string
	lock *os.File
}

func newTemp(cache, name string) (*temp, error) {
	gate, err := lockGate(cache)
	if err != nil {
		return nil, err
	}
	defer gate.Close()
	return newTempInGate(cache, name)
}

// lockGate lets one process at a time look for leftovers or make a directory:
// between making and locking one it would look left over.
func lockGate(cache string) (*os.File, error) {
	base := filepath.Join(cache, "tmp") // on the cache's file system: results are renamed out of it
	if err := os.MkdirAll(base, 0o755); err != nil {
		return nil, fmt.Errorf("make a temporary directory: %w", err)
	}
	return lockFile(filepath.Join(base, "lock"))
}

// newTempInGate is newTemp for a caller that has the gate's lock.
func newTempInGate(cache, name string) (*temp, error) {
	base := filepath.Join(cache, "tmp")
	if err := sweep(base); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(base, name+"-")
	if err != nil {
		return nil, fmt.Errorf("make a temporary directory: %w", err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make a temporary directory: %w", err)
	}
	lock, err := lockFile(dir + ".lock")
	if err != nil {
		return nil, err
	}
	return &temp{dir: dir, lock: lock}, nil
}

// sub makes a directory in the temporary one, if it is not there. Its mode is
// 0755 whatever the umask: it may become the root of a tree.
func (t *temp) sub(name string) (string, error) {
	dir := filepath.Join(t.dir, name)
	err := os.Mkdir(dir, 0o755)
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	if err != nil && !errors.Is(err, os.ErrExist) {
		return "", fmt.Errorf("make a temporary directory: %w", err)
	}
	return dir, nil
}

// remove deletes the directory. What cannot be deleted is left to the next
// build, which also says why.
func (t *temp) remove() {
	if os.RemoveAll(t.dir) == nil {
		os.Remove(t.lock.Name())
	}
	t.lock.Close()
}

// sweep deletes the temporary directories whose process is gone.
func sweep(base string) error {
	list, err := os.ReadDir(base)
	if err != nil {
		return fmt.Errorf("look for temporary directories: %w", err)
	}
	for _, e := range list {
		if !e.IsDir() {
			continue
		}
		dir := filepath.Join(base, e.Name())
		lock, err := tryLock(dir + ".lock")
		if errors.Is(err, unix.EWOULDBLOCK) {
			continue
		}
		if err != nil {
			return err
		}
		err = os.RemoveAll(dir)
		os.Remove(lock.Name())
		lock.Close()
		if err != nil {
			return fmt.Errorf("remove what a killed build left: %w", err)
		}
	}
	return nil
}

// lockFile opens and locks path, and waits for it. Closing the file unlocks it.
func lockFile(path string) (*os.File, error) {
	return flock(path, unix.LOCK_EX)
}

// tryLock is lockFile without the wait: EWOULDBLOCK when another process has
// the lock.
func tryLock(path string) (*os.File, error) {
	return flock(path, unix.LOCK_EX|unix.LOCK_NB)
}

func flock(path string, how int) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("lock: %w", err)
	}
	for {
		err = unix.Flock(int(f.Fd()), how)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return f, nil
}
