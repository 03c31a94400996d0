package qemutests

import (
	"crypto/rand"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"trivet/firstboot/node"
	"trivet/qemu-tests/cluster"
	"trivet/roles"
)

// The addresses of the lab: each machine is alone with the tester in its own
// 10.0.2.0/24, so that every role may have the one that is forwarded best.
const (
	ownIP        = "10.0.2.15"
	virtualIP    = "10.0.2.100"
	controllerIP = "10.0.2.11" // for the other roles, which only name it
)

// A lab is a cloud of one controller, with new secrets for each test.
type lab struct {
	roles   map[string]roles.Role
	secrets map[string]string
}

func newLab(t testing.TB) lab {
	t.Helper()
	all, err := roles.LoadAll(filepath.Join(repository, "roles"))
	if err != nil {
		t.Fatal(err)
	}
	l := lab{roles: map[string]roles.Role{}, secrets: map[string]string{}}
	for _, r := range all {
		l.roles[r.Name] = r
		for _, s := range r.Services {
			for _, name := range s.Secrets {
				if l.secrets[name] == "" {
					l.secrets[name] = rand.Text() + rand.Text()
				}
			}
		}
	}
	return l
}

// nodeName is what the lab calls its only node of a role.
func nodeName(role string) string {
	return map[string]string{"controller": "ctl1", "compute": "cmp1", "storage": "sto1"}[role]
}

// dataDisk is where a guest finds the first data disk on a bus.
func dataDisk(bus cluster.Bus) string {
	return "/dev/disk/by-id/" + map[cluster.Bus]string{
		cluster.Virtio: "virtio-data1", cluster.NVMe: "nvme-QEMU_NVMe_Ctrl_data1", cluster.AHCI: "ata-QEMU_HARDDISK_data1",
	}[bus]
}

// seed is what a node of a role is told: a description that lets key in.
func (l lab) seed(role, key string, bus cluster.Bus) cluster.Seed {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("%s", node.Header)
	line("cluster: lab")
	line("name: %s", nodeName(role))
	line("role: %s", role)
	line("vip: %s/24", virtualIP)
	line("address: %s/24", ownIP)
	line("controllers:")
	if role == "controller" {
		line("  - {name: %s, address: %s}", nodeName(role), ownIP)
	} else {
		line("  - {name: ctl1, address: %s}", controllerIP)
	}
	if role == "storage" {
		line("storage:\n  devices: [%s]", dataDisk(bus))
	}
	line("ssh_authorized_keys:\n  - %s", key)
	if names := l.needed(role); len(names) > 0 {
		line("secrets:")
		for _, name := range names {
			line("  %s: %s", name, l.secrets[name])
		}
	}
	return cluster.Seed{
		UserData: b.String(),
		MetaData: fmt.Sprintf("instance-id: %s-1\nlocal-hostname: %s\n", nodeName(role), nodeName(role)),
		NetworkConfig: "version: 2\nethernets:\n  lan:\n    match: {name: \"en*\"}\n    addresses: [" + ownIP + "/24]\n" +
			"    gateway4: 10.0.2.2\n",
	}
}

// needed are the names of the secrets that a role's services declare, sorted.
func (l lab) needed(role string) []string {
	names := map[string]bool{}
	for _, s := range l.roles[role].Services {
		for _, name := range s.Secrets {
			names[name] = true
		}
	}
	return slices.Sorted(maps.Keys(names))
}

// TestSeedsAreRight parses the seeds with the agent's own reader: a boot test
// takes minutes to say the same.
func TestSeedsAreRight(t *testing.T) {
	l := newLab(t)
	for name, role := range l.roles {
		t.Run(name, func(t *testing.T) {
			s := l.seed(name, "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ+xyz qemu-tests", cluster.Virtio)
			d, err := node.Parse("user-data", []byte(s.UserData), nodeName(name))
			if err != nil {
				t.Fatal(err)
			}
			if d.Config.Role != role.Name || d.Config.Name != nodeName(name) {
				t.Errorf("the description is of %s, a %s; want %s, a %s", d.Config.Name, d.Config.Role, nodeName(name), role.Name)
			}
			if _, err := node.ParseNetwork("network-config", []byte(s.NetworkConfig)); err != nil {
				t.Error(err)
			}
			if _, err := s.Image(); err != nil {
				t.Error(err)
			}
		})
	}
}
