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
	type result struct {
		files map[string][]byte
		err   error
	}
	done := make(chan result)
	go func() {
		// Never unlocked: the runtime ends the thread with the goroutine, and
		// the kernel the namespace with the thread.
		runtime.LockOSThread()
		files, err := readMounted(device, fstype, names, limit)
		done <- result{files, err}
	}()
	r := <-done
	if r.err != nil {
		return nil, fmt.Errorf("read %s (%s): %w", device, fstype, r.err)
	}
	return r.files, nil
}

func readMounted(device, fstype string, names []string, limit int64) (map[string][]byte, error) {
	if err := unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_FS); err != nil {
		return nil, fmt.Errorf("unshare mounts: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return nil, fmt.Errorf("make mounts private: %w", err)
	}
	dir, err := os.MkdirTemp("/run", "trivet-seed-")
	if err != nil {
		return nil, err
	}
	defer os.Remove(dir)
	const flags = unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	if err := unix.Mount(device, dir, fstype, flags, ""); err != nil {
		return nil, fmt.Errorf("mount: %w", err)
	}
	defer unix.Unmount(dir, unix.MNT_DETACH)
	return ReadFolder(dir, names, limit)
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
