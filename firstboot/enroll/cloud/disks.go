package cloud

import (
	"fmt"
	"regexp"
	"strings"

	"trivet/firstboot/node"
)

// maxDisks bounds the disks of one node, as package node does.
const maxDisks = 64

// diskPath is a path of udev's for a disk; the letters are those of package node.
var diskPath = regexp.MustCompile(`^/dev/disk/by-[a-z]+/[A-Za-z0-9][A-Za-z0-9:._+=@-]*$`)

func diskChecks() []Check {
	return []Check{
		failure("disks-none", "a storage node has disks", "the storage node %q has no disks", "list whole disks below disks"),
		warning("disks-ignored", "disks are on nodes that use them", "the %s has no use for disks: only storage nodes do", "take them out, or list the node below storages"),
		failure("disk-path", "disks are named by what no reboot changes", "%q may be another disk after a reboot", "use a path below /dev/disk/by-id or /dev/disk/by-path"),
		failure("disk-part", "disks are whole disks", "%s is a partition or a file system, and Swift takes whole disks", "use the disk's path below /dev/disk/by-id or /dev/disk/by-path"),
		failure("disk-twice", "every disk is there once", "%s is also a disk of %s (line %d)", "correct one of the two"),
		failure("disk-size", "sizes are written as such", "%q is not the size of a disk", "write a whole number and GiB, such as 3726GiB for 4 TB"),
		failure("disk-weight", "weights tell how much goes onto a disk", "a weight of %v is not more than 0 and at most 1000000", "use the size in GiB; take a disk that is to be emptied out of the description"),
		warning("disk-weights", "the weights of disks can be compared", "this disk's weight is its default, 100, while others have weights or sizes in GiB", "give weight or size here too"),
		failure("zone-range", "zones are numbered", "zone %d is not within %d to %d", "number the zones from 1"),
		warning("zone-mixed", "either all storage nodes tell their zone or none", "%q has no zone while others do, and gets %d", "give each storage node its zone"),
		warning("zone-ignored", "zones are told where they matter", "the %s has no use for a zone: only storage nodes do", "take it out"),
		failure("rack-range", "racks are numbered", "rack %d is not within %d to %d", "number the racks from 1"),
	}
}

// disks reads the disks and places of the nodes.
func (k *checker) disks() {
	seen := map[string]owner{}
	weighed := false
	k.eachNode(func(_ string, f nodeFile, _ *Node) {
		for _, d := range f.Disks {
			weighed = weighed || d.Weight != nil || d.Size != ""
		}
	})
	k.eachNode(func(path string, f nodeFile, n *Node) {
		n.Rack = k.number("rack-range", path+".rack", f.Rack, 0, 1, 10_000)
		n.Zone = k.number("zone-range", path+".zone", f.Zone, 0, 1, 1000)
		if len(f.Disks) > maxDisks {
			k.say("list-long", path+".disks", len(f.Disks), maxDisks)
			return
		}
		for i, d := range f.Disks {
			n.Disks = append(n.Disks, k.disk(fmt.Sprintf("%s.disks[%d]", path, i), d, n, seen, weighed))
		}
		switch {
		case n.Role != node.Storage:
			k.ignored(path, f, n)
		case len(f.Disks) == 0 && !k.wrong(path+".disks"):
			k.say("disks-none", path, f.Name)
		}
	})
	k.zones()
}

// ignored drops what only storage nodes have.
func (k *checker) ignored(path string, f nodeFile, n *Node) {
	if len(f.Disks) > 0 {
		k.say("disks-ignored", path+".disks", n.Role)
	}
	if f.Zone != nil {
		k.say("zone-ignored", path+".zone", n.Role)
	}
	n.Disks, n.Zone = nil, 0
}

// wrong answers whether the value at path is there and not what was wanted.
func (k *checker) wrong(path string) bool {
	at, ok := k.doc.at[path]
	for _, f := range k.doc.findings {
		if ok && f.Line == at[0] && f.Column == at[1] {
			return true
		}
	}
	return false
}

// zones gives a zone to storage nodes that have none: the lowest that is free.
func (k *checker) zones() {
	taken, some := map[int]bool{}, false
	for _, n := range k.cloud.Storages {
		taken[n.Zone] = true
		some = some || n.Zone > 0
	}
	next := 1
	for i := range k.cloud.Storages {
		n := &k.cloud.Storages[i]
		if n.Zone > 0 {
			continue
		}
		for taken[next] {
			next++
		}
		n.Zone, taken[next] = next, true
		if path := fmt.Sprintf("storages[%d]", i); some && !k.has(path+".zone") {
			k.say("zone-mixed", path, n.Name, n.Zone)
		}
	}
}

// disk reads one disk. Weighed: some disk of the cloud has a weight or size.
func (k *checker) disk(path string, f diskFile, n *Node, seen map[string]owner, weighed bool) Disk {
	d := Disk{Name: f.Name, Weight: 100}
	switch {
	case !k.given(f.Name, path+".name"):
	case !diskPath.MatchString(f.Name):
		k.say("disk-path", path+".name", f.Name)
	case partition(f.Name):
		k.say("disk-part", path+".name", f.Name)
	default:
		key := f.Name
		if !worldwide(key) {
			key = n.Name + " " + key
		}
		if o, taken := seen[key]; taken {
			k.say("disk-twice", path+".name", f.Name, o.name, o.line)
		} else {
			seen[key] = owner{n.Name, n.Line}
		}
	}
	if f.Size != "" {
		size, err := node.ParseSize(f.Size)
		if err != nil || size < 1<<30 {
			k.say("disk-size", path+".size", f.Size)
		} else {
			d.Size, d.Weight = int64(size), float64(size>>30)
		}
	}
	switch {
	case f.Weight != nil && (*f.Weight <= 0 || *f.Weight > 1e6):
		k.say("disk-weight", path+".weight", *f.Weight)
	case f.Weight != nil:
		d.Weight = *f.Weight
	case weighed && f.Size == "":
		k.say("disk-weights", path)
	}
	return d
}

// partition answers whether a path of udev's is that of a part of a disk, or of
// what is on it (60-persistent-storage.rules of systemd).
func partition(path string) bool {
	for _, by := range []string{"uuid", "label", "partuuid", "partlabel", "designator"} {
		if strings.HasPrefix(path, "/dev/disk/by-"+by+"/") {
			return true
		}
	}
	cut := strings.LastIndex(path, "-part")
	return cut > 0 && path[cut+5:] != "" && strings.Trim(path[cut+5:], "0123456789") == ""
}

// worldwide answers whether a name holds a number that the maker gave to one
// disk only. virtio- is not among them: that serial is an operator's.
func worldwide(path string) bool {
	name := strings.TrimPrefix(path, "/dev/disk/by-id/")
	for _, prefix := range []string{"wwn-", "nvme-", "ata-", "scsi-", "eui."} {
		if name != path && strings.HasPrefix(name, prefix) && !strings.Contains(name, "QEMU") {
			return true
		}
	}
	return false
}
