package join

import (
	"context"
	"errors"
	"io/fs"
	"os"
)

// libvirt starts libvirt, and says when this node can only emulate machines.
func libvirt() Step {
	return Step{
		Name: "libvirt",
		Done: func(ctx context.Context, e Env) (bool, error) { return e.Active(ctx) },
		Do: func(ctx context.Context, e Env) error {
			if _, err := os.Stat(e.Path("/dev/kvm")); errors.Is(err, fs.ErrNotExist) {
				e.Report("finds no /dev/kvm: machines will be emulated, which is slow; switch virtualisation on in the firmware, or load kvm_intel or kvm_amd")
			}
			return e.Start(ctx)
		},
	}
}
