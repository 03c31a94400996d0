package boot

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// sysfsSector is the unit of sizes and starts in sysfs, whatever the disk's
// sectors are (Documentation/ABI/stable/sysfs-block).
const sysfsSector = 512

// probeTime bounds how long a disk may take to answer.
const probeTime = 10 * time.Second

// A Disk is a whole block device that may hold the root.
type Disk struct {
	Name   string // the kernel's: vda, nvme0n1
	Serial string
	Size   int64 // bytes
	Sector int   // bytes of a logical sector
	Table  Table
	Err    error // why Table is empty; ErrNoTable if it has none
}

func (d Disk) String() string {
	text := fmt.Sprintf("%s (%s, %d-byte sectors", d.Name, sizeText(d.Size), d.Sector)
	if d.Serial != "" {
		text += ", serial " + d.Serial
	}
	text += "): "
	if d.Err != nil {
		return text + d.Err.Error()
	}
	if len(d.Table.Partitions) == 0 {
		return text + "an empty partition table"
	}
	var parts []string
	for _, p := range d.Table.Partitions {
		parts = append(parts, fmt.Sprintf("%d %q %s %s", p.Number, p.Label, p.UUID, sizeText(d.Table.Size(p))))
	}
	return text + strings.Join(parts, ", ")
}

func sizeText(n int64) string {
	for _, u := range []struct {
		bytes int64
		name  string
	}{{1 << 40, "TiB"}, {1 << 30, "GiB"}, {1 << 20, "MiB"}} {
		if n >= u.bytes {
			return fmt.Sprintf("%.4g %s", float64(n)/float64(u.bytes), u.name)
		}
	}
	return fmt.Sprintf("%d bytes", n)
}

// blockDevices reads disks and partitions from sysfs below root. Disks that were
// read are remembered as long as they are the same.
type blockDevices struct {
	root  string
	cache map[string]Disk // by identity
}

func newBlockDevices(root string) *blockDevices {
	return &blockDevices{root: root, cache: map[string]Disk{}}
}

// foreign are the names of block devices that are no disks of a machine: memory,
// floppies, optical drives, and what is made of other devices.
var foreign = []string{"loop", "ram", "zram", "fd", "sr", "dm-", "md", "nbd", "drbd", "mtdblock"}

// List returns the disks, by name. Each is given probeTime to answer.
func (b *blockDevices) List() []Disk {
	entries, err := os.ReadDir(filepath.Join(b.root, "sys/class/block"))
	if err != nil {
		return nil
	}
	var disks []Disk
	for _, e := range entries {
		name := e.Name()
		if slices.ContainsFunc(foreign, func(p string) bool { return strings.HasPrefix(name, p) }) {
			continue
		}
		if b.has(name, "partition") || b.value(name, "hidden") == "1" {
			continue
		}
		d := Disk{Name: name, Size: b.number(name, "size") * sysfsSector, Sector: int(b.number(name, "queue/logical_block_size"))}
		if d.Size <= 0 || d.Sector <= 0 {
			continue
		}
		identity := fmt.Sprint(name, " ", d.Size, " ", b.value(name, "diskseq"))
		known, ok := b.cache[identity]
		if !ok {
			known = b.probe(d)
			b.cache[identity] = known
		}
		disks = append(disks, known)
	}
	return disks
}

// Forget makes List read all disks anew.
func (b *blockDevices) Forget() { clear(b.cache) }

// probe reads a disk's table in the background, since a dying disk can hold the
// reader for minutes.
func (b *blockDevices) probe(d Disk) Disk {
	// virtio has its serial on the disk itself, SCSI and NVMe on the device behind it.
	for _, file := range []string{"serial", "device/serial"} {
		if s := b.value(d.Name, file); s != "" {
			d.Serial = s
			break
		}
	}
	done := make(chan Disk, 1)
	go func() {
		d := d
		d.Table, d.Err = readDisk(filepath.Join(b.root, node(d.Name)), d.Size, d.Sector)
		done <- d
	}()
	select {
	case d := <-done:
		return d
	case <-time.After(probeTime):
		d.Err = fmt.Errorf("it does not answer within %v", probeTime)
		return d
	}
}

// readDisk reads the table of the disk at node. A table that was made for other
// sectors than the disk's gets an error that says so.
func readDisk(node string, size int64, sector int) (Table, error) {
	f, err := os.Open(node)
	if err != nil {
		return Table{}, err
	}
	defer f.Close()
	t, err := ReadGPT(f, size, sector)
	if !errors.Is(err, ErrNoTable) {
		return t, err
	}
	for _, other := range []int{512, 4096} {
		if other != sector && hasTable(f, other) {
			return Table{}, fmt.Errorf("its partition table was made for %d-byte sectors; write an image made with --sector-size %d to it", other, sector)
		}
	}
	return Table{}, err
}

// partitionNode returns the node of a partition of d, as the kernel knows it.
func (b *blockDevices) partitionNode(d Disk, p Partition) (string, error) {
	entries, err := os.ReadDir(filepath.Join(b.root, "sys/class/block", d.Name))
	if err != nil {
		return "", fmt.Errorf("list the partitions of %s: %w", d.Name, err)
	}
	for _, e := range entries {
		sub := filepath.Join(d.Name, e.Name())
		if !b.has(sub, "partition") || b.number(sub, "partition") != int64(p.Number) {
			continue
		}
		start := int64(p.First) * int64(d.Sector)
		if got := b.number(sub, "start") * sysfsSector; got != start {
			return "", fmt.Errorf("partition %d of %s begins at byte %d for the kernel, at %d in the partition table", p.Number, d.Name, got, start)
		}
		path := node(e.Name())
		if _, err := os.Stat(filepath.Join(b.root, path)); err != nil {
			return "", err
		}
		return path, nil
	}
	return "", fmt.Errorf("the kernel knows no partition %d of %s", p.Number, d.Name)
}

// node is the path of a device's node; the kernel writes ! for / in names.
func node(name string) string { return "/dev/" + strings.ReplaceAll(name, "!", "/") }

func (b *blockDevices) has(name, file string) bool {
	_, err := os.Stat(filepath.Join(b.root, "sys/class/block", name, file))
	return err == nil
}

func (b *blockDevices) value(name, file string) string {
	text, err := readLimited(filepath.Join(b.root, "sys/class/block", name, file), 4096)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}

func (b *blockDevices) number(name, file string) int64 {
	n, err := strconv.ParseInt(b.value(name, file), 10, 64)
	if err != nil {
		return 0
	}
	return n
}
