package cloud

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"trivet/firstboot/node"
)

// FuzzParse: whatever a file holds, it is read without a panic, every finding
// has its place and its check, and what is taken makes user-data and
// network-configs that nodes take.
func FuzzParse(f *testing.F) {
	files, err := filepath.Glob("testdata/bad/*.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range append(files, "lab.yaml", "three.yaml", "testdata/full.yaml", "testdata/many.yaml") {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	known := map[string]bool{}
	for _, c := range Checks() {
		known[c.ID] = true
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		_, findings := Examine("f", data)
		for _, finding := range findings {
			if finding.Line < 1 || finding.Column < 1 || finding.Message == "" || !known[finding.ID] {
				t.Errorf("%+v", finding)
			}
		}
		c, err := Parse("f", data)
		var problems node.Problems
		if err != nil && !errors.As(err, &problems) {
			t.Fatalf("%v is not node.Problems", err)
		}
		if failed := slices.ContainsFunc(findings, func(f Finding) bool { return f.Severity == Error }); failed != (err != nil) {
			t.Fatalf("Examine: %v, Parse: %v", findings, err)
		}
		if err != nil {
			return
		}
		taken(t, c)
		if changes := Diff(c, c); changes != nil {
			t.Errorf("a cloud differs from itself: %v", changes)
		}
	})
}

// taken shows that every node takes what is made for it, and understands it.
func taken(t *testing.T, c Cloud) {
	t.Helper()
	for _, n := range c.Nodes() {
		text, err := c.UserData(n, Extra{Generation: 1})
		if err != nil {
			t.Fatal(err)
		}
		d, err := node.Parse("user-data", text, "")
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		if diff := cmp.Diff(told(c, n, Extra{Generation: 1}), d.Config, equal(), cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("%s\n%s", diff, text)
		}
		if network := c.NetworkConfig(n); network != nil {
			if _, err := node.ParseNetwork("network-config", network); err != nil {
				t.Fatalf("%v\n%s", err, network)
			}
		}
	}
}

// FuzzValues puts words where an operator does. What is taken here, nodes take.
func FuzzValues(f *testing.F) {
	f.Add("acme", "ctl1", "eno1", "bond0", "A1", "debug", "true", "ntp.example.org", "a@b", "cloud.yaml", uint16(20), uint16(1500))
	f.Add("no", "y", "vlan20", "management", "0x1", "a.b", "'\"#:", "::1", "null # x", "a\nb: c", uint16(20), uint16(600))
	f.Add("true", "e1e3", "storage", "vlan20", "{}", "1", "\u00e9", "1.5e3.org", "\\", "\u0085", uint16(4094), uint16(9000))
	f.Add("a", "b", "0c:c4:7a:00:00:02", "on", "n/a1", "x/y:z", "[a]", "a1", "`", "", uint16(1), uint16(576))
	f.Fuzz(func(t *testing.T, name, host, card, bond, serial, option, value, ntp, comment, file string, vlan, mtu uint16) {
		text, err := yaml.Marshal(map[string]any{
			"name": name, "vip": map[string]any{"address": "10.0.0.10"},
			"networks": map[string]any{
				"management": map[string]any{"cidr": "10.0.0.0/24", "gateway": "10.0.0.1", "mtu": 9000},
				"storage":    map[string]any{"cidr": "10.0.1.0/24", "vlan": int(vlan), "mtu": int(mtu)},
				"tunnel":     map[string]any{"cidr": "10.0.2.0/24", "mtu": int(mtu)},
			},
			"controllers": []any{map[string]any{
				"name": host, "identity": map[string]any{"serial": serial, "macs": []string{"0c:c4:7a:00:00:01"}},
				"addresses":  map[string]any{"management": "10.0.0.11", "storage": "10.0.1.11", "tunnel": "10.0.2.11"},
				"interfaces": map[string]any{"storage": card, "tunnel": bond},
				"bonds":      []any{map[string]any{"name": bond, "cards": []string{"eno3", "0c:c4:7a:00:00:03"}}},
			}},
			"ntp":                 []string{ntp},
			"ssh_authorized_keys": []string{"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0X9xqDBhYlbn0VhNcCrxV6sBTPTnPp2mJcQm5Vb3nI " + comment},
			"config":              map[string]any{"keystone": map[string]any{"DEFAULT": map[string]any{option: value}}},
		})
		if err != nil {
			t.Skip(err)
		}
		if c, err := Parse(file, text); err == nil {
			taken(t, c)
		}
	})
}
