package seed

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"trivet/firstboot/node"
)

// dataFile is OpenStack's network_data.json (Nova's "Metadata service"
// documentation and doc/api_schemas/network_data.json).
type dataFile struct {
	Links    []map[string]any `json:"links"`
	Networks []dataNetwork    `json:"networks"`
	Services []dataService    `json:"services"`
}

type dataNetwork struct {
	ID      string        `json:"id"`
	Type    string        `json:"type"` // ipv4, ipv6, ipv4_dhcp or ipv6_dhcp
	Link    string        `json:"link"`
	Address string        `json:"ip_address,omitempty"`
	Netmask string        `json:"netmask,omitempty"`
	Routes  []dataRoute   `json:"routes,omitempty"`
	DNS     []dataService `json:"services,omitempty"`
}

type dataRoute struct {
	Network string `json:"network"`
	Netmask string `json:"netmask"`
	Gateway string `json:"gateway"`
}

type dataService struct {
	Type    string `json:"type"`
	Address string `json:"address"`
}

// networkData writes a network-config as network_data.json: cards, bonds and
// VLANs with addresses, DHCP, routes, DNS and MTU. What is written is read again
// as a node does; if that is not the same network, there is something in it that
// network_data.json cannot say, and that is an error.
func networkData(config []byte) ([]byte, error) {
	want, err := node.ParseNetwork("network-config", config)
	if err != nil {
		return nil, err
	}
	f := dataFile{Links: []map[string]any{}, Networks: []dataNetwork{}, Services: []dataService{}}
	for _, l := range want.Links {
		f.Links = append(f.Links, dataLink(l))
		f.Networks = append(f.Networks, dataNetworks(l, len(f.Networks))...)
	}
	data, err := marshal(f)
	if err != nil {
		return nil, err
	}
	got, err := node.ParseNetworkData("network_data.json", data)
	if err != nil {
		return nil, fmt.Errorf("network_data.json cannot say what the network-config does (%w); use a NoCloud format", err)
	}
	if link, same := sameNetwork(want, got); !same {
		return nil, fmt.Errorf("network_data.json cannot say all that the network-config does about %s; use a NoCloud format", link)
	}
	return data, nil
}

// dataLink writes a link. The key name is in no schema; the agent and cloud-init
// take it, and without it nobody could tell a bond's name.
func dataLink(l node.Link) map[string]any {
	out := map[string]any{"id": l.ID, "type": "phy"}
	if l.MTU > 0 {
		out["mtu"] = l.MTU
	}
	switch l.Kind {
	case node.Bond:
		out["type"], out["name"], out["bond_links"] = "bond", l.ID, l.Members
		for _, p := range l.Params {
			key, value := bondParam(p)
			out[key] = value
		}
	case node.VLAN:
		out["type"], out["name"], out["vlan_id"], out["vlan_link"] = "vlan", l.ID, l.VLAN.Number, l.VLAN.Link
	case node.Card:
		if l.MAC != "" {
			out["ethernet_mac_address"] = l.MAC
		} else {
			out["name"] = l.ID
		}
		if l.Name != "" {
			out["name"] = l.Name
		}
	}
	return out
}

// bondParam names a parameter as Nova and ifenslave(8) do.
func bondParam(p node.Param) (key string, value any) {
	name := p.Name
	switch name {
	case "mii-monitor-interval":
		name = "miimon"
	case "transmit-hash-policy":
		name = "xmit-hash-policy"
	}
	key = "bond_" + strings.ReplaceAll(name, "-", "_")
	if ms, err := strconv.Atoi(strings.TrimSuffix(p.Value, "ms")); err == nil {
		return key, ms
	}
	return key, p.Value
}

// dataNetworks writes the networks of a link; routes and DNS go with its first.
func dataNetworks(l node.Link, before int) []dataNetwork {
	var all []dataNetwork
	add := func(kind string, address netip.Prefix) {
		n := dataNetwork{ID: fmt.Sprintf("network%d", before+len(all)), Type: kind, Link: l.ID}
		if address.IsValid() {
			n.Address, n.Netmask = address.Addr().String(), netmask(address)
		}
		all = append(all, n)
	}
	if l.DHCP4 {
		add("ipv4_dhcp", netip.Prefix{})
	}
	if l.DHCP6 {
		add("ipv6_dhcp", netip.Prefix{})
	}
	for _, a := range l.Addresses {
		if a.Addr().Is4() {
			add("ipv4", a)
		} else {
			add("ipv6", a)
		}
	}
	if len(all) == 0 {
		return nil
	}
	for _, r := range l.Routes {
		all[0].Routes = append(all[0].Routes, dataRoute{r.To.Addr().String(), netmask(r.To), r.Via.String()})
	}
	for _, a := range l.Nameservers {
		all[0].DNS = append(all[0].DNS, dataService{"dns", a.String()})
	}
	return all
}

// netmask is 255.255.255.0 for /24.
func netmask(p netip.Prefix) string {
	return net.IP(net.CIDRMask(p.Bits(), p.Addr().BitLen())).String()
}

// sameNetwork compares what two files say, or names a link that differs.
func sameNetwork(a, b node.Network) (link string, same bool) {
	if len(a.Links) != len(b.Links) {
		return "the number of links", false
	}
	one, two := comparableLinks(a.Links), comparableLinks(b.Links)
	for i := range one {
		// Version 2 leaves router advertisements to networkd, if it says nothing;
		// network_data.json takes them with DHCP and leaves them without.
		if one[i].AcceptRA == nil {
			two[i].AcceptRA = nil
		}
		if !reflect.DeepEqual(one[i], two[i]) {
			return one[i].ID, false
		}
	}
	return "", true
}

// comparableLinks sorts links and takes out of them how their form was written.
func comparableLinks(links []node.Link) []node.Link {
	out := slices.Clone(links)
	called := map[string]string{} // a card that gets a name is called by it
	for _, l := range links {
		called[l.ID] = cmp.Or(l.Name, l.ID)
	}
	for i := range out {
		l := &out[i]
		l.ID, l.VLAN.Link, l.Port.Of = called[l.ID], called[l.VLAN.Link], called[l.Port.Of]
		l.Members = slices.Clone(l.Members)
		for j, id := range l.Members {
			l.Members[j] = called[id]
		}
		if l.Kind == node.Card && l.MAC == "" && l.Match == l.ID {
			l.Match = ""
		}
		l.Addresses, l.Routes = slices.Clone(l.Addresses), slices.Clone(l.Routes)
		slices.SortFunc(l.Addresses, func(a, b netip.Prefix) int { return a.Compare(b) })
		slices.SortFunc(l.Routes, func(a, b node.Route) int { return a.To.Compare(b.To) })
		l.DHCPv4.Metric, l.DHCPv6.Metric = 0, 0 // counted by the order of the links
	}
	slices.SortFunc(out, func(a, b node.Link) int { return cmp.Compare(a.ID, b.ID) })
	return out
}
