package render

import (
	"strconv"
	"strings"

	"trivet/firstboot/node"
)

// defaultNetwork asks for an address on every real network card that has no
// file of its own: what a machine does whose description says nothing of
// networks. Kind=!* leaves out bridges, tunnels and their like
// (systemd.network(5)). Its routes come after those of the cards that Fallback
// knew.
const defaultNetwork = `# Written by trivet-agent: the node's seed has no network-config.
[Match]
Type=ether
Kind=!*

[Link]
RequiredForOnline=no

[Network]
DHCP=ipv4
LinkLocalAddressing=ipv6

[DHCPv4]
RouteMetric=1024
UseMTU=yes

[IPv6AcceptRA]
RouteMetric=1024
`

// In a container the card is the end of a veth, which is of a kind; host0 is
// systemd-nspawn's name for it.
const defaultContainer = `# Written by trivet-agent: the node's seed has no network-config.
[Match]
Name=host0

[Network]
DHCP=ipv4
`

// Fallback returns the files for a machine whose seed says nothing of networks:
// DHCP on every card. Cards are their permanent addresses in the kernel's order;
// the default route is that of the first, or of boot, the card that the machine
// was booted from (BOOTIF= of the kernel command line, with colons), and no other
// card takes it over. Cards that are not among them share the last place.
func Fallback(cards []string, boot string) map[string]string {
	files := map[string]string{"20-trivet-default.network": defaultNetwork, "20-trivet-host0.network": defaultContainer}
	metric := node.MetricDHCP + 1
	for _, mac := range cards {
		own := metric
		if mac == boot {
			own = node.MetricDHCP
		} else {
			metric++
		}
		files["10-trivet-"+strings.ReplaceAll(mac, ":", "")+".network"] = fallbackCard(mac, own)
	}
	return files
}

func fallbackCard(mac string, metric int) string {
	f := &ini{}
	f.b.WriteString("# Written by trivet-agent: the node's seed has no network-config.\n")
	f.in("Match")
	f.set("PermanentMACAddress", mac)
	f.in("Link")
	f.set("RequiredForOnline", "no")
	f.in("Network")
	f.set("DHCP", "ipv4")
	f.set("LinkLocalAddressing", "ipv6")
	f.in("DHCPv4")
	f.set("RouteMetric", strconv.Itoa(metric))
	f.set("UseMTU", "yes")
	f.in("IPv6AcceptRA")
	f.set("RouteMetric", strconv.Itoa(metric))
	return f.String()
}
