package cluster

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// A scratch is the folder of a cluster's disks and logs. It is locked for as
// long as its process lives, so that a later one can tell what a killed test
// left behind: gigabytes of disks.
type scratch struct {
	dir  string
	lock *os.File
}

// scratchName begins the names of such folders in the temporary directory.
const scratchName = "trivet-vm-"

// newScratch makes a folder, and removes those whose owners are dead. It is not
// the test's own (testing.TB.TempDir): that one is gone before a cleanup could
// copy logs.
func newScratch(parent string) (scratch, error) {
	sweep(parent)
	dir, err := os.MkdirTemp(parent, scratchName)
	if err != nil {
		return scratch{}, fmt.Errorf("make a folder for machines: %w", err)
	}
	// Only once it is locked does the file get the name that a sweep looks for.
	unnamed := filepath.Join(dir, "new")
	lock, err := os.Create(unnamed)
	if err == nil {
		err = unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	}
	if err == nil {
		err = os.Rename(unnamed, filepath.Join(dir, "lock"))
	}
	if err != nil {
		return scratch{}, errors.Join(fmt.Errorf("lock the folder for machines: %w", err), os.RemoveAll(dir))
	}
	return scratch{dir, lock}, nil
}

// remove removes the folder.
func (s scratch) remove() error {
	return errors.Join(os.RemoveAll(s.dir), s.lock.Close())
}

// sweep removes what nobody holds a lock on. It is a courtesy: what it cannot
// remove, another user's folders for one, stays.
func sweep(parent string) {
	found, _ := filepath.Glob(filepath.Join(parent, scratchName+"*", "lock"))
	for _, path := range found {
		lock, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			continue
		}
		if unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
			_ = os.RemoveAll(filepath.Dir(path))
		}
		lock.Close()
	}
}
