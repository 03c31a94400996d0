package qemutests

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"trivet/qemu-tests/cluster"
)

// How long a machine may take under KVM; cluster.Bound stretches it for
// emulation.
const (
	readyTime = 150 * time.Second
	stopTime  = 40 * time.Second
	shellTime = 10 * time.Second
	dataSize  = 2 << 30 // bytes of a storage node's data disk
)

// options are a machine of a role in the lab, that has all it needs.
func (l lab) options(c *cluster.Cluster, role string, bus cluster.Bus) cluster.NodeOptions {
	o := cluster.NodeOptions{
		Name: nodeName(role), Bus: bus, Seed: l.seed(role, c.AuthorizedKey(), bus),
		Memory: map[string]int{"controller": 5120, "compute": 2048, "storage": 2048}[role],
	}
	if role == "storage" {
		o.Data = []int64{dataSize}
	}
	for _, s := range l.roles[role].Services {
		for _, p := range s.Ports {
			switch {
			case p.Proto == "udp" || p.Name == "ssh":
			case p.VIP != "":
				o.Forward = append(o.Forward, cluster.Forward{IP: virtualIP, Port: p.Number})
			default:
				o.Forward = append(o.Forward, cluster.Forward{Port: p.Number})
			}
		}
	}
	return o
}

// An identity is what makes a machine the same one after a boot.
type identity struct{ MachineID, HostKey, Name string }

var machineID = regexp.MustCompile(`^[0-9a-f]{32}$`)

// whoIs asks a ready node who it is.
func whoIs(t *testing.T, n *cluster.Node) identity {
	t.Helper()
	id := identity{MachineID: strings.TrimSpace(n.Run(shellTime, "cat /etc/machine-id"))}
	id.HostKey, id.Name = n.HostKey(), strings.TrimSpace(n.Run(shellTime, "cat /proc/sys/kernel/hostname"))
	if !machineID.MatchString(id.MachineID) || id.HostKey == "" {
		t.Errorf("the node's identity is %+v, want a machine-id of 32 hex digits and a host key", id)
	}
	return id
}

// checkUnits fails the test for every unit that systemd calls failed.
func checkUnits(t *testing.T, n *cluster.Node) {
	t.Helper()
	if failed := strings.TrimSpace(n.Run(shellTime, "systemctl --failed --plain --no-legend")); failed != "" {
		t.Errorf("units failed:\n%s", failed)
	}
}

// checkSealed looks whether the root is the verified device, mounted read-only,
// and whether /etc forgets and /var keeps.
func checkSealed(t *testing.T, n *cluster.Node) {
	t.Helper()
	mounts := n.Run(shellTime, "cat /proc/self/mounts")
	for _, want := range []string{
		`(?m)^/dev/(mapper/\S+|dm-\d+) / (squashfs|erofs) ro[, ]`,
		`(?m)^\S+ /etc overlay `,
		`(?m)^/dev/\S+ /var ext4 rw[, ]`,
	} {
		if !regexp.MustCompile(want).MatchString(mounts) {
			t.Errorf("no mount like %s:\n%s", want, mounts)
		}
	}
	if out := n.Run(shellTime, "touch /usr/x 2>&1 || true"); !strings.Contains(out, "Read-only file system") {
		t.Errorf("touch /usr/x: %q, want that the file system is read-only", out)
	}
}

// tableScript prints name, start, size and the disk's size of each partition,
// in units of 512 bytes, from sysfs, and the name from udev, which reads it from
// the disk: the kernel knows no name of a partition that was added to a disk in use.
const tableScript = `cd /sys/class/block && for p in */partition; do d=$(dirname $p)
echo $(udevadm info --query=property --property=ID_PART_ENTRY_NAME --value $d) $(cat $d/start $d/size $d/../size); done`

// checkDisk looks at the partitions that systemd-repart made on the first boot,
// and at the room that Ironic's config drive needs (64 MiB at the disk's end).
func checkDisk(t *testing.T, n *cluster.Node) {
	t.Helper()
	type row struct {
		name              string
		start, size, disk int64
	}
	var rows []row
	out := n.Run(shellTime, tableScript)
	for line := range strings.Lines(out) {
		var r row
		if got, _ := fmt.Sscan(line, &r.name, &r.start, &r.size, &r.disk); got == 4 {
			rows = append(rows, r)
		}
	}
	slices.SortFunc(rows, func(a, b row) int { return cmp.Compare(a.start, b.start) })
	var names []string
	for _, r := range rows {
		names = append(names, r.name)
	}
	want := []string{"ESP", "root-a", "verity-a", "root-b", "verity-b", "var"}
	if diff := gocmp.Diff(want, names); diff != "" {
		t.Fatalf("partitions in the order of the disk (-want +got):\n%s\n%s", diff, out)
	}
	last := rows[len(rows)-1]
	if free := (last.disk - last.start - last.size) * 512; free < 64<<20 || free > 66<<20 {
		t.Errorf("%d bytes are free at the end of the disk, want 64 MiB and little more", free)
	}
}

func TestBootComputeToReady(t *testing.T) {
	c, l := machines(t, "compute"), newLab(t)
	n := c.AddNode("compute", l.options(c, "compute", cluster.Virtio))
	n.Start()
	n.WaitReady(readyTime)
	checkUnits(t, n)
	checkSealed(t, n)
	if out := n.Run(shellTime, "virsh --connect qemu:///system version"); !strings.Contains(out, "Running hypervisor: QEMU") {
		t.Errorf("virsh version: %q, want a running QEMU", out)
	}
	if out := n.Run(shellTime, "ovs-vsctl get open . external-ids"); !strings.Contains(out, "ovn-remote") {
		t.Errorf("Open vSwitch's external-ids are %q, want OVN's among them", out)
	}
	if out := n.Run(shellTime, "ovs-vsctl br-exists br-int && systemctl is-active ovn-controller.service"); strings.TrimSpace(out) != "active" {
		t.Errorf("ovn-controller is %q, want it active, with its bridge br-int", out)
	}
	n.Stop(stopTime)
}
