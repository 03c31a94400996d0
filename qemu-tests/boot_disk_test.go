package qemutests

import (
	"os"
	"path/filepath"
	"testing"

	"trivet/qemu-tests/cluster"
)

// TestBootFromNVMe and its neighbours boot the smallest role from the other
// disks that servers have.
func TestBootFromNVMe(t *testing.T) { bootFrom(t, cluster.NVMe) }

func TestBootFromAHCI(t *testing.T) { bootFrom(t, cluster.AHCI) }

func bootFrom(t *testing.T, bus cluster.Bus) {
	t.Helper()
	c, l := machines(t, "storage"), newLab(t)
	n := c.AddNode("storage", l.options(c, "storage", bus))
	n.Start()
	n.WaitReady(readyTime)
	checkSealed(t, n)
	checkDisk(t, n)
}

// TestBootFrom4096ByteSectors boots the image that is made for disks whose
// logical sectors have 4096 bytes; its partition table is another one.
func TestBootFrom4096ByteSectors(t *testing.T) {
	const role = "storage"
	c, l := machines(t, role), newLab(t)
	raw := filepath.Join(images(t), role+".4k.raw")
	if _, err := os.Stat(raw); err != nil {
		out := t.TempDir()
		build(t, out, "--locked", filepath.Join(images(t), role+".lock"), "--sector-size", "4096", role)
		raw = filepath.Join(out, role+".4k.raw")
	}
	o := l.options(c, role, cluster.Virtio)
	o.Image, o.Sector = raw, 4096
	n := c.AddNode(role, o)
	n.Start()
	n.WaitReady(readyTime)
	checkSealed(t, n)
	checkDisk(t, n)
	sizes := n.Run(shellTime, "cat /sys/class/block/$(sed -n 's,^/dev/\\(\\S*\\) /var .*,\\1,p' /proc/self/mounts)/../queue/logical_block_size")
	if sizes != "4096\n" {
		t.Errorf("the sectors of the disk with /var have %q bytes, want 4096", sizes)
	}
}
