package cloud

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// TestDiff: what an operator reads about a cloud that grows, gets a new network
// and loses a node.
func TestDiff(t *testing.T) {
	text, err := os.ReadFile("three.yaml")
	if err != nil {
		t.Fatal(err)
	}
	old, err := Parse("old.yaml", text)
	if err != nil {
		t.Fatal(err)
	}
	changed := string(text)
	for _, c := range [][2]string{
		{"address: 10.0.0.10\n", "address: 10.0.0.9\n"},
		{"gateway: 203.0.113.1, vlan: 20", "gateway: 203.0.113.254, vlan: 21"},
		{"storage: {cidr: 10.0.2.0/24}", "storage: {cidr: 10.0.2.0/24, mtu: 9000}"},
		{"management: 10.0.0.12, public: 203.0.113.12,", "management: 10.0.0.22, public: 203.0.113.12,"},
		{"serial: A1000002", "serial: A1000009"},
		{"- name: cmp1\n    identity: {uuid: 4c4c4544-0031-3510-8052-b4c04f4e4e31, macs: [\"0c:c4:7a:00:11:01\"]}\n    addresses: {management: 10.0.0.21, tunnel: 10.0.1.21}", "- name: cmp2\n    identity: {macs: [\"0c:c4:7a:00:12:01\"]}\n    addresses: {management: 10.0.0.23, tunnel: 10.0.1.22}"},
		{"/dev/disk/by-id/wwn-0x5000c500a1b2c304, size: 3726GiB", "/dev/disk/by-id/wwn-0x5000c500a1b2c3ff, size: 7452GiB"},
		{"weight: 3000", "weight: 1500"},
		{"zone: 3\n    rack: 3", "zone: 4\n    rack: 3"},
		{"replicas: 3", "replicas: 2"},
		{"dns: [10.0.0.2, 10.0.0.3]", "dns: [10.0.0.3, 10.0.0.4]"},
		{"operator@example", "somebody@example"},
		{"buffer_pool: 8GiB", "buffer_pool: 16GiB"},
		{"clients: vip", "clients: nodes"},
		{"expiration: 7200", "expiration: 3600"},
		{"    mariadbd: {innodb_io_capacity: 1000}\n", "    mysqld: {thread_cache_size: 50}\n"},
		{"mode: 802.3ad}\n    rack: 3", "mode: active-backup}\n    rack: 3"},
	} {
		if !strings.Contains(changed, c[0]) {
			t.Fatalf("three.yaml has no %q", c[0])
		}
		changed = strings.Replace(changed, c[0], c[1], 1)
	}
	now, err := Parse("new.yaml", []byte(changed))
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, c := range Diff(old, now) {
		fmt.Fprintln(&b, c)
	}
	golden(t, "testdata/diff.txt", b.String())
	if same := Diff(old, old); same != nil {
		t.Errorf("a cloud differs from itself: %v", same)
	}
	there, back := Diff(old, now), Diff(now, old)
	if len(there) != len(back) {
		t.Errorf("%d changes there and %d back", len(there), len(back))
	}
}
