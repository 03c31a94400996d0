package rootfs

import (
	"bufio"
	"crypto/md5" // #nosec: dpkg's database is made of MD5 sums
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// A staged package is one that is being written, in a temporary directory.
type staged struct {
	deb  Deb
	size int64 // bytes of the .deb
	dir  string
	packed
	hash  map[string]bool // absolute paths whose MD5 sum is needed; nil is all
	buf   []byte
	files int
}

func newStaged(tmp string, d Deb, size int64) (*staged, error) {
	dir, err := os.MkdirTemp(tmp, "deb-")
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		return nil, err
	}
	return &staged{deb: d, size: size, dir: dir, buf: make([]byte, 1<<20)}, nil
}

// fill writes the package of the parts, whose data archive data decodes to.
func (s *staged) fill(parts debFile, data io.Reader) error {
	control, err := decompress(parts.controlFormat, bufio.NewReader(parts.control))
	if err != nil {
		return err
	}
	defer control.Close()
	files, err := readControl(control)
	if err != nil {
		return err
	}
	if err := s.writeControl(files); err != nil {
		return err
	}
	s.Entries, err = readEntries(data, s.write)
	if err != nil {
		return err
	}
	// The rest is the archive's padding; reading it makes the decoder check
	// its sums.
	if _, err := io.CopyBuffer(io.Discard, data, s.buf); err != nil {
		return fmt.Errorf("read the end of its data archive: %w", err)
	}
	text, err := json.Marshal(s.packed)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(s.dir, "manifest.json"), text, 0o644)
}

// writeControl writes the control archive's files and learns from them which
// sums are needed: those of the conffiles for dpkg's status, and all where the
// package brings no md5sums (then dpkg makes the list itself).
func (s *staged) writeControl(files []controlFile) error {
	dir := filepath.Join(s.dir, "control")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	sums := false
	s.hash = map[string]bool{}
	for _, f := range files {
		s.Control = append(s.Control, controlMeta{f.Name, f.Mode, f.MTime, int64(len(f.Body))})
		path := filepath.Join(dir, f.Name)
		if err := os.WriteFile(path, f.Body, 0o600); err != nil {
			return err
		}
		if err := os.Chmod(path, os.FileMode(f.Mode)); err != nil {
			return err
		}
		if err := setTime(unix.AT_FDCWD, path, f.MTime); err != nil {
			return err
		}
		switch f.Name {
		case "md5sums":
			sums = true
		case "conffiles":
			for _, c := range conffiles(f.Body) {
				s.hash[c] = true
			}
		}
	}
	if !sums {
		s.hash = nil
	}
	return nil
}

// conffiles returns the absolute paths of a conffiles list (deb-conffiles(5)),
// without the flagged ones (remove-on-upgrade), which are not in the package.
func conffiles(text []byte) []string {
	var out []string
	for line := range strings.SplitSeq(string(text), "\n") {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, "/") {
			out = append(out, line)
		}
	}
	return out
}

// write is the contentSink: it puts the content of e under the next number.
func (s *staged) write(e *entry, r io.Reader) error {
	s.files++
	e.File = s.files
	path := filepath.Join(s.dir, strconv.Itoa(e.File))
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return &os.PathError{Op: "create", Path: path, Err: err}
	}
	err = s.copy(fd, e, r)
	if err == nil {
		err = setMeta(fd, e)
	}
	if closeErr := unix.Close(fd); err == nil {
		err = closeErr
	}
	if err != nil {
		return err
	}
	return setTime(unix.AT_FDCWD, path, e.MTime)
}

// copy writes the content. Plain system calls in place of os.File: this runs
// for 60 000 files.
func (s *staged) copy(fd int, e *entry, r io.Reader) error {
	var sum hash.Hash
	var marker keyMarker
	if s.hash == nil || s.hash["/"+e.Path] {
		sum = md5.New()
	}
	for left := e.Size; left > 0; {
		n, err := io.ReadFull(r, s.buf[:min(left, int64(len(s.buf)))])
		if err != nil {
			return err
		}
		if sum != nil {
			sum.Write(s.buf[:n])
		}
		marker.write(s.buf[:n])
		for b := s.buf[:n]; len(b) > 0; {
			w, err := unix.Write(fd, b)
			if err != nil && !errors.Is(err, unix.EINTR) {
				return fmt.Errorf("write: %w", err)
			}
			b = b[max(w, 0):]
		}
		left -= int64(n)
	}
	if sum != nil {
		e.MD5 = hex.EncodeToString(sum.Sum(nil))
	}
	if !marker.found || e.Size > maxKeyFile {
		return nil
	}
	body := make([]byte, e.Size)
	if _, err := unix.Pread(fd, body, 0); err != nil {
		return fmt.Errorf("read back: %w", err)
	}
	e.Key = holdsKey(body)
	return nil
}

// setMeta gives an open file the owner, the extended attributes and the mode
// of e, in this order: a change of the owner takes setuid bits and
// capabilities away.
func setMeta(fd int, e *entry) error {
	if e.UID != 0 || e.GID != 0 {
		if err := unix.Fchown(fd, e.UID, e.GID); err != nil {
			return fmt.Errorf("give it to %d:%d: %w", e.UID, e.GID, err)
		}
	}
	for name, value := range e.Xattrs {
		if err := unix.Fsetxattr(fd, name, []byte(value), 0); err != nil {
			return fmt.Errorf("set its attribute %s: %w", name, err)
		}
	}
	if err := unix.Fchmod(fd, e.Mode); err != nil {
		return fmt.Errorf("set its mode %04o: %w", e.Mode, err)
	}
	return nil
}

// setTime sets the time of change of path, relative to the directory dirfd, to
// a second since 1970, without following a symbolic link.
func setTime(dirfd int, path string, sec int64) error {
	ts := []unix.Timespec{unix.NsecToTimespec(sec * 1e9), unix.NsecToTimespec(sec * 1e9)}
	if err := unix.UtimesNanoAt(dirfd, path, ts, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return &os.PathError{Op: "set the time of", Path: path, Err: err}
	}
	return nil
}

// keep moves the complete package into the store of the cache.
func (s *staged) keep(cache string) error {
	to, err := storeDir(cache, s.deb.SHA256)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	err = os.Rename(s.dir, to)
	if errors.Is(err, os.ErrExist) || errors.Is(err, unix.ENOTEMPTY) {
		return os.RemoveAll(s.dir) // another build was faster with the same bytes
	}
	return err
}
