package boot

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// shared are the kernel's file systems, which the initrd mounts and hands on.
var shared = []string{"dev", "proc", "sys", "run"}

// SwitchRoot makes newRoot, a mount point that has the kernel's file systems
// mounted already, the root of this process and the kernel's threads, as
// switch_root(8) does. The files of the initrd are deleted, since they are memory.
func (Linux) SwitchRoot(newRoot string) error {
	old, err := os.Open("/")
	if err != nil {
		return err
	}
	defer old.Close()
	for _, name := range shared {
		if err := unix.Unmount("/"+name, unix.MNT_DETACH); err != nil {
			return fmt.Errorf("unmount the initrd's /%s: %w", name, err)
		}
	}
	if err := unix.Chdir(newRoot); err != nil {
		return fmt.Errorf("enter %s: %w", newRoot, err)
	}
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("move %s over /: %w", newRoot, err)
	}
	if err := unix.Chroot("."); err != nil {
		return fmt.Errorf("change the root to %s: %w", newRoot, err)
	}
	if err := unix.Chdir("/"); err != nil {
		return fmt.Errorf("enter the new root: %w", err)
	}
	// Memory that is not freed is no reason not to boot.
	_ = deleteInitrd(old)
	return nil
}

// deleteInitrd deletes everything in the folder root and below, but only in a
// file system that is memory, and never in one mounted below it.
func deleteInitrd(root *os.File) error {
	var fs unix.Statfs_t
	if err := unix.Fstatfs(int(root.Fd()), &fs); err != nil {
		return err
	}
	if fs.Type != unix.TMPFS_MAGIC && fs.Type != unix.RAMFS_MAGIC {
		return errors.New("delete the initrd: it does not lie in memory")
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(root.Fd()), &st); err != nil {
		return err
	}
	return deleteTree(root, st.Dev, 0)
}

func deleteTree(dir *os.File, dev uint64, depth int) error {
	if depth > maxDepth {
		return errors.New("folders are nested too deep")
	}
	entries, err := dir.ReadDir(-1)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !e.IsDir() {
			_ = unix.Unlinkat(int(dir.Fd()), e.Name(), 0)
			continue
		}
		fd, err := unix.Openat(int(dir.Fd()), e.Name(), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			continue
		}
		sub := os.NewFile(uintptr(fd), e.Name())
		var st unix.Stat_t
		if unix.Fstat(fd, &st) == nil && uint64(st.Dev) == dev {
			_ = deleteTree(sub, dev, depth+1)
		}
		_ = sub.Close()
		_ = unix.Unlinkat(int(dir.Fd()), e.Name(), unix.AT_REMOVEDIR)
	}
	return nil
}
