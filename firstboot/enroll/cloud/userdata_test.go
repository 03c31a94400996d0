package cloud

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"trivet/firstboot/node"
)

// described returns the clouds of the examples and of full.yaml.
func described(t *testing.T) map[string]Cloud {
	t.Helper()
	all := map[string]Cloud{}
	for name, path := range map[string]string{"lab": "lab.yaml", "three": "three.yaml", "full": "testdata/full.yaml"} {
		c, err := Read(path)
		if err != nil {
			t.Fatal(err)
		}
		all[name] = c
	}
	return all
}

const armor = "-----BEGIN AGE ENCRYPTED FILE-----\nYWdlLWVuY3J5cHRpb24ub3JnL3YxCi0+IFgyNTUxOSBub3QgYSByZWFsIG9uZQ\n-----END AGE ENCRYPTED FILE-----\n"

func equal() cmp.Option { return cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{}) }

// told is what a node is to understand of its user-data.
func told(c Cloud, n Node, extra Extra) node.Config {
	want := node.Config{
		Cluster: c.Name, Name: n.Name, Role: n.Role, VIP: c.VIP.Address, VRID: c.VIP.VRID, Address: n.Addresses[Management],
		Interface: c.device(n), SSHAuthorizedKeys: c.SSHAuthorizedKeys, NTP: c.NTP, Settings: c.Settings, Extra: c.Config,
		Secrets: map[string]node.Secret{}, Bundle: strings.TrimSpace(extra.Bundle), Generation: extra.Generation, Cleartext: len(extra.Secrets) > 0,
	}
	for _, m := range c.Controllers {
		want.Controllers = append(want.Controllers, node.Member{Name: m.Name, Address: m.Addresses[Management].Addr()})
	}
	for _, d := range n.Disks {
		want.StorageDevices = append(want.StorageDevices, d.Name)
	}
	for name, value := range extra.Secrets {
		want.Secrets[name] = node.NewSecret(value)
	}
	return want
}

// TestUserDataComesBack: a node reads from its user-data what the cloud says of
// it, with every kind of extra.
func TestUserDataComesBack(t *testing.T) {
	extras := map[string]Extra{
		"nothing":   {},
		"bundle":    {Bundle: armor, Generation: 3},
		"cleartext": {Secrets: map[string]string{"keystone/db": "correct-horse-battery", "galera": "12345678", "keystone/admin": "null~null"}, Generation: 1},
	}
	for name, c := range described(t) {
		for _, n := range c.Nodes() {
			for kind, extra := range extras {
				at := fmt.Sprintf("%s of %s with %s", n.Name, name, kind)
				data, err := c.UserData(n, extra)
				if err != nil {
					t.Fatalf("%s: %v", at, err)
				}
				again, err := c.UserData(n, extra)
				if err != nil || !bytes.Equal(data, again) {
					t.Errorf("%s: made twice it differs", at)
				}
				d, err := node.Parse("user-data", data, "")
				if err != nil {
					t.Fatalf("%s: %v\n%s", at, err, data)
				}
				if diff := cmp.Diff(told(c, n, extra), d.Config, equal(), cmpopts.EquateEmpty()); diff != "" {
					t.Errorf("%s (-want +got):\n%s", at, diff)
				}
			}
		}
	}
}

// TestGoldenNodes holds what nodes of the examples are told, to be read.
func TestGoldenNodes(t *testing.T) {
	for _, c := range described(t) {
		for _, n := range c.Nodes() {
			if n.Name == "ctl2" || n.Name == "ctl3" || n.Name == "stor2" || n.Name == "stor3" {
				continue
			}
			data, err := c.UserData(n, Extra{Bundle: armor, Generation: 1})
			if err != nil {
				t.Fatal(err)
			}
			base := filepath.Join("testdata", "nodes", c.Name+"-"+n.Name)
			golden(t, base+".user-data", string(data))
			golden(t, base+".network-config", string(c.NetworkConfig(n)))
		}
	}
}

// TestUserDataRefuses holds what no user-data is made of.
func TestUserDataRefuses(t *testing.T) {
	c := described(t)["lab"]
	for want, extra := range map[string]Extra{
		"exclude each other":             {Bundle: armor, Secrets: map[string]string{"a": "open-sesame"}},
		"is not the name of a secret":    {Secrets: map[string]string{"A B": "open-sesame"}},
		"has a character other than":     {Secrets: map[string]string{"a": "open sesame"}},
		"the secret has 4 characters":    {Secrets: map[string]string{"a": "open"}},
		"write the user-data of ctl1: a": {Secrets: map[string]string{"a": "\n"}},
	} {
		_, err := c.UserData(c.Controllers[0], extra)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "sesame") {
			t.Errorf("want %q, got %v", want, err)
		}
	}
}

// TestNetworkConfigIsRead: the node's reader takes every network-config, and
// finds every address and card in it.
func TestNetworkConfigIsRead(t *testing.T) {
	for name, c := range described(t) {
		for _, n := range c.Nodes() {
			data := c.NetworkConfig(n)
			network, err := node.ParseNetwork("network-config", data)
			if err != nil {
				t.Errorf("%s of %s: %v\n%s", n.Name, name, err, data)
				continue
			}
			at := map[netip.Prefix]bool{}
			routes := 0
			for _, l := range network.Links {
				for _, a := range l.Addresses {
					at[a] = true
				}
				routes += len(l.Routes)
			}
			for on, a := range n.Addresses {
				if !at[a] {
					t.Errorf("%s of %s: no link has its address %s on %s", n.Name, name, a, on)
				}
			}
			if c.routeOf(n) != "" && routes != 1 {
				t.Errorf("%s of %s: %d routes, not the one by its gateway", n.Name, name, routes)
			}
			if len(network.Ignored) > 0 {
				t.Errorf("%s of %s: the node ignores %v", n.Name, name, network.Ignored)
			}
		}
	}
}

// TestNoNetworkConfig: where nothing tells the card, DHCP is to answer.
func TestNoNetworkConfig(t *testing.T) {
	data, err := os.ReadFile("testdata/bad/card-unknown.yaml")
	if err != nil {
		t.Fatal(err)
	}
	c, err := Parse("f", data)
	if err != nil {
		t.Fatal(err)
	}
	if got := c.NetworkConfig(c.Controllers[0]); got != nil {
		t.Errorf("made of nothing:\n%s", got)
	}
}

// TestQuoted: whatever is written comes back as the text that it was.
func TestQuoted(t *testing.T) {
	for _, s := range []string{
		"no", "y", "~", "null", "1e3", "012", "0x1f", "-", "a: b", "a #b", "#", "'", `"`, "{", `a\b`, "<&>", "é", "10.0.0.1",
		"10.0.0.1/24", "1.5", "12e4", "1_0", "nan", ".inf", "a,b", "a]", " a", "a ", "%", "@a", "`", "=", "<<", "a:", "true", "0o7", "2001-01-01",
	} {
		d := newDocument("f")
		var f cloudFile
		if root := d.read(fmt.Appendf(nil, "region: %s\ndns: [%s, b]\nvip: {address: %s}", quoted(s), quoted(s), quoted(s))); root != nil {
			d.decodeRoot(root, &f)
		}
		if len(d.findings) > 0 || f.Region != s || len(f.DNS) != 2 || f.DNS[0] != s || f.VIP.Address != s {
			t.Errorf("%q is written as %s and read as %+v: %v", s, quoted(s), f, d.findings)
		}
	}
}
