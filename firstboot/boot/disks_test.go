package boot

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestListLeavesOut has devices that hold no image: they are not even opened.
func TestListLeavesOut(t *testing.T) {
	m := newTestMachine(t, 512)
	m.plugDisk("vda")
	for _, name := range []string{"loop1", "zram0", "fd0", "sr0", "dm-0", "md127", "nbd0"} {
		m.put("sys/class/block/"+name+"/size", "1000")
		m.put("sys/class/block/"+name+"/queue/logical_block_size", "512")
	}
	m.put("sys/class/block/nvme0c0n1/hidden", "1")
	m.put("sys/class/block/nvme0c0n1/size", "1000")
	m.put("sys/class/block/sdb/size", "0") // a card reader without a card
	m.put("sys/class/block/sdc/size", "1000")
	m.put("sys/class/block/sdc/queue/logical_block_size", "512")
	m.put("dev/sdc", strings.Repeat("\x00", 512000))
	disks := newBlockDevices(m.root).List()
	if len(disks) != 2 || disks[0].Name != "sdc" || !errors.Is(disks[0].Err, ErrNoTable) || disks[1].Name != "vda" || disks[1].Err != nil {
		t.Errorf("disks: %v", disks)
	}
}

// TestListRemembers reads a disk once, until it is another one.
func TestListRemembers(t *testing.T) {
	m := newTestMachine(t, 512)
	m.plugDisk("vda")
	m.put("sys/class/block/vda/diskseq", "5")
	b := newBlockDevices(m.root)
	if d := b.List()[0]; d.Err != nil || d.Serial != "serial-of-vda" {
		t.Fatal(d)
	}
	if err := os.Truncate(filepath.Join(m.root, "dev/vda"), 0); err != nil {
		t.Fatal(err)
	}
	if d := b.List()[0]; d.Err != nil {
		t.Errorf("it was read again: %v", d.Err)
	}
	m.put("sys/class/block/vda/diskseq", "6")
	if d := b.List()[0]; d.Err == nil {
		t.Error("another disk of the same name was not read")
	}
}

func TestPartitionNode(t *testing.T) {
	m := newTestMachine(t, 4096)
	m.plugDisk("vda")
	b := newBlockDevices(m.root)
	d := b.List()[0]
	if node, err := b.partitionNode(d, d.Table.Partitions[1]); err != nil || node != "/dev/vda2" {
		t.Errorf("%s, %v", node, err)
	}
	m.put("sys/class/block/vda/vda2/start", "8")
	if _, err := b.partitionNode(d, d.Table.Partitions[1]); err == nil || !strings.Contains(err.Error(), "begins at byte 4096 for the kernel, at 270336") {
		t.Errorf("a kernel with another table: %v", err)
	}
	if err := os.RemoveAll(filepath.Join(m.root, "sys/class/block/vda/vda2")); err != nil {
		t.Fatal(err)
	}
	if _, err := b.partitionNode(d, d.Table.Partitions[1]); err == nil || !strings.Contains(err.Error(), "knows no partition 2 of vda") {
		t.Errorf("a partition unknown to the kernel: %v", err)
	}
	if got := node("cciss!c0d0"); got != "/dev/cciss/c0d0" {
		t.Errorf("node = %s", got)
	}
}

func TestDeleteInitrd(t *testing.T) {
	// Not on a disk: t.TempDir may be one, /dev/shm is not.
	if d, err := os.Open(t.TempDir()); err == nil {
		put(t, filepath.Join(d.Name(), "keep"), "")
		if err := deleteInitrd(d); err == nil && exists(filepath.Join(d.Name(), "keep")) {
			t.Error("it says that it deleted, and did not")
		}
		d.Close()
	}
	dir, err := os.MkdirTemp("/dev/shm", "trivet")
	if err != nil {
		t.Skipf("no tmpfs to delete: %v", err)
	}
	defer os.RemoveAll(dir)
	put(t, filepath.Join(dir, "usr/lib/modules/6.12/x.ko"), "x")
	put(t, filepath.Join(dir, "init"), "x")
	outside := filepath.Join(t.TempDir(), "outside")
	put(t, filepath.Join(outside, "file"), "x")
	if err := os.Symlink(outside, filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	d, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if err := deleteInitrd(d); err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
	if !exists(filepath.Join(outside, "file")) {
		t.Error("it followed a link")
	}
}
