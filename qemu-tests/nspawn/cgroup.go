package nspawn

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// cgroups is where this host shows version 2 of cgroups(7), alone or beside the
// first.
func cgroups() (string, error) {
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(mounts)) {
		if f := strings.Fields(line); len(f) > 2 && f[2] == "cgroup2" {
			return f[1], nil
		}
	}
	return "", errors.New("find cgroup2: it is not mounted")
}

// group makes the node's cgroup. Containers in one would have one tree of units
// between them: to kill a service of the one would kill the others'.
func (n *Node) group() (*os.File, error) {
	at, err := cgroups()
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(at, n.w.space(n.Name))
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("make a cgroup: %w", err)
	}
	return os.Open(dir)
}

// removeGroups removes the cgroups of a world, whose processes are gone.
func removeGroups(world string) error {
	at, err := cgroups()
	if err != nil {
		return err
	}
	tops, _ := filepath.Glob(filepath.Join(at, world+"-*"))
	for _, top := range tops {
		var dirs []string
		walk := filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				dirs = append(dirs, path)
			}
			return nil // one that went away meanwhile is no error
		})
		for _, dir := range slices.Backward(dirs) {
			if rm := syscall.Rmdir(dir); rm != nil && rm != syscall.ENOENT {
				err = errors.Join(err, fmt.Errorf("remove the cgroup %s: %w", dir, rm))
			}
		}
		err = errors.Join(err, walk)
	}
	return err
}
