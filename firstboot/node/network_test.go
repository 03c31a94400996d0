package node

import (
	"net/netip"
	"strings"
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
		{ID: "eth1", DHCP4: true, DHCPv4: Lease{Metric: 100}, Optional: true},
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

const eth = "version: 2\nethernets:\n  eth0:\n"

func TestNetworkProblems(t *testing.T) {
	complaints(t, ParseNetwork, map[string]string{
		"":                                       "n:1:1: the file is empty; leave it out to have DHCP on every card",
		"version: 2":                             "n:1:1: there are no ethernets; leave the file out to have DHCP on every card",
		"ethernets: {}":                          "n:1:1: the key version is missing; write version: 2, or version: 1 with config:",
		"version: 3":                             "n:1:1: versions 1 and 2 of network-config are read",
		"version: [2]":                           "n:1:1: this must be one value, such as a word or a number",
		"network:\n  version: 2":                 "n:1:1: there are no ethernets; leave the file out to have DHCP on every card",
		"[]":                                     "n:1:1: this must be a mapping: keys with a colon and their values",
		"version: 2\nwifis: {}":                  "n:1:1: there are no ethernets; leave the file out to have DHCP on every card\nn:2:1: unknown key \"wifis\"",
		eth + "    dhcp: true":                   `n:4:5: unknown key "dhcp"; did you mean "dhcp4"?`,
		eth + "    dhcp4: maybe":                 "n:4:5: this must be true or false",
		eth + "    dhcp4:":                       "n:4:5: this key has no value; give one or leave the key out",
		eth + "    dhcp4: true\n    dhcp4: true": `n:5:5: YAML: mapping key "dhcp4" already defined at [4:5]`,
		eth + "    addresses: [10.0.0.1]":        `n:4:17: "10.0.0.1" has no prefix length; write it as 192.0.2.10/24`,
		eth + "    addresses: [\"fd00::1\"]":     `n:4:17: "fd00::1" has no prefix length; write it as 2001:db8::10/64`,
		eth + "    addresses: [fd00::1/64, fd00::1/64]":                 "n:3:3: the address fd00::1/64 is there twice",
		eth + "    gateway4: 10.0.0":                                    `n:4:5: "10.0.0" is not an IPv4 address`,
		eth + "    gateway6: 10.0.0.1":                                  `n:4:5: "10.0.0.1" is not an IPv6 address`,
		eth + "    set-name: lan0":                                      "n:4:5: set-name needs match with a macaddress, which says which card is meant",
		eth + "    match: {macaddress: 12}":                             `n:4:13: "12" is not a MAC address such as 52:54:00:12:34:56`,
		eth + "    match: {name: \"a b\"}":                              `n:4:13: "a b" is not the name of a card, nor a pattern of it with * and ?`,
		eth + "    match: {driver: [\"!x\"]}":                           `n:4:22: "!x" is not the name of a driver, nor a pattern of it with * and ?`,
		eth + "    mtu: 100":                                            "n:4:5: 100 is not within 576 to 65535",
		eth + "    mtu: jumbo":                                          "n:4:5: this must be a whole number, in plain decimal digits",
		eth + "    renderer: NetworkManager":                            `n:4:5: "NetworkManager": the node's networks are run by networkd`,
		eth + "    link-local: [ipv5]":                                  `n:4:18: "ipv5" is not one of ipv4, ipv6; did you mean "ipv4"?`,
		eth + "    dhcp4-overrides: {use-domains: perhaps}":             "n:4:23: this must be true, false or route",
		eth + "    routes: [{to: default}]":                             "n:4:14: the route has no gateway; give via, or scope: link if none is needed",
		eth + "    routes: [{to: 10.0.0.0/8, via: fe80::1}]":            "n:4:14: the route to 10.0.0.0/8 cannot go by fe80::1: one is IPv4, the other IPv6",
		eth + "    routes: [{to: there, via: 10.0.0.1}]":                `n:4:15: "there" is neither default nor a network such as 192.0.2.0/24`,
		eth + "    routing-policy: [{table: 5}]":                        "n:4:22: the rule chooses nothing; give from or to",
		eth + "    nameservers: {search: [\"a\\x01[Route]\"]}":          `n:4:28: "a\x01[Route]" is not a domain`,
		eth + "    gateway4: 10.0.0.1\n  eth1:\n    gateway4: 10.0.0.2": "n:5:3: eth0 and eth1 both have a default route, and none has a metric; keep one, or order them with metric",
		"{\"version\": 2, \"ethernets\": {\"eth0\": {\n\t\"mtu\": 1}}}": "n:2:2: 1 is not within 576 to 65535",
		eth + "    <<: *secret":                                         "n:4:5: this is not a plain key with a value",
	})
}

func TestNetworkProblemsOfStacks(t *testing.T) {
	complaints(t, ParseNetwork, map[string]string{
		eth + "    dhcp4: true\nbonds: {bond0: {interfaces: [eth0]}}":                            "n:3:3: eth0 is a port of bond0, so it can have no addresses or routes; give them to bond0",
		eth + "    {}\nbonds: {bond0: {interfaces: [eth1]}}":                                     `n:5:30: there is no link "eth1"; did you mean "eth0"?; describe the card among the others`,
		eth + "    {}\nbonds: {b0: {interfaces: [eth0]}, b1: {interfaces: [eth0]}}":              `n:5:53: "eth0" is a port of b0 already`,
		eth + "    {}\nbonds: {b0: {interfaces: [eth0], parameters: {mode: lacp}}}":              `n:5:47: "lacp" is not one of balance-rr, active-backup, balance-xor, broadcast, 802.3ad, balance-tlb, balance-alb`,
		eth + "    {}\nbonds: {b0: {interfaces: [eth0], parameters: {mod: 1}}}":                  `n:5:47: unknown key "mod"; did you mean "mode"?`,
		eth + "    {}\nbonds: {b0: {interfaces: [eth0], parameters: {up-delay: soon}}}":          `n:5:47: "soon" is not a time, such as 100ms or 2s`,
		eth + "    {}\nbonds: {b0: {interfaces: [eth0], parameters: {primary: eth1}}}":           `n:5:47: "eth1" is not among the interfaces of b0; did you mean "eth0"?`,
		eth + "    {}\nbridges: {br0: {interfaces: [br1]}, br1: {interfaces: [br0]}}":            `n:5:11: "br0" stands on itself: its links form a circle`,
		eth + "    {}\nbridges: {br0: {interfaces: [eth0], parameters: {path-cost: {eth0: 0}}}}": "n:5:62: 0 is not within 1 to 65535",
		eth + "    {}\nvlans: {v1: {id: 1, link: eth1}}":                                         `n:5:21: there is no link "eth1"; did you mean "eth0"?; describe the one below among the others`,
		eth + "    {}\nvlans: {v1: {id: 4095, link: eth0}}":                                      "n:5:14: 4095 is not within 1 to 4094",
		eth + "    {}\nvlans: {v1: {id: 1, link: eth0}, v2: {id: 1, link: eth0}}":                "n:5:34: v1 and v2 are both VLAN 1 on eth0",
		eth + "    {}\nvlans: {a-name-that-is-too-long: {id: 1, link: eth0}}":                    `n:5:9: "a-name-that-is-too-long" is not the name of a network interface, such as eth0, of at most 15 letters`,
	})
}

func TestNetworkProblemsOfVersion1(t *testing.T) {
	const one = "version: 1\nconfig:\n"
	complaints(t, ParseNetwork, map[string]string{
		one + "- {type: physical}":                                        "n:3:3: the physical has no name",
		one + "- {name: eth0}":                                            "n:3:3: the entry has no type; give physical, bond, bridge, vlan, nameserver or route",
		one + "- {type: phisical, name: eth0}":                            `n:3:4: "phisical" is not one of physical, infiniband, loopback, bond, bridge, vlan, nameserver, route; did you mean "physical"?`,
		one + "- {type: physical, name: eth0, subnet: []}":                `n:3:32: unknown key "subnet"; did you mean "subnets"?`,
		one + "- {type: physical, name: eth0, subnets: [{type: dhcp5}]}":  `n:3:43: the type is not one of dhcp, dhcp4, dhcp6, static, static6, manual, ipv6_dhcpv6-stateful, ipv6_dhcpv6-stateless, ipv6_slaac; did you mean "dhcp"?`,
		one + "- {type: physical, name: eth0, subnets: [{type: static}]}": "n:3:42: the subnet is static but has no address",
		one + "- {type: physical, name: eth0, subnets: [{type: static, address: 10.0.0.1, netmask: 255.0.255.0}]}": `n:3:76: "255.0.255.0" is not a network mask for 10.0.0.1, such as 255.255.255.0 or 24`,
		one + "- {type: physical, name: eth0}\n- {type: nameserver, address: x, interface: eth1}":                  `n:4:34: there is no link "eth1"`,
		one + "- {type: physical, name: eth0}\n- {type: physical, name: eth0}":                                     `n:4:3: "eth0" is there twice; give one of the two another name`,
		one + "- {type: physical, name: eth0}\n- {type: route, destination: 10.0.0.0/8, gateway: 10.0.0.1}":        "n:4:3: no link has an address by which the gateway 10.0.0.1 can be reached",
	})
}

// complaints parses each text and compares what is said about it.
func complaints(t *testing.T, parse func(string, []byte) (Network, error), all map[string]string) {
	t.Helper()
	for text, want := range all {
		_, err := parse("n", []byte(text))
		if err == nil {
			t.Errorf("%q was taken", text)
		} else if d := cmp.Diff(want, err.Error()); d != "" {
			t.Errorf("%q: %s", text, d)
		}
	}
}

// TestNetworkDataProblems: the file is JSON of one line, mostly.
func TestNetworkDataProblems(t *testing.T) {
	const link = `{"links": [{"id": "a", "type": "phy", "ethernet_mac_address": "52:54:00:00:00:01"}], `
	complaints(t, ParseNetworkData, map[string]string{
		"":                                 "n:1:1: the file ends within its JSON value; a part of it is missing",
		"{":                                "n:1:2: the file ends within its JSON value; a part of it is missing",
		"links: []":                        "n:1:2: this is not JSON that can be read; check brackets, quotes and commas here",
		"{} {}":                            "n:1:3: there is more after the end of the JSON value",
		"[]":                               "n:1:1: this must be a mapping: keys with a colon and their values",
		`{"links": {}}`:                    "n:1:2: this must be a list: lines that begin with a dash, or [a, b]",
		`{"links": [{"id": 1}]}`:           "n:1:12: the link has neither ethernet_mac_address nor name, so that nobody can tell which card is meant",
		"{\"links\": [],\n \"links\": []}": "n:2:2: this key is there twice; keep one",
		`{"links": [{"id": "a", "type": "phy", "ethernet_mac_address": "52"}]}`:                         `n:1:39: "52" is not a MAC address such as 52:54:00:12:34:56`,
		link + `"networks": [{"type": "ipv4_dhcp", "link": "b"}]}`:                                      `n:1:121: there is no link "b"`,
		link + `"networks": [{"type": "ipv5", "link": "a"}]}`:                                           `n:1:100: the type is not one of ipv4, ipv6, ipv4_dhcp, ipv6_dhcp, ipv6_slaac, ipv6_dhcpv6-stateful, ipv6_dhcpv6-stateless; did you mean "ipv4"?`,
		link + `"networks": [{"type": "ipv4", "link": "a", "ip_address": "10.0.0.1"}]}`:                 `n:1:129: "10.0.0.1" has no prefix length; write it as 192.0.2.10/24`,
		link + `"networks": [{"type": "ipv4", "link": "a", "ip_address": "10.0.0.1", "netmask": "x"}]}`: `n:1:155: "x" is not a network mask for 10.0.0.1, such as 255.255.255.0 or 24`,
		`{"links": [{"id": "b", "type": "bond", "bond_links": ["c"], "bond_mode": "9"}]}`:               `n:1:61: "9" is not one of balance-rr, active-backup, balance-xor, broadcast, 802.3ad, balance-tlb, balance-alb`,
		strings.Repeat(`{"a":`, 70): "n:1:321: more than 64 brackets within brackets",
	})
	n, err := ParseNetworkData("n", []byte(`{"links": [], "networks": [], "services": []}`))
	if err != nil || len(n.Links) != 0 {
		t.Errorf("a machine without networks: %+v %v", n, err)
	}
}
