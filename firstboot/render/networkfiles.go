package render

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"trivet/firstboot/node"
)

// networkFile writes a link's .network file.
func networkFile(n node.Network, l node.Link) string {
	f := newINI(title(l))
	match(f, l)
	f.in("Link")
	if l.Kind == node.Card {
		f.set("MACAddress", l.SetMAC)
	}
	f.set("MTUBytes", positive(l.MTU))
	f.set("ActivationPolicy", l.Up)
	// A bond or bridge is online or not, never its ports: a boot must not wait
	// for the second cable.
	f.set("RequiredForOnline", when(l.Optional || l.Port.Of != "" || l.Kind == node.Loop, "no"))
	f.in("Network")
	if l.Port.Of != "" {
		port(f, n, l)
	} else {
		addresses(f, l)
	}
	for _, other := range n.Links {
		if other.Kind == node.VLAN && other.VLAN.Link == l.ID {
			f.set("VLAN", other.ID)
		}
	}
	if l.Port.Of == "" {
		leases(f, l)
		for _, a := range l.Deprecated {
			f.in("Address")
			f.set("Address", a.String())
			f.set("PreferredLifetime", "0")
		}
		for _, r := range l.Routes {
			route(f, l, r)
		}
		for _, r := range l.Rules {
			rule(f, r)
		}
	}
	return f.String()
}

// title is what the file is about, for people.
func title(l node.Link) string {
	if l.Kind == node.Card {
		return "card " + l.ID
	}
	return l.Kind + " " + l.ID
}

// match finds the link. Of a card the permanent address is matched, since the
// present one changes in a bond, and other links have it as well.
func match(f *ini, l node.Link) {
	f.in("Match")
	switch {
	case l.Kind == node.Loop:
		f.set("Name", "lo")
	case l.Kind != node.Card || l.MAC == "" && l.Match == "" && l.Driver == "":
		f.set("Name", l.ID)
	default:
		f.set("PermanentMACAddress", l.MAC)
		f.set("Name", l.Match)
		f.set("Driver", l.Driver)
		// A pattern is for cards, not for what is made on top of them.
		f.set("Kind", when(l.MAC == "" && (l.Driver != "" || strings.ContainsAny(l.Match, "*?[")), "!bond bridge vlan dummy"))
	}
}

// port writes what a port of a bond or bridge has in place of addresses.
func port(f *ini, n node.Network, l node.Link) {
	kind := node.Bond
	for _, m := range n.Links {
		if m.ID == l.Port.Of {
			kind = m.Kind
		}
	}
	f.set("LinkLocalAddressing", "no")
	if kind == node.Bond {
		f.set("Bond", l.Port.Of)
		f.set("PrimarySlave", when(l.Port.Primary, "yes"))
		return
	}
	f.set("Bridge", l.Port.Of)
	f.in("Bridge")
	f.set("Cost", positive(l.Port.Cost))
	if l.Port.Priority != nil {
		f.set("Priority", strconv.Itoa(*l.Port.Priority))
	}
	f.in("Network")
}

// addresses writes the rest of [Network].
func addresses(f *ini, l node.Link) {
	f.set("DHCP", dhcp(l))
	f.set("LinkLocalAddressing", l.LinkLocal)
	f.set("IPv6AcceptRA", yes(l.AcceptRA))
	f.set("IPv6PrivacyExtensions", when(l.Privacy, "yes"))
	f.set("IPv6MTUBytes", positive(l.MTU6))
	f.set("ConfigureWithoutCarrier", when(l.WithoutCarrier || l.Kind == node.Dummy, "yes"))
	f.set("KeepConfiguration", when(l.Keep, "yes"))
	f.set("EmitLLDP", when(l.LLDP, "yes"))
	for _, a := range l.Addresses {
		if !slices.Contains(l.Deprecated, a) {
			f.set("Address", a.String())
		}
	}
	for _, a := range l.Nameservers {
		f.set("DNS", a.String())
	}
	f.set("Domains", strings.Join(l.Search, " "))
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

// leases writes what is taken of DHCP and router advertisements. The MTU of
// DHCPv4 is taken unless the file says otherwise, as netplan has it: tunnelled
// networks of OpenStack need it.
func leases(f *ini, l node.Link) {
	if l.DHCP4 {
		four := l.DHCPv4
		f.in("DHCPv4")
		f.set("RouteMetric", positive(four.Metric))
		mtu := true
		if four.UseMTU != nil {
			mtu = *four.UseMTU
		}
		f.set("UseMTU", yes(&mtu))
		f.set("ClientIdentifier", l.ClientID)
		f.set("UseDNS", yes(four.UseDNS))
		f.set("UseNTP", yes(four.UseNTP))
		f.set("UseHostname", yes(four.UseHostname))
		f.set("UseRoutes", yes(four.UseRoutes))
		f.set("UseDomains", four.UseDomains)
		f.set("SendHostname", yes(four.SendHostname))
		f.set("Hostname", four.Hostname)
	}
	six := l.DHCPv6
	if l.DHCP6 {
		f.in("DHCPv6")
		f.set("UseDNS", yes(six.UseDNS))
		f.set("UseNTP", yes(six.UseNTP))
		f.set("UseHostname", yes(six.UseHostname))
		f.set("UseDomains", six.UseDomains)
	}
	if l.DHCP6 || l.AcceptRA != nil && *l.AcceptRA {
		f.in("IPv6AcceptRA")
		f.set("RouteMetric", positive(six.Metric))
		f.set("UseDNS", yes(six.UseDNS))
		f.set("UseDomains", six.UseDomains)
		f.set("UseMTU", yes(six.UseMTU))
		f.set("UseGateway", yes(six.UseRoutes))
		f.set("DHCPv6Client", when(l.OnlySLAAC, "no"))
	}
}

func route(f *ini, l node.Link, r node.Route) {
	f.in("Route")
	if r.To.Bits() > 0 || !r.Via.IsValid() {
		f.set("Destination", r.To.String())
	}
	if r.Via.IsValid() {
		f.set("Gateway", r.Via.String())
		f.set("GatewayOnLink", when(r.OnLink || !reached(l, r.Via), "yes"))
	}
	if r.From.IsValid() {
		f.set("PreferredSource", r.From.String())
	}
	f.set("Metric", positive(r.Metric))
	f.set("Table", positive(r.Table))
	f.set("MTUBytes", positive(r.MTU))
	f.set("Scope", r.Scope)
	f.set("Type", r.Type)
}

// reached answers whether a gateway is in a network of the link. Under DHCP
// nobody knows yet; an IPv6 link-local address always is.
func reached(l node.Link, via netip.Addr) bool {
	if via.Is4() && l.DHCP4 || via.Is6() && (l.DHCP6 || via.IsLinkLocalUnicast()) {
		return true
	}
	return slices.ContainsFunc(l.Addresses, func(a netip.Prefix) bool { return a.Masked().Contains(via) })
}

func rule(f *ini, r node.Rule) {
	f.in("RoutingPolicyRule")
	if r.From.IsValid() {
		f.set("From", r.From.String())
	}
	if r.To.IsValid() {
		f.set("To", r.To.String())
	}
	table := r.Table
	if table == 0 {
		table = mainTable
	}
	f.set("Table", strconv.Itoa(table))
	f.set("Priority", positive(r.Priority))
	f.set("FirewallMark", positive(r.Mark))
	f.set("TypeOfService", positive(r.TOS))
}

// mainTable is the number of the routing table that is used without any rule
// (RT_TABLE_MAIN in linux/rtnetlink.h).
const mainTable = 254

func positive(n int) string {
	if n > 0 {
		return strconv.Itoa(n)
	}
	return ""
}
