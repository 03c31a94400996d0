package boot

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// repart makes what an image leaves out: slot B and /var.
const (
	repart            = "/usr/bin/systemd-repart"
	repartDefinitions = "/usr/lib/repart.d"
	repartTime        = 120 * time.Second
)

// labelVar is the label of the partition of /var, on the disk of the root.
const labelVar = "var"

// partition has systemd-repart bring the disk to what the sealed root's
// definitions say. It formats a partition before it writes the table, so that a
// power cut leaves either no /var or a whole one. A disk that has its /var already
// is booted even if repart fails.
func (b *Boot) partition(ctx context.Context) (string, error) {
	_, made, err := b.varPartition()
	if err != nil {
		return "", err
	}
	err = b.runRepart(ctx)
	if err != nil && made {
		b.Say("repart", "waiting", err.Error()+"\nthe disk has its /var: the boot goes on", nil)
		return b.disk.Name + " is left as it is", nil
	}
	if err != nil {
		return "", advise(err, "is the disk large enough for slot B and /var, and writable? free space on it, or take a larger one; --dry-run=yes on another machine tells more")
	}
	b.blocks.Forget()
	if err := b.rereadDisk(); err != nil {
		return "", err
	}
	if made {
		return b.disk.Name + " has its /var", nil
	}
	return "slot B and /var are made on " + b.disk.Name, nil
}

func (b *Boot) runRepart(ctx context.Context) error {
	found, err := filepath.Glob(filepath.Join(b.at(newRoot), repartDefinitions, "*.conf"))
	if err != nil || len(found) == 0 {
		return advise(fmt.Errorf("find the definitions of partitions: the root has none in %s", repartDefinitions), rebuild)
	}
	// mke2fs leaves the zeroing of inode tables, 16 GiB for each TiB, to the kernel
	// only if that knows ext4; and it is given a loop device over the free space.
	for _, name := range []string{"ext4", "loop"} {
		if err := b.need(name); err != nil {
			return err
		}
	}
	// Discarding a whole disk can take minutes on some; fstrim.timer does it later.
	output, code, err := b.program(ctx, "repart", repartTime, repart,
		"--dry-run=no", "--discard=no", "--no-pager", "--definitions="+repartDefinitions, "/dev/"+b.disk.Name)
	if err != nil {
		return fmt.Errorf("run systemd-repart on %s: %w:\n%s", b.disk.Name, err, told(output))
	}
	if code != 0 {
		return fmt.Errorf("run systemd-repart on %s: exit code %d:\n%s", b.disk.Name, code, told(output))
	}
	return nil
}

// rereadDisk reads the partition table of the root's disk again.
func (b *Boot) rereadDisk() error {
	for _, d := range b.blocks.List() {
		if d.Name == b.disk.Name {
			if d.Err != nil {
				return advise(fmt.Errorf("read the partition table of %s again: %w", d.Name, d.Err), damaged)
			}
			b.disk = d
			return nil
		}
	}
	return advise(fmt.Errorf("read the partition table of %s again: the disk is gone", b.disk.Name), "check its cable and power")
}

// varPartition finds the partition labelled var on the root's disk.
func (b *Boot) varPartition() (p Partition, ok bool, err error) {
	for _, q := range b.disk.Table.Partitions {
		if q.Label != labelVar {
			continue
		}
		if ok {
			return Partition{}, false, &Problem{
				Err: fmt.Errorf("find /var: partitions %d and %d of %s are both labelled %s", p.Number, q.Number, b.disk.Name, labelVar),
				Do:  "give one of them another label or delete it (sgdisk from a rescue system)",
			}
		}
		p, ok = q, true
	}
	return p, ok, nil
}

// exists reports whether a path is there, without following a last link.
func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
