package host

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"golang.org/x/sys/unix"
)

// ReadFiles reads files from the root folder of a block device's file system,
// which the kernel mounts read-only. A name that is not there is left out of
// the result; a file above limit bytes is an error.
//
// The mount lives in a namespace of one thread that ends with the call, so
// that nothing else sees it and a crash leaves none behind.
func ReadFiles(device, fstype string, names []string, limit int64) (map[string][]byte, error) {
	var files map[string][]byte
	err := mounted(device, fstype, unix.MS_RDONLY, func(dir string) (err error) {
		files, err = ReadFolder(dir, names, limit)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read %s (%s): %w", device, fstype, err)
	}
	return files, nil
}

// WriteFiles overwrites files in the root folder of a block device's file
// system, in place: their old blocks hold the new content, which must not be
// longer, when it returns. A file that is not there is an error. The mount is
// like that of ReadFiles.
func WriteFiles(device, fstype string, files map[string][]byte) error {
	err := mounted(device, fstype, unix.MS_SYNCHRONOUS, func(dir string) error {
		for name, content := range files {
			if err := overwrite(filepath.Join(dir, name), content); err != nil {
				return err
			}
		}
		return SyncFS(dir)
	})
	if err != nil {
		return fmt.Errorf("write %s (%s): %w", device, fstype, err)
	}
	return nil
}

func overwrite(path string, content []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() || int64(len(content)) > info.Size() {
		return fmt.Errorf("%s is not a file of at least %d bytes", path, len(content))
	}
	if _, err := f.WriteAt(content, 0); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return f.Close()
}

// mounted calls do with a folder on which the device is mounted, in a thread
// and a mount namespace that end with it.
func mounted(device, fstype string, flags uintptr, do func(dir string) error) error {
	done := make(chan error)
	go func() {
		// Never unlocked: the runtime ends the thread with the goroutine, and
		// the kernel the namespace with the thread.
		runtime.LockOSThread()
		done <- mountHere(device, fstype, flags, do)
	}()
	return <-done
}

func mountHere(device, fstype string, flags uintptr, do func(dir string) error) error {
	if err := unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_FS); err != nil {
		return fmt.Errorf("unshare mounts: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	dir, err := os.MkdirTemp("/run", "trivet-seed-")
	if err != nil {
		return err
	}
	defer os.Remove(dir)
	if err := unix.Mount(device, dir, fstype, flags|unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mount: %w", err)
	}
	defer unix.Unmount(dir, unix.MNT_DETACH)
	return do(dir)
}

// ReadFolder reads files of a folder, as ReadFiles does.
func ReadFolder(dir string, names []string, limit int64) (map[string][]byte, error) {
	files := map[string][]byte{}
	for _, name := range names {
		data, err := readLimited(filepath.Join(dir, name), limit)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		files[name] = data
	}
	return files, nil
}

func readLimited(path string, limit int64) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a file", path)
	}
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("%s has more than %d bytes", path, limit)
	}
	return data, nil
}
