package rootfs

import (
	"fmt"
	"io/fs"
	"os"
)

// finish folds the parts into one directory, adds what was made aside, runs
// what was put off, and makes everything the same on every run.
func (b *build) fold(parts []string) error {
	f := folding{below: newView(b.below), dst: parts[0]}
	for _, p := range parts[1:] {
		if err := copyDirMeta(p, f.dst); err != nil {
			return fmt.Errorf("join the parts of the layer: %w", err)
		}
		if err := f.over(p); err != nil {
			return fmt.Errorf("join the parts of the layer: %w", err)
		}
	}
	return nil
}

// settle makes the finished tree dir the same on every run.
func (b *build) settle(dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	if err := removeMatches(root, volatilePaths()); err != nil {
		return fmt.Errorf("remove what differs from run to run: %w", err)
	}
	if err := sortStatus(root); err != nil {
		return fmt.Errorf("sort dpkg's status: %w", err)
	}
	if err := checkSecrets(root); err != nil {
		return err
	}
	if err := b.in.setTimes(dir); err != nil {
		return fmt.Errorf("set times: %w", err)
	}
	return nil
}

// removeMatches deletes the paths that match the patterns from the tree. Links
// that lead out of it are not followed.
func removeMatches(root *os.Root, patterns []string) error {
	for _, p := range patterns {
		names, err := fs.Glob(root.FS(), p)
		if err != nil {
			return err
		}
		for _, n := range names {
			if err := root.RemoveAll(n); err != nil {
				return err
			}
		}
	}
	return nil
}

// sortStatus writes dpkg's status in a fixed order.
func sortStatus(root *os.Root) error {
	text, err := root.ReadFile(statusPath)
	if err != nil {
		return err
	}
	list, err := parseStanzas(text)
	if err != nil {
		return err
	}
	w := dbWriter{root: root}
	w.write(statusPath, formatStatus(list))
	return w.err
}
