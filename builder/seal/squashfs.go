package seal

import (
	"context"
	"fmt"
	"path/filepath"
	"runtime"
	"strconv"
	"time"

	"trivet/builder/host"
)

// Block size and zstd level of the root, chosen by measurement on a controller's
// tree of 71 400 inodes and 2.0 GB (squashfs-tools 4.6.1, 2 cores; the read
// column is 2 500 small files in random order from a cold page cache):
//
//	-b 128K level 3:  6.4 s  679 MB  1.6 s
//	-b 256K level 3:  6.8 s  656 MB  2.4 s
//	-b 256K level 9: 32.4 s  620 MB
//	-b 512K level 6: ~18  s  615 MB  2.6 s
//	-b   1M level 9: 16.2 s  595 MB  3.0-4.1 s, and 2.5x the time for reads in order
const (
	squashBlock = 256 << 10
	squashLevel = 3
)

// Squashfs makes the squashfs image out of the overlay of layers (directories,
// lowest first). File times are kept as they are, byte-compiled Python depends
// on them; the file system's own time is epoch. The same layers give the same
// bytes, on any machine and with any number of cores.
func Squashfs(ctx context.Context, tool Tool, layers []string, out string, epoch time.Time) error {
	return mksquashfs(ctx, tool, layers, out, epoch)
}

// PackLayer makes a squashfs image of one directory of an overlay, with its
// whiteouts and opaque marks, for MergeSquashfs.
func PackLayer(ctx context.Context, tool Tool, layer, out string, epoch time.Time) error {
	return mksquashfs(ctx, tool, []string{layer}, out, epoch)
}

func mksquashfs(ctx context.Context, tool Tool, layers []string, out string, epoch time.Time) error {
	err := replace(out, func(tmp string) error {
		mounts := []host.Mount{
			{Target: inDir, Layers: layers},
			{Target: outDir, Layers: []string{filepath.Dir(tmp)}, Writable: true},
		}
		// env -u: with SOURCE_DATE_EPOCH set mksquashfs refuses -mkfs-time, and
		// alone that variable would flatten every file's time.
		return tool(ctx, mounts, "env", "-u", "SOURCE_DATE_EPOCH",
			"mksquashfs", inDir, outDir+"/"+filepath.Base(tmp),
			"-noappend", "-no-progress", "-quiet", "-no-exports",
			"-processors", strconv.Itoa(runtime.NumCPU()),
			"-mkfs-time", strconv.FormatInt(epoch.Unix(), 10),
			"-b", strconv.Itoa(squashBlock),
			"-comp", "zstd", "-Xcompression-level", strconv.Itoa(squashLevel))
	})
	if err != nil {
		return fmt.Errorf("make squashfs %s: %w", filepath.Base(out), err)
	}
	return nil
}
