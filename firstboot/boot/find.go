package boot

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

const (
	progressEvery = 5 * time.Second        // how often a wait says that it goes on
	pollEvery     = 500 * time.Millisecond // how long a wait may miss an event
	nodeWait      = 30 * time.Second       // for a partition's node, once the table has it
)

// findRoot waits for the disk that holds both halves of the root hash, and loads
// the drivers of what appears meanwhile.
func (b *Boot) findRoot(ctx context.Context) (string, error) {
	deadline := b.Now().Add(b.cmdline.Wait)
	progress := b.Now().Add(progressEvery)
	for {
		b.plugAll()
		disks := b.candidates()
		disk, ok, err := pickRoot(disks, b.cmdline.RootHash)
		if err != nil {
			return "", err
		}
		if ok {
			return b.takeRoot(disk)
		}
		if now := b.Now(); now.After(deadline) {
			return "", b.rootMissing(disks)
		} else if now.After(progress) {
			progress = now.Add(progressEvery)
			b.Say("disk", "waiting", fmt.Sprintf("for partitions %s and %s; there is: %s",
				b.cmdline.RootHash.Data(), b.cmdline.RootHash.Tree(), diskNames(disks)), nil)
			b.blocks.Forget() // a disk may get its table now
		}
		if err := ctx.Err(); err != nil {
			return "", err
		}
		b.Kernel.Wait(pollEvery)
	}
}

// candidates are the disks, or the one that trivet.disk= names.
func (b *Boot) candidates() []Disk {
	disks := b.blocks.List()
	if b.cmdline.Disk == "" {
		return disks
	}
	var named []Disk
	for _, d := range disks {
		if d.Name == b.cmdline.Disk || d.Serial == b.cmdline.Disk {
			named = append(named, d)
		}
	}
	return named
}

// pickRoot returns the disk that has both partitions of a root hash. Two such
// disks are an error: nothing tells which /var is this machine's.
func pickRoot(disks []Disk, hash RootHash) (disk Disk, ok bool, err error) {
	var both []Disk
	for _, d := range disks {
		_, data := d.Table.ByUUID(hash.Data())
		_, tree := d.Table.ByUUID(hash.Tree())
		if data && tree {
			both = append(both, d)
		}
	}
	switch len(both) {
	case 0:
		return Disk{}, false, nil
	case 1:
		return both[0], true, nil
	}
	names := make([]string, len(both))
	for i, d := range both {
		names[i] = fmt.Sprintf("%s (serial %q)", d.Name, d.Serial)
	}
	return Disk{}, false, &Problem{
		Err: fmt.Errorf("find the root: %d disks hold the very same image: %s", len(both), strings.Join(names, ", ")),
		Do:  "remove or erase all but one, or add trivet.disk=SERIAL to the kernel command line",
	}
}

// takeRoot remembers the disk and its nodes.
func (b *Boot) takeRoot(d Disk) (string, error) {
	b.disk = d
	if d.Table.Backup {
		b.addPartitions(d)
	}
	data, _ := d.Table.ByUUID(b.cmdline.RootHash.Data())
	tree, _ := d.Table.ByUUID(b.cmdline.RootHash.Tree())
	var err error
	if b.record.RootDevice, err = b.waitNode(d, data); err != nil {
		return "", err
	}
	if b.record.VerityDevice, err = b.waitNode(d, tree); err != nil {
		return "", err
	}
	if slot, ok := strings.CutPrefix(data.Label, "root-"); ok {
		b.record.Slot = slot
	}
	b.record.Disk, b.record.SectorSize = d.Name, d.Sector
	return fmt.Sprintf("%s and %s (slot %s) on %s, %s, %d-byte sectors",
		b.record.RootDevice, b.record.VerityDevice, b.record.Slot, d.Name, sizeText(d.Size), d.Sector), nil
}

// addPartitions tells the kernel of the partitions of a backup table: it reads
// only the primary one by itself.
func (b *Boot) addPartitions(d Disk) {
	b.Say("disk", "waiting", fmt.Sprintf("the partition table at the start of %s is broken; the backup at its end is taken, and systemd-repart writes both anew", d.Name), nil)
	for _, p := range d.Table.Partitions {
		if _, err := b.blocks.partitionNode(d, p); err == nil {
			continue
		}
		start := int64(p.First) * int64(d.Sector)
		if err := b.Kernel.AddPartition(b.at(node(d.Name)), p.Number, start, d.Table.Size(p)); err != nil {
			b.Say("disk", "waiting", fmt.Sprintf("partition %d of %s is not taken by the kernel: %v", p.Number, d.Name, err), nil)
		}
	}
}

// waitNode waits until the kernel has a partition and its node.
func (b *Boot) waitNode(d Disk, p Partition) (string, error) {
	deadline := b.Now().Add(nodeWait)
	for {
		node, err := b.blocks.partitionNode(d, p)
		if err == nil {
			return node, nil
		}
		if b.Now().After(deadline) {
			return "", advise(fmt.Errorf("wait %v for partition %d (%s) of %s: %w", nodeWait, p.Number, p.Label, d.Name, err),
				"the partition table changed under a running kernel, or is broken: write the image to the disk again")
		}
		b.Kernel.Wait(pollEvery)
	}
}

// rootMissing tells all that can be seen.
func (b *Boot) rootMissing(disks []Disk) error {
	var seen []string
	for _, d := range disks {
		seen = append(seen, "  "+d.String())
	}
	if len(disks) == 0 {
		seen = []string{"  no disk at all"}
	}
	hash := b.cmdline.RootHash
	text := fmt.Sprintf("wait %v for the root: no disk has both partition %s (root) and partition %s (verity)", b.cmdline.Wait, hash.Data(), hash.Tree())
	if b.cmdline.Disk != "" {
		text += fmt.Sprintf(" and the name or serial number %q of trivet.disk=", b.cmdline.Disk)
	}
	text += "; seen are:\n" + strings.Join(seen, "\n") + "\nmodules: " + strings.Join(b.modules.loaded, " ")
	if failed := b.modules.failures(); len(failed) > 0 {
		text += "; did not load: " + strings.Join(failed, ", ")
	}
	return &Problem{
		Err: errors.New(text),
		Do:  "if the disk is missing: its driver may not be in the initrd, or the controller's mode is wrong; if it is there: it holds another image than the one that was started",
	}
}

// diskNames is the short form for a progress line.
func diskNames(disks []Disk) string {
	var names []string
	for _, d := range disks {
		text := fmt.Sprintf("%s (%s, %d partitions)", d.Name, sizeText(d.Size), len(d.Table.Partitions))
		if d.Err != nil {
			text = fmt.Sprintf("%s (%s, %v)", d.Name, sizeText(d.Size), d.Err)
		}
		names = append(names, text)
	}
	if len(names) == 0 {
		return "no disk"
	}
	return strings.Join(names, ", ")
}
