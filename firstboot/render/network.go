package render

import (
	"fmt"
	"strings"

	"trivet/firstboot/node"
)

// NetworkFolder holds networkd's files. It is below /run, so that nothing of an
// earlier boot is in it.
const NetworkFolder = "/run/systemd/network"

// defaultNetwork asks for an address on every real network card: what a machine
// does whose description says nothing of networks. Kind=!* leaves out bridges,
// tunnels and their like (systemd.network(5)). In a container the card is the
// end of a veth, which is of a kind; host0 is systemd-nspawn's name for it.
const defaultNetwork = `# Written by trivet-agent: the node's seed has no network-config.
[Match]
Type=ether
Kind=!*

[Network]
DHCP=ipv4
LinkLocalAddressing=ipv6

[Link]
RequiredForOnline=no
`

const defaultContainer = `# Written by trivet-agent: the node's seed has no network-config.
[Match]
Name=host0

[Network]
DHCP=ipv4
`

// Network returns networkd's files by name. A nil network is the default: DHCP
// on every card.
func Network(n *node.Network) map[string]string {
	if n == nil {
		return map[string]string{"20-trivet-default.network": defaultNetwork, "20-trivet-host0.network": defaultContainer}
	}
	files := map[string]string{}
	for _, l := range n.Links {
		files["20-trivet-"+l.ID+".network"] = linkFile(l)
	}
	return files
}

// linkFile writes a .network file (systemd.network(5)). The permanent address
// is matched, since that of a bond's card changes.
func linkFile(l node.Link) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("# Written by trivet-agent from the node's network-config, ethernets.%s.", l.ID)
	line("[Match]")
	switch {
	case l.MAC != "":
		line("PermanentMACAddress=%s", l.MAC)
		if l.Match != "" {
			line("Name=%s", l.Match)
		}
	case l.Match != "":
		line("Name=%s", l.Match)
	default:
		line("Name=%s", l.ID)
	}
	line("\n[Link]")
	if l.MTU > 0 {
		line("MTUBytes=%d", l.MTU)
	}
	if l.Optional {
		line("RequiredForOnline=no")
	}
	line("\n[Network]")
	line("DHCP=%s", dhcp(l))
	for _, a := range l.Addresses {
		line("Address=%s", a)
	}
	for _, a := range l.Nameservers {
		line("DNS=%s", a)
	}
	if len(l.Search) > 0 {
		line("Domains=%s", strings.Join(l.Search, " "))
	}
	for _, r := range l.Routes {
		line("\n[Route]")
		if r.To.Bits() > 0 {
			line("Destination=%s", r.To)
		}
		line("Gateway=%s", r.Via)
		if r.Metric > 0 {
			line("Metric=%d", r.Metric)
		}
		if r.OnLink || !reached(l, r) {
			line("GatewayOnLink=yes")
		}
	}
	return b.String()
}

func dhcp(l node.Link) string {
	switch {
	case l.DHCP4 && l.DHCP6:
		return "yes"
	case l.DHCP4:
		return "ipv4"
	case l.DHCP6:
		return "ipv6"
	}
	return "no"
}

// reached answers whether a route's gateway is in a network of the link. Under
// DHCP nobody knows yet.
func reached(l node.Link, r node.Route) bool {
	if l.DHCP4 {
		return true
	}
	for _, a := range l.Addresses {
		if a.Masked().Contains(r.Via) {
			return true
		}
	}
	return false
}
