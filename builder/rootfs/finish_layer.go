package rootfs

import (
	"fmt"
	"os"
	"path/filepath"
)

// finish folds the parts into one directory and makes everything in it the
// same on every run.
func (b *build) finish(parts []string) (string, error) {
	f := folding{below: newView(b.below), dst: parts[0]}
	for _, p := range parts[1:] {
		if err := copyDirMeta(p, f.dst); err != nil {
			return "", fmt.Errorf("join the parts of the layer: %w", err)
		}
		if err := f.over(p); err != nil {
			return "", fmt.Errorf("join the parts of the layer: %w", err)
		}
	}
	if err := f.remove(volatilePaths()); err != nil {
		return "", fmt.Errorf("remove what differs from run to run: %w", err)
	}
	if err := sortStatus(filepath.Join(f.dst, statusPath)); err != nil {
		return "", err
	}
	if err := b.in.setTimes(f.dst); err != nil {
		return "", fmt.Errorf("set times: %w", err)
	}
	return f.dst, nil
}

// remove deletes the paths that match the patterns from the directory.
func (f *folding) remove(patterns []string) error {
	for _, p := range patterns {
		names, err := filepath.Glob(filepath.Join(f.dst, p))
		if err != nil {
			return err
		}
		for _, n := range names {
			if err := os.RemoveAll(n); err != nil {
				return err
			}
		}
	}
	return nil
}

// sortStatus writes dpkg's status in a fixed order.
func sortStatus(name string) error {
	text, err := os.ReadFile(name)
	if err != nil {
		return fmt.Errorf("sort dpkg's status: %w", err)
	}
	list, err := parseStanzas(text)
	if err != nil {
		return fmt.Errorf("sort dpkg's status: %w", err)
	}
	w := dbWriter{dir: filepath.Dir(name)}
	w.write(filepath.Base(name), formatStatus(list))
	return w.err
}
