package apt

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// A part is a file that is being downloaded.
type part struct {
	*os.File
	alone bool // a file of this process only: another one holds the common part
}

// openPart opens the part file of path and locks it (flock(2)), so that of two
// processes that want the same file only one writes to it; the other one gets
// a file of its own, since waiting for a process that may be stopped is worse
// than a second download. Both end with the same bytes under the same name.
func openPart(path string) (*part, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("make the store: %w", err)
	}
	name := path + ".part"
	for range 100 { // each round means that another process finished this file just then
		f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o644)
		if err != nil {
			return nil, fmt.Errorf("make a file in the store: %w", err)
		}
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil && isStill(f, name) {
			return &part{File: f}, nil
		}
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("lock %s: %w", name, err)
		}
	}
	removeStale(filepath.Dir(path))
	f, err := os.CreateTemp(filepath.Dir(path), ".tmp-*")
	if err != nil {
		return nil, fmt.Errorf("make a file in the store: %w", err)
	}
	return &part{File: f, alone: true}, nil
}

// isStill says whether name is f: between opening and locking it another
// process may have moved it into place, where it must not be written to.
func isStill(f *os.File, name string) bool {
	mine, err := f.Stat()
	if err != nil {
		return false
	}
	there, err := os.Stat(name)
	if errors.Is(err, fs.ErrNotExist) || err != nil {
		return false
	}
	return os.SameFile(mine, there)
}
