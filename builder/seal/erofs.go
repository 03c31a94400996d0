package seal

import (
	"context"
	"crypto/sha256"
	"fmt"
	"path/filepath"
	"runtime"
	"strconv"
	"time"

	"trivet/builder/host"
)

// erofsCluster is the size in bytes up to which mkfs.erofs compresses as one
// piece; its lz4 images shrink little beyond it.
const erofsCluster = 64 << 10

// Erofs makes an erofs image with lz4 of the overlay of layers: the alternative
// to Squashfs, half as large again, with the smallest deltas between versions.
// File times are kept; epoch is the file system's own time, and its UUID is
// derived from epoch, since mkfs.erofs takes a random one.
func Erofs(ctx context.Context, tool Tool, layers []string, out string, epoch time.Time) error {
	stamp := strconv.FormatInt(epoch.Unix(), 10)
	sum := sha256.Sum256([]byte("trivet erofs " + stamp))
	err := replace(out, func(tmp string) error {
		mounts := []host.Mount{
			{Target: inDir, Layers: layers},
			{Target: outDir, Layers: []string{filepath.Dir(tmp)}, Writable: true},
		}
		args := []string{
			"env", "-u", "SOURCE_DATE_EPOCH", "mkfs.erofs", "--quiet",
			"-b4096", "-zlz4", "-C" + strconv.Itoa(erofsCluster), "--workers=" + strconv.Itoa(runtime.NumCPU()),
			"-U" + formatUUID(sum[:16]), "-T" + stamp, "--mkfs-time",
			outDir + "/" + filepath.Base(tmp), inDir,
		}
		return tool(ctx, mounts, args...)
	})
	if err != nil {
		return fmt.Errorf("make erofs %s: %w", filepath.Base(out), err)
	}
	return nil
}
