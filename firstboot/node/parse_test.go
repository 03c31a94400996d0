package node

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func parseFile(t *testing.T, name string) *Description {
	t.Helper()
	data, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	d, err := Parse(name, data, "")
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func equal() cmp.Option { return cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{}) }

func standard() Settings {
	return Settings{
		Region:    "RegionOne",
		MariaDB:   MariaDBSettings{BufferPool: 256 << 20, GaleraCache: 128 << 20, MaxConnections: 1000},
		RabbitMQ:  RabbitMQSettings{Schedulers: 2, Memory: 512 << 20, Clients: ClientsVIP},
		Memcached: MemcachedSettings{Memory: 64 << 20},
		Keystone:  KeystoneSettings{Processes: 2, Threads: 4},
	}
}

func TestLab(t *testing.T) {
	settings := standard()
	settings.MariaDB.BufferPool, settings.MariaDB.MaxConnections = 64<<20, 200
	settings.Keystone = KeystoneSettings{Processes: 1, Threads: 2}
	want := Config{
		Cluster: "lab", Name: "ctl1", Role: Controller, VRID: 51,
		VIP: netip.MustParsePrefix("10.9.0.100/24"), Address: netip.MustParsePrefix("10.9.0.11/24"),
		Controllers:       []Member{{"ctl1", netip.MustParseAddr("10.9.0.11")}},
		SSHAuthorizedKeys: []string{"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0X9xqDBhYlbn0VhNcCrxV6sBTPTnPp2mJcQm5Vb3nI op@desk"},
		Settings:          settings, Secrets: map[string]Secret{"keystone/admin": NewSecret("correct-horse-battery")},
	}
	if d := cmp.Diff(want, parseFile(t, "lab.yaml").Config, equal()); d != "" {
		t.Error(d)
	}
}

func TestCloudConfig(t *testing.T) {
	d := parseFile(t, "cloud-config.yaml")
	want := Config{
		Cluster: "lab", Name: "stor1", Role: Storage, VRID: 7, Interface: "eth1",
		VIP: netip.MustParsePrefix("10.9.0.100/24"), Address: netip.MustParsePrefix("10.9.0.31/24"),
		Controllers:       []Member{{"ctl1", netip.MustParseAddr("10.9.0.11")}},
		StorageDevices:    []string{"/dev/vdb", "/dev/disk/by-id/virtio-data2"},
		SSHAuthorizedKeys: []string{"ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABAQC7 op@desk"},
		Settings:          standard(), Secrets: map[string]Secret{},
	}
	if d := cmp.Diff(want, d.Config, equal()); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{"packages", "runcmd"}, d.Ignored); d != "" {
		t.Error("ignored keys:", d)
	}
}

// TestNameFromMetaData: a description without a name takes the seed's host name.
func TestNameFromMetaData(t *testing.T) {
	text := change(t, "name: ctl1\n", "")
	if _, err := Parse("f", []byte(text), ""); err == nil || !strings.Contains(err.Error(), "the key name is missing") {
		t.Errorf("without any name: %v", err)
	}
	d, err := Parse("f", []byte(text), "ctl1")
	if err != nil || d.Config.Name != "ctl1" {
		t.Errorf("with a host name of meta-data: %v", err)
	}
}

// change returns the lab's description with one piece replaced.
func change(t *testing.T, old, now string) string {
	t.Helper()
	data, err := os.ReadFile("testdata/lab.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(data), old) {
		t.Fatalf("lab.yaml has no %q", old)
	}
	return strings.Replace(string(data), old, now, 1)
}

// TestProblems holds what is said about each mistake, and where.
func TestProblems(t *testing.T) {
	for _, c := range []struct{ old, now, want string }{
		{"cluster: lab", "clustr: lab", `f:1:1: the key cluster is missing` + "\n" + `f:3:1: unknown key "clustr"; did you mean "cluster"?`},
		{"cluster: lab", "cluster: Lab", `f:3:1: "Lab" does not fit: small letters, digits and inner dashes, a letter first, at most 32`},
		{"cluster: lab", "cluster: lab\ncluster: lab", `f:4:1: YAML: mapping key "cluster" already defined at [3:1]`},
		{"name: ctl1", "name: 7", `f:4:1: YAML reads this as something else than text; put it in quotes`},
		{"name: ctl1", "name:", `f:4:1: this key has no value; give one or leave the key out`},
		{"name: ctl1", "name: ctl9", `f:4:1: "ctl9" is a controller but is not among the controllers`},
		{"role: controller", "role: controler", `f:5:1: "controler" is not one of controller, compute, storage; did you mean "controller"?`},
		{"role: controller", "role: compute", `f:4:1: "ctl1" is the name of a controller, but this node is a compute`},
		{"vip: 10.9.0.100/24", "vip: 10.9.0.100", `f:6:1: "10.9.0.100" has no prefix length; write it as 192.0.2.10/24`},
		{"vip: 10.9.0.100/24", "vip: 10.9.1.100/24", `f:6:1: the virtual IP 10.9.1.100 is not in this node's network 10.9.0.0/24; a controller answers for it there`},
		{"vip: 10.9.0.100/24", "vip: 10.9.0.11/24", `f:6:1: the virtual IP 10.9.0.11 is also the address of ctl1; it must be free`},
		{"vip: 10.9.0.100/24", "vip: 10.9.0.255/24", `f:6:1: "10.9.0.255/24" is the first or last address of its network, which no machine can have`},
		{"vip: 10.9.0.100/24", "vip: fd00::1/64", `f:6:1: "fd00::1/64" is not an IPv4 address with a prefix length, such as 192.0.2.10/24`},
		{"vip: 10.9.0.100/24", "vip: 10.9.0.100/24\nvrid: 256", `f:7:1: 256 is not within 1 to 255`},
		{"vip: 10.9.0.100/24", "vip: 10.9.0.100/24\nvrid: 010", `f:7:1: this must be a whole number, in plain decimal digits`},
		{"address: 10.9.0.11/24", "address: 10.9.0.12/24", `f:7:1: this node's address is 10.9.0.12 here, but 10.9.0.11 in the list of controllers`},
		{"  - {name: ctl1, address: 10.9.0.11}", "  - {name: ctl1, address: 10.9.0.11}\n  - {name: ctl2, address: 10.9.0.12}", `f:8:1: 2 controllers: an even number survives no more losses than 1 would, and a split in halves stops it; use 1, 3 or 5`},
		{"  - {name: ctl1, address: 10.9.0.11}", "  - {name: ctl1, address: 10.9.0.11}\n  - {name: ctl2, address: 10.9.0.11}\n  - {name: ctl1, address: 10.9.0.13}", `f:10:18: 10.9.0.11 is also the address of ctl1` + "\n" + `f:11:6: "ctl1" is there twice`},
		{"  - {name: ctl1, address: 10.9.0.11}", "  - {name: ctl1, adress: 10.9.0.11}", `f:9:5: the controller has no address` + "\n" + `f:9:18: unknown key "adress"; did you mean "address"?`},
		{"controllers:\n  - {name: ctl1, address: 10.9.0.11}", "controllers: ctl1", `f:8:1: this must be a list: lines that begin with a dash, or [a, b]`},
		{"buffer_pool: 64MiB", "buffer_pool: 64MB", `f:13:13: "64MB" is not a size; write a whole number and KiB, MiB or GiB, such as 128MiB`},
		{"buffer_pool: 64MiB", "buffer_pool: 1MiB", `f:13:13: 1MiB is not within 32MiB to 1024GiB`},
		{"processes: 1", "processes: one", `f:14:14: this must be a whole number, in plain decimal digits`},
		{"  - ssh-ed25519", "  - ed25519", `f:11:5: this is not a line of authorized_keys, such as ` + "`ssh-ed25519 AAAA… name`"},
		{"secrets:\n", "secrets: &a\n", `f:15:1: anchors, aliases, merges and tags have no place here; write the value out`},
		{"#trivet/v1", "#trivet/v2", `f:1:1: this image reads #trivet/v1; the first line names another version`},
		{"#trivet/v1\n", "", `f:1:1: the first line must be #trivet/v1, or #cloud-config with a key trivet:; ` + accepted},
		{"#trivet/v1", "#cloud-config", `f:1:1: nothing says what this node is; ` + accepted},
	} {
		_, err := Parse("f", []byte(change(t, c.old, c.now)), "")
		if err == nil {
			err = fmt.Errorf("no error")
		}
		if d := cmp.Diff(c.want, err.Error()); d != "" {
			t.Errorf("%q for %q: %s", c.now, c.old, d)
		}
	}
}

func TestForms(t *testing.T) {
	for text, want := range map[string]string{
		"":                                      "f:1:1: the file is empty",
		"\n":                                    "f:1:1: the file is empty",
		"#trivet/v1\n":                          "f:1:1: the description is empty",
		"#!/bin/sh\n":                           "f:1:1: scripts are not run",
		"#include http://a\n":                   "f:1:1: other files are not fetched",
		"## template: jinja\n#cloud-config\n":   "f:1:1: templates are not filled in",
		"\x1f\x8b\x08":                          "f:1:1: the file is compressed",
		"#trivet/v1\na: \x00\n":                 "f:2:4: there is a zero byte",
		"#trivet/v1\na: b\n---\nc: d\n":         "f:4:1: a second YAML document begins; keep one",
		"#trivet/v1\n- a\n":                     "f:2:1: this must be a mapping",
		"#trivet/v1\na: [" + nest("[", 70):      "f:2:68: more than 64 brackets within brackets",
		"#trivet/v1\n" + nest("a", 1<<20):       "f: the file has",
		"#trivet/v1\n" + nest("a: b\n", 10_001): "f:10002:2: more than 10000 colons",
	} {
		_, err := Parse("f", []byte(text), "")
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%.20q: %.200v, want %s", text, err, want)
		}
	}
}

func nest(s string, n int) string { return strings.Repeat(s, n) }

func TestFit(t *testing.T) {
	d := parseFile(t, "lab.yaml")
	if err := d.Fit(Controller, []string{"keystone/db"}); err != nil {
		t.Errorf("a lab makes its own secrets: %v", err)
	}
	want := "lab.yaml:5:1: the description is for a controller, but this is the image of a compute; boot the other image, or give this node its own description"
	if err := d.Fit(Compute, nil); err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	three := change(t, "  - {name: ctl1, address: 10.9.0.11}", "  - {name: ctl1, address: 10.9.0.11}\n  - {name: ctl2, address: 10.9.0.12}\n  - {name: ctl3, address: 10.9.0.13}")
	d, err := Parse("f", []byte(three), "")
	if err != nil {
		t.Fatal(err)
	}
	want = "f:17:1: a cloud of 3 controllers shares its secrets; these are missing: keystone/db, rabbitmq/cookie"
	if err := d.Fit(Controller, []string{"keystone/admin", "keystone/db", "rabbitmq/cookie"}); err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}
