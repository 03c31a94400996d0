package node

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const network = `version: 2
ethernets:
  mgmt:
    match: {macaddress: "52:54:00:AA:00:01"}
    set-name: mgmt0
    dhcp4: false
    addresses: [10.9.0.11/24]
    gateway4: 10.9.0.1
    routes:
      - {to: 192.0.2.0/24, via: 10.9.0.2, metric: 5, on-link: true}
    nameservers: {addresses: [10.9.0.1, "fd00::1"], search: [lab.test]}
    mtu: 9000
  eth1:
    dhcp4: true
    optional: true
`

func TestNetwork(t *testing.T) {
	want := Network{Links: []Link{
		{ID: "eth1", DHCP4: true, Optional: true},
		{
			ID: "mgmt", MAC: "52:54:00:aa:00:01", Name: "mgmt0", MTU: 9000,
			Addresses: []netip.Prefix{netip.MustParsePrefix("10.9.0.11/24")},
			Routes: []Route{
				{To: netip.MustParsePrefix("0.0.0.0/0"), Via: netip.MustParseAddr("10.9.0.1")},
				{To: netip.MustParsePrefix("192.0.2.0/24"), Via: netip.MustParseAddr("10.9.0.2"), Metric: 5, OnLink: true},
			},
			Nameservers: []netip.Addr{netip.MustParseAddr("10.9.0.1"), netip.MustParseAddr("fd00::1")},
			Search:      []string{"lab.test"},
		},
	}}
	for _, text := range []string{network, "network:\n" + indent(network)} {
		got, err := ParseNetwork("n", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, got, equal()); d != "" {
			t.Error(d)
		}
	}
}

func indent(s string) string {
	out := ""
	for i, c := range s {
		if i == 0 || s[i-1] == '\n' {
			out += "  "
		}
		out += string(c)
	}
	return out
}

func TestNetworkProblems(t *testing.T) {
	const eth = "version: 2\nethernets:\n  eth0:\n"
	for text, want := range map[string]string{
		"":                                  "n:1:1: the file is empty; leave it out to have DHCP on every card",
		"version: 2":                        "n:1:1: there are no ethernets; leave the file out to have DHCP on every card",
		"version: 1\nconfig: []":            "n:1:1: only version 2 of network-config is read; write version: 2 with ethernets:",
		"config: []":                        "n:1:1: only version 2 of network-config is read; write version: 2 with ethernets:",
		"network:\n  version: 1":            "n:2:3: only version 2 of network-config is read; write version: 2 with ethernets:",
		"version: 2\nbonds: {}":             "n:1:1: there are no ethernets; leave the file out to have DHCP on every card\nn:2:1: unknown key \"bonds\"",
		"[]":                                "n:1:1: this must be a mapping: keys with a colon and their values",
		eth + "    dhcp: true":              `n:4:5: unknown key "dhcp"; did you mean "dhcp4"?`,
		eth + "    dhcp4: yes":              "n:4:5: this must be true or false",
		eth + "    addresses: [10.0.0.1]":   `n:4:17: "10.0.0.1" has no prefix length; write it as 192.0.2.10/24`,
		eth + "    gateway4: 10.0.0":        `n:4:5: "10.0.0" is not an IPv4 address`,
		eth + "    set-name: lan0":          "n:4:5: set-name needs match with a macaddress, which says which card is meant",
		eth + "    match: {macaddress: 12}": "n:4:13: YAML reads this as something else than text; put it in quotes",
		eth + "    match: {name: \"a b\"}":  `n:4:13: "a b" is not the name of a card, nor a pattern of it with * and ?`,
		eth + "    mtu: 100":                "n:4:5: 100 is not within 576 to 65535",
		eth + "    nameservers: {search: [\"a\\n[Route]\"]}":            `n:4:28: "a\n[Route]" is not a domain`,
		eth + "    gateway4: 10.0.0.1\n  eth1:\n    gateway4: 10.0.0.2": "n:2:1: 2 default routes have no metric; keep one, or order them with metric",
	} {
		_, err := ParseNetwork("n", []byte(text))
		if err == nil {
			t.Errorf("%q was taken", text)
		} else if d := cmp.Diff(want, err.Error()); d != "" {
			t.Errorf("%q: %s", text, d)
		}
	}
}

func FuzzParseNetwork(f *testing.F) {
	f.Add([]byte(network))
	f.Add([]byte("network: {version: 2, ethernets: {eth0: {dhcp4: true}}}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		n, err := ParseNetwork("n", data)
		if err == nil && len(n.Links) == 0 {
			t.Error("a network without links was taken")
		}
	})
}
