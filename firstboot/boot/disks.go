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

	identity string // tells it from another disk that got its name
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

// List returns the disks, by name. All together are given probeTime to answer.
func (b *blockDevices) List() []Disk {
	var disks []Disk
	var fresh []string // identities of disks that were not read yet
	for _, d := range b.present() {
		if known, ok := b.cache[d.identity]; ok {
			d = known
		} else {
			fresh = append(fresh, d.identity)
		}
		disks = append(disks, d)
	}
	if len(fresh) > 0 {
		b.probe(disks, fresh)
	}
	return disks
}

// present lists the disks that the kernel has, without reading them.
func (b *blockDevices) present() []Disk {
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
		d.identity = fmt.Sprint(name, " ", d.Size, " ", b.value(name, "diskseq"))
		// virtio has its serial on the disk itself, SCSI and NVMe on the device behind it.
		for _, file := range []string{"serial", "device/serial"} {
			if s := b.value(name, file); s != "" && d.Serial == "" {
				d.Serial = s
			}
		}
		disks = append(disks, d)
	}
	return disks
}

// Forget makes List read all disks anew.
func (b *blockDevices) Forget() { clear(b.cache) }

// probe reads the tables of the fresh ones among disks, all at once and in the
// background, since a dying disk can hold its reader for minutes.
func (b *blockDevices) probe(disks []Disk, fresh []string) {
	type answer struct {
		i     int
		table Table
		err   error
	}
	answers := make(chan answer, len(disks)) // late ones find room, and are dropped
	waiting := map[int]bool{}
	for i, d := range disks {
		if slices.Contains(fresh, d.identity) {
			waiting[i] = true
			go func() {
				table, err := readDisk(filepath.Join(b.root, node(d.Name)), d.Size, d.Sector)
				answers <- answer{i, table, err}
			}()
		}
	}
	timeout := time.After(probeTime)
	for len(waiting) > 0 {
		select {
		case a := <-answers:
			disks[a.i].Table, disks[a.i].Err = a.table, a.err
			b.cache[disks[a.i].identity] = disks[a.i]
			delete(waiting, a.i)
		case <-timeout:
			for i := range waiting {
				disks[i].Err = fmt.Errorf("it does not answer within %v", probeTime)
				b.cache[disks[i].identity] = disks[i]
			}
			return
		}
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
