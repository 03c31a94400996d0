package disk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/diskfs/go-diskfs/backend"
	"github.com/diskfs/go-diskfs/partition/gpt"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// readOnly is the GPT attribute that says so (Discoverable Partitions
// Specification, partition flags).
const readOnly = 1 << 60

// part is one partition of the new disk and the file that fills it.
type part struct {
	kind, uuid, label string
	key               string // of the role, for the error when it is too small
	offset, size      int64
	flags             uint64
	file              string
}

// Assemble writes the disk image of c to out: GPT, EFI system partition, root
// and hash tree. The file is sparse and as short as its partitions allow; slot B
// and /var are made on the machine (Repart). Content that is larger than its
// partition is an error which names both sizes and the role's key. The same
// contents and layout give the same bytes.
func Assemble(ctx context.Context, tool Tool, l Layout, c Contents, out string) error {
	l, a, err := l.withDefaults()
	if err != nil {
		return err
	}
	id, err := idsOf(c.RootHash)
	if err != nil {
		return err
	}
	if err := fits(l, c); err != nil {
		return err
	}
	// Always the same name: what a killed build left is removed by the next.
	dir := out + ".parts"
	if err := errors.Join(os.RemoveAll(dir), os.Mkdir(dir, 0o755)); err != nil {
		return fmt.Errorf("make a directory for %s: %w", filepath.Base(out), err)
	}
	defer os.RemoveAll(dir)
	parts := []part{
		{typeESP, id.esp, "ESP", "esp", 0, l.ESP, 0, filepath.Join(dir, espName)},
		{a.root, id.root, "root-a", "root", 0, l.Root, readOnly, c.Root},
		{a.verity, id.verity, "verity-a", "verity", 0, l.Verity, readOnly, c.Verity},
	}
	raw := filepath.Join(dir, filepath.Base(out))
	// The ESP is made while the root is copied.
	g, ctx := errgroup.WithContext(ctx)
	made := make(chan struct{})
	g.Go(func() error {
		if err := makeESP(ctx, tool, dir, l, a, c, id); err != nil {
			return fmt.Errorf("make the EFI system partition: %w", err)
		}
		close(made)
		return nil
	})
	g.Go(func() error {
		if err := writeDisk(ctx, raw, l.SectorSize, id.disk, parts, made); err != nil {
			return fmt.Errorf("write disk image %s: %w", filepath.Base(out), err)
		}
		return nil
	})
	if err := g.Wait(); err != nil {
		return err
	}
	if err := os.Rename(raw, out); err != nil {
		return fmt.Errorf("put %s in place: %w", filepath.Base(out), err)
	}
	return nil
}

// fits compares the contents with their partitions. The ESP must hold two UKIs:
// an update writes the new one beside the old.
func fits(l Layout, c Contents) error {
	sizes := map[string]int64{}
	for _, path := range []string{c.Loader, c.UKI, c.Root, c.Verity} {
		info, err := os.Stat(path)
		if err != nil {
			return fmt.Errorf("lay out a disk: %w", err)
		}
		sizes[path] = info.Size()
	}
	for _, p := range []struct {
		what, key  string
		need, have int64
	}{
		{"the loader and two unified kernel images (an update needs both)", "esp", 2*sizes[c.Loader] + 2*sizes[c.UKI] + l.ESP/128 + mib, l.ESP},
		{"the root file system", "root", sizes[c.Root], l.Root},
		{"the root's hash tree", "verity", sizes[c.Verity], l.Verity},
	} {
		if p.need > p.have {
			return fmt.Errorf("lay out a disk: %s needs %s and disk.%s is %s: raise disk.%s of the role", p.what, size(p.need), p.key, size(p.have), p.key)
		}
	}
	return nil
}

// writeDisk makes the file at path with the partitions one after the other from
// 1 MiB on, and room for the backup table at the end. The first partition's file
// is there when made is closed.
func writeDisk(ctx context.Context, path string, sector int, guid string, parts []part, made <-chan struct{}) (err error) {
	at := int64(mib)
	for i := range parts {
		parts[i].offset = at
		at += parts[i].size
	}
	total := at + mib // the backup table takes 33 sectors of 512 bytes, or 5 of 4096
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := f.Truncate(total); err != nil {
		return err
	}
	table := gpt.Table{LogicalSectorSize: sector, PhysicalSectorSize: sector, GUID: guid, ProtectiveMBR: true}
	for i, p := range parts {
		table.Partitions = append(table.Partitions, &gpt.Partition{
			Index: i + 1, Start: uint64(p.offset / int64(sector)), End: uint64((p.offset+p.size)/int64(sector)) - 1, Size: uint64(p.size),
			Type: gpt.Type(p.kind), GUID: p.uuid, Name: p.label, Attributes: p.flags,
		})
	}
	if err := table.Write(noSync{f}, total); err != nil {
		return fmt.Errorf("write the partition table: %w", err)
	}
	for i := len(parts) - 1; i >= 0; i-- {
		p := parts[i]
		if i == 0 {
			select {
			case <-made:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		if err := copySparse(ctx, f, p.offset, p.file); err != nil {
			return fmt.Errorf("copy %s to partition %s: %w", filepath.Base(p.file), p.label, err)
		}
	}
	return nil
}

// noSync hides the file's Sync: go-diskfs syncs after each of five writes, and
// a new image is not yet anybody's disk.
type noSync struct{ backend.WritableFile }

// copySparse copies the file at path to offset at of to, without its holes.
func copySparse(ctx context.Context, to *os.File, at int64, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	for pos := int64(0); pos < info.Size(); {
		start, end := nextData(f, pos, info.Size())
		for start < end {
			if err := ctx.Err(); err != nil {
				return err
			}
			n := min(end-start, 64*mib)
			if err := copyRange(to, at+start, f, start, n); err != nil {
				return err
			}
			start += n
		}
		pos = end
	}
	return nil
}

// nextData is the next range that is not a hole, from pos on; an empty one at
// the end of the file when only a hole follows. A file system that does not tell
// has no holes.
func nextData(f *os.File, pos, size int64) (start, end int64) {
	start, err := f.Seek(pos, unix.SEEK_DATA)
	if errors.Is(err, unix.ENXIO) {
		return size, size
	}
	if err != nil {
		return pos, size
	}
	end, err = f.Seek(start, unix.SEEK_HOLE)
	if err != nil {
		return start, size
	}
	return start, min(end, size)
}

// copyRange copies n bytes. io.CopyN on two files is copy_file_range(2), which
// shares blocks where the file system can.
func copyRange(to *os.File, at int64, from *os.File, start, n int64) error {
	if _, err := from.Seek(start, io.SeekStart); err != nil {
		return err
	}
	if _, err := to.Seek(at, io.SeekStart); err != nil {
		return err
	}
	_, err := io.CopyN(to, from, n)
	return err
}
