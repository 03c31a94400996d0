package boot

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// initrdSeed is where a network boot puts a node's own files into the initramfs
// (iPXE: `initrd URL /run/trivet/seed/user-data mode=600`). The agent reads
// them there; the tmpfs that is mounted on /run would hide them.
const initrdSeed = "run/trivet/seed"

// Limits on what is carried over, above what any node needs.
const (
	maxSeedFiles = 16
	maxSeedFile  = 4 << 20 // bytes
)

// takeSeed reads the files of the initramfs's seed.
func (b *Boot) takeSeed() (map[string][]byte, error) {
	entries, err := os.ReadDir(b.at(initrdSeed))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the seed in the initramfs: %w", err)
	}
	if len(entries) > maxSeedFiles {
		return nil, fmt.Errorf("read the seed in the initramfs: %d files in /%s, more than %d", len(entries), initrdSeed, maxSeedFiles)
	}
	files := map[string][]byte{}
	for _, e := range entries {
		if !e.Type().IsRegular() {
			return nil, fmt.Errorf("read the seed in the initramfs: /%s/%s is not a file", initrdSeed, e.Name())
		}
		text, err := readLimited(filepath.Join(b.at(initrdSeed), e.Name()), maxSeedFile)
		if err != nil {
			return nil, fmt.Errorf("read the seed in the initramfs: %w", err)
		}
		files[e.Name()] = text
	}
	return files, nil
}

// giveSeed puts the seed where the agent looks, for root alone.
func (b *Boot) giveSeed(files map[string][]byte) error {
	if len(files) == 0 {
		return nil
	}
	dir := b.at(initrdSeed)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("carry over the seed of the initramfs: %w", err)
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			return fmt.Errorf("carry over the seed of the initramfs: %w", err)
		}
	}
	return nil
}
