package rootfs

import (
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// setTimes gives every directory of the tree dir the epoch as its time and
// takes from every other file a time after it.
func (in Inputs) setTimes(dir string) error {
	epoch := in.Epoch.Unix()
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if !d.IsDir() {
			var st unix.Stat_t
			if err := unix.Lstat(path, &st); err != nil {
				return &os.PathError{Op: "lstat", Path: path, Err: err}
			}
			if st.Mtim.Sec < epoch || st.Mtim.Sec == epoch && st.Mtim.Nsec == 0 {
				return nil
			}
		}
		return setTime(unix.AT_FDCWD, path, epoch)
	})
}
