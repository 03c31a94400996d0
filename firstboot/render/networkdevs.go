package render

import (
	"strconv"

	"trivet/firstboot/node"
)

// netdevFile writes the .netdev file of a link that has to be made.
func netdevFile(n node.Network, l node.Link) string {
	f := newINI(title(l))
	f.in("NetDev")
	f.set("Name", l.ID)
	f.set("Kind", l.Kind)
	f.set("MTUBytes", positive(l.MTU))
	f.set("MACAddress", address(n, l))
	switch l.Kind {
	case node.VLAN:
		f.in("VLAN")
		f.set("Id", strconv.Itoa(l.VLAN.Number))
	case node.Bond:
		f.in("Bond")
		params(f, bondKeys(), l.Params)
		// A bond that watches nothing never leaves a dead card.
		f.set("MIIMonitorSec", when(!has(l.Params, "mii-monitor-interval") && !has(l.Params, "arp-interval"), "100ms"))
	case node.Bridge:
		f.in("Bridge")
		params(f, bridgeKeys(), l.Params)
	}
	return f.String()
}

// address is the one that the link is to have. A bond or bridge without one
// gets that of its first card: networkd would make one from the machine-id, and
// so another after each installation, which no DHCP server knows.
func address(n node.Network, l node.Link) string {
	if l.SetMAC != "" || len(l.Members) == 0 {
		return l.SetMAC
	}
	for _, other := range n.Links {
		switch {
		case other.ID != l.Members[0]:
		case other.SetMAC != "":
			return other.SetMAC
		case other.Kind == node.Card:
			return other.MAC
		case other.Kind == node.VLAN:
			return below(n, other)
		default:
			return address(n, other)
		}
	}
	return ""
}

// below is the address of the link that a VLAN is on, which the VLAN takes over.
func below(n node.Network, vlan node.Link) string {
	for _, other := range n.Links {
		if other.ID == vlan.VLAN.Link && other.Kind == node.Card {
			return other.MAC
		}
		if other.ID == vlan.VLAN.Link && other.Kind == node.Bond {
			return address(n, other)
		}
	}
	return ""
}

// params writes settings in the order of the table.
func params(f *ini, keys [][2]string, given []node.Param) {
	for _, k := range keys {
		for _, p := range given {
			if p.Name == k[0] {
				f.set(k[1], p.Value)
			}
		}
	}
}

func has(given []node.Param, name string) bool {
	for _, p := range given {
		if p.Name == name {
			return true
		}
	}
	return false
}

// bondKeys are netplan's names of a bond's settings and networkd's
// (systemd.netdev(5), [Bond]).
func bondKeys() [][2]string {
	return [][2]string{
		{"mode", "Mode"},
		{"lacp-rate", "LACPTransmitRate"},
		{"transmit-hash-policy", "TransmitHashPolicy"},
		{"mii-monitor-interval", "MIIMonitorSec"},
		{"up-delay", "UpDelaySec"},
		{"down-delay", "DownDelaySec"},
		{"min-links", "MinLinks"},
		{"ad-select", "AdSelect"},
		{"ad-actor-system-priority", "AdActorSystemPriority"},
		{"ad-user-port-key", "AdUserPortKey"},
		{"ad-actor-system", "AdActorSystem"},
		{"all-members-active", "AllSlavesActive"},
		{"arp-interval", "ARPIntervalSec"},
		{"arp-ip-targets", "ARPIPTargets"},
		{"arp-validate", "ARPValidate"},
		{"arp-all-targets", "ARPAllTargets"},
		{"fail-over-mac-policy", "FailOverMACPolicy"},
		{"gratuitous-arp", "GratuitousARP"},
		{"packets-per-member", "PacketsPerSlave"},
		{"primary-reselect-policy", "PrimaryReselectPolicy"},
		{"resend-igmp", "ResendIGMP"},
		{"learn-packet-interval", "LearnPacketIntervalSec"},
		{"tlb-dynamic-lb", "DynamicTransmitLoadBalancing"},
	}
}

// bridgeKeys are those of a bridge (systemd.netdev(5), [Bridge]).
func bridgeKeys() [][2]string {
	return [][2]string{
		{"stp", "STP"},
		{"priority", "Priority"},
		{"forward-delay", "ForwardDelaySec"},
		{"hello-time", "HelloTimeSec"},
		{"max-age", "MaxAgeSec"},
		{"ageing-time", "AgeingTimeSec"},
	}
}

// linkFile writes the .link file of a card that is to have another name, or is
// to wake the machine. It takes the place of udev's 99-default.link, so it says
// what stands there as well.
func linkFile(l node.Link) string {
	f := newINI(title(l))
	f.in("Match")
	f.set("PermanentMACAddress", l.MAC)
	f.set("Driver", l.Driver)
	f.in("Link")
	if l.Name != "" {
		f.set("Name", l.Name)
	} else {
		f.set("NamePolicy", "keep kernel database onboard slot path")
	}
	f.set("AlternativeNamesPolicy", "database onboard slot path")
	f.set("MACAddressPolicy", "persistent")
	f.set("WakeOnLan", when(l.Wake, "magic"))
	return f.String()
}
