package rootfs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// What this package keeps in the cache is renamed to its place when it is
// complete, so a killed build leaves nothing half-made. A power cut is another
// matter: the kernel may have written the names and not yet the contents. So
// the cache says in the file "unsynced" in which boot of the machine something
// was put into it that may not be on the disk yet. Found in a later boot, the
// parts that nothing verifies are thrown away.
const unsyncedName = "unsynced"

// cacheParts are the directories of the cache whose contents are taken on
// trust. Packages and indices are not among them: their digests are checked.
func cacheParts() []string {
	return []string{"unpacked", "layers", "bytecode", "tools", "initrd", "packed", "sealed"}
}

// Open makes the cache ready for a build that will write to it: what a power
// cut may have damaged is thrown away. Sync is its counterpart.
func Open(cache string) error {
	if err := trustCache(cache); err != nil {
		return err
	}
	return markUnsynced(cache)
}

// bootID names this boot of the machine (random(4)).
func bootID() (string, error) {
	text, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("read which boot this is: %w", err)
	}
	return strings.TrimSpace(string(text)), nil
}

// trustCache throws away what a power cut may have damaged.
func trustCache(cache string) error {
	suspect, err := notOfThisBoot(cache)
	if err != nil || !suspect {
		return err
	}
	gate, err := lockGate(cache)
	if err != nil {
		return err
	}
	defer gate.Close()
	// Another build may have been faster, and has put new things there.
	if suspect, err = notOfThisBoot(cache); err != nil || !suspect {
		return err
	}
	t, err := newTempInGate(cache, "untrusted")
	if err != nil {
		return err
	}
	defer t.remove()
	for _, part := range cacheParts() {
		err := os.Rename(filepath.Join(cache, part), filepath.Join(t.dir, part))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("throw away what was not synced before the machine stopped: %w", err)
		}
	}
	return os.Remove(filepath.Join(cache, unsyncedName))
}

// notOfThisBoot says whether the cache has things that were not synced in the
// boot in which they were made.
func notOfThisBoot(cache string) (bool, error) {
	text, err := os.ReadFile(filepath.Join(cache, unsyncedName))
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("check the cache: %w", err)
	}
	id, err := bootID()
	return string(text) != id, err
}

// markUnsynced notes that something is about to be put into the cache.
func markUnsynced(cache string) error {
	id, err := bootID()
	if err != nil {
		return err
	}
	name := filepath.Join(cache, unsyncedName)
	if text, err := os.ReadFile(name); err == nil && string(text) == id {
		return nil
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return fmt.Errorf("make the cache: %w", err)
	}
	f, err := os.Create(name)
	if err != nil {
		return fmt.Errorf("mark the cache: %w", err)
	}
	_, err = f.WriteString(id)
	// This one small file must be there before anything that it speaks of.
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("mark the cache: %w", err)
	}
	return nil
}

// Sync waits until all that builds put into the cache is on the disk, so that
// it is used again after the machine was restarted. Call it after a build;
// without it only the time is lost that making it again takes.
func Sync(cache string) error {
	name := filepath.Join(cache, unsyncedName)
	if _, err := os.Lstat(name); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	gate, err := lockGate(cache)
	if err != nil {
		return err
	}
	defer gate.Close()
	if busy, err := inUse(filepath.Join(cache, "tmp")); err != nil || busy {
		return err // another build is at work, and will sync
	}
	dir, err := os.Open(cache)
	if err != nil {
		return fmt.Errorf("sync the cache: %w", err)
	}
	defer dir.Close()
	if err := unix.Syncfs(int(dir.Fd())); err != nil {
		return fmt.Errorf("sync the cache: %w", err)
	}
	if err := os.Remove(name); err != nil {
		return fmt.Errorf("sync the cache: %w", err)
	}
	return nil
}

// inUse says whether a temporary directory below base has a living owner.
func inUse(base string) (bool, error) {
	locks, err := filepath.Glob(filepath.Join(base, "*.lock"))
	if err != nil {
		return false, err
	}
	for _, l := range locks {
		f, err := tryLock(l)
		if errors.Is(err, unix.EWOULDBLOCK) {
			return true, nil
		}
		if err != nil {
			return false, err
		}
		f.Close()
	}
	return false, nil
}
