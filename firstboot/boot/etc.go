package boot

import (
	"context"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// overlayEtc lays a tmpfs over the sealed /etc: what is written there lasts until
// the next boot. Upper and work folder must be of one file system, and /run
// moves into the new root with them.
func (b *Boot) overlayEtc(context.Context) (string, error) {
	if err := b.need("overlay"); err != nil {
		return "", err
	}
	upper, work, lower := b.at("run/trivet/etc/upper"), b.at("run/trivet/etc/work"), b.at(newRoot+"/etc")
	for _, dir := range []string{upper, work} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return "", err
		}
	}
	// The upper folder's mode is what /etc shows.
	if err := os.Chmod(upper, 0o755); err != nil {
		return "", err
	}
	data := "lowerdir=" + lower + ",upperdir=" + upper + ",workdir=" + work
	if err := b.Kernel.Mount("etc", lower, "overlay", unix.MS_NOSUID|unix.MS_NODEV, data); err != nil {
		return "", advise(fmt.Errorf("lay an overlay over /etc: %w", err), rebuild)
	}
	return "a tmpfs lies over /etc", nil
}
