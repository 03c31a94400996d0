// Package finish makes a configured tree an image: it lays the overlays over
// the packages, sets which units start at boot, moves what lies under /var to
// the factory tree from which a fresh /var is filled, removes every identity
// and secret that installing left, and fails if one is found all the same.
package finish

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"trivet/builder/host"
)

// Inputs say what is finished.
type Inputs struct {
	Cache     string   // the result is kept below it
	Below     []string // the package layers, lowest first; their names are digests of what is in them
	Digest    string   // of what Lay writes
	Lay       func(upper string) error
	OSRelease map[string]string // lines that are added to os-release(5)
	Epoch     time.Time         // no file is younger
	Log       io.Writer
}

// version is part of the key: it changes when the same inputs would give
// another layer.
const version = "finish 1"

//go:embed settle.sh
var settle string

// Root returns the directory of the image's top layer, from the cache if it
// was made before.
func Root(ctx context.Context, in Inputs) (string, error) {
	dir := filepath.Join(in.Cache, "layers", in.key())
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return "", fmt.Errorf("make the cache: %w", err)
	}
	temp, err := os.MkdirTemp(filepath.Dir(dir), ".tmp-finish-")
	if err != nil {
		return "", fmt.Errorf("finish the tree: %w", err)
	}
	defer os.RemoveAll(temp)
	upper := filepath.Join(temp, "upper")
	if err := in.make(ctx, upper, filepath.Join(temp, "work")); err != nil {
		return "", fmt.Errorf("finish the tree: %w", err)
	}
	if err := os.Rename(upper, dir); err != nil {
		return "", fmt.Errorf("keep the finished layer: %w", err)
	}
	return dir, nil
}

func (in Inputs) key() string {
	h := sha256.New()
	fmt.Fprintf(h, "%q %q %d %q\n", version, in.Digest, in.Epoch.Unix(), in.OSRelease)
	for _, l := range in.Below {
		fmt.Fprintf(h, "%q\n", filepath.Base(l))
	}
	return hex.EncodeToString(h.Sum(nil))
}

func (in Inputs) make(ctx context.Context, upper, work string) error {
	if err := os.Mkdir(upper, 0o755); err != nil {
		return err
	}
	if err := in.Lay(upper); err != nil {
		return err
	}
	if err := in.osRelease(upper); err != nil {
		return err
	}
	box := host.Sandbox{Mounts: []host.Mount{{Target: "/", Layers: in.Below, Upper: upper, Work: work}}}
	if err := box.Run(ctx, host.Command{Args: []string{"sh", "-eu", "-s"}, Stdin: strings.NewReader(settle), Stdout: in.Log, Stderr: in.Log}); err != nil {
		return err
	}
	if err := tmpfiles(upper); err != nil {
		return err
	}
	if err := box.Run(ctx, host.Command{Func: scanFunc, Stderr: in.Log}); err != nil {
		return fmt.Errorf("look for secrets: %w", err)
	}
	return in.clamp(upper)
}

// osRelease adds the image's own lines to the distribution's.
func (in Inputs) osRelease(upper string) error {
	const name = "usr/lib/os-release"
	for i := len(in.Below) - 1; i >= 0; i-- {
		text, err := os.ReadFile(filepath.Join(in.Below[i], name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		var keys []string
		for k := range in.OSRelease {
			keys = append(keys, k)
		}
		sort.Strings(keys)
		for _, k := range keys {
			text = fmt.Appendf(text, "%s=%q\n", k, in.OSRelease[k])
		}
		if err := os.MkdirAll(filepath.Join(upper, "usr/lib"), 0o755); err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(upper, name), text, 0o644)
	}
	return errors.New("the packages have no /usr/lib/os-release")
}

// factory is where a fresh /var comes from (tmpfiles.d(5), type C).
const factory = "usr/share/factory/var"

// tmpfiles writes the lines by which systemd-tmpfiles fills /var at boot with
// what it lacks. dpkg's database describes the image, not the node's data: it
// is a link into the image, renewed at each boot.
func tmpfiles(upper string) error {
	tops, err := os.ReadDir(filepath.Join(upper, factory))
	if err != nil {
		return err
	}
	lines := []string{"L+ /var/lib/dpkg - - - - /" + factory + "/lib/dpkg"}
	for _, top := range tops {
		if !top.IsDir() {
			continue // the links /var/run and /var/lock are systemd's own
		}
		names, err := os.ReadDir(filepath.Join(upper, factory, top.Name()))
		if err != nil {
			return err
		}
		for _, n := range names {
			path := top.Name() + "/" + n.Name()
			if path != "lib/dpkg" && top.Name() != "tmp" {
				lines = append(lines, fmt.Sprintf("C /var/%[1]s - - - - /%[2]s/%[1]s", escape(path), factory))
			}
		}
	}
	sort.Strings(lines)
	text := "# What the packages made under /var, for a /var that lacks it.\n" + strings.Join(lines, "\n") + "\n"
	return os.WriteFile(filepath.Join(upper, "usr/lib/tmpfiles.d/trivet-var.conf"), []byte(text), 0o644)
}

// escape writes a path for tmpfiles.d(5): specifiers and blanks.
func escape(path string) string {
	return strings.NewReplacer("%", "%%", " ", `\x20`, `\`, `\\`).Replace(path)
}

// clamp sets every time that is later than the epoch to it, and every
// directory's: those change with the order of the work.
func (in Inputs) clamp(upper string) error {
	epoch := unix.NsecToTimespec(in.Epoch.UnixNano())
	var dirs []string
	touch := func(path string) error {
		return unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{epoch, epoch}, unix.AT_SYMLINK_NOFOLLOW)
	}
	err := filepath.WalkDir(upper, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			dirs = append(dirs, path)
			return nil
		}
		info, err := d.Info()
		if err != nil || !info.ModTime().After(in.Epoch) {
			return err
		}
		return touch(path)
	})
	if err != nil {
		return err
	}
	for _, d := range dirs {
		if err := touch(d); err != nil {
			return err
		}
	}
	return nil
}
