package cloud

import (
	"net/netip"
	"strings"
)

func vipChecks() []Check {
	return []Check{
		failure("vip-form", "the virtual IP is an address", "%q is not an IPv4 address", "write it as 10.0.0.10 or 10.0.0.10/24"),
		failure("vip-prefix", "the virtual IP has its network's prefix length", "a prefix length of %d is not that of networks.management, %d", "leave it out"),
		failure("vip-outside", "the virtual IP is in the management network, where controllers answer for it", "the virtual IP %s is not in networks.management, %s, where the controllers answer for it", "give a free address of that network"),
		failure("vip-edge", "the virtual IP is not its network's first or last address", "%s is the first or last address of %s, which no machine can have", "give a free address of that network"),
		failure("vip-gateway", "the virtual IP is not the gateway's", "the virtual IP %s is also the gateway", "give a free address"),
		failure("vip-node", "the virtual IP is no node's", "the virtual IP %s is also the address of %s (line %d)", "give a free address: one controller at a time holds it beside its own"),
		failure("vrid-range", "VRRP's number is within its byte", "vrid %d is not within %d to %d", "choose one that no other VRRP on the network has"),
	}
}

// standardVRID is keepalived's own in its examples, and package node's.
const standardVRID = 51

// vip reads the virtual IP. That no node has its address, addresses says.
func (k *checker) vip() {
	f := k.file.VIP
	k.cloud.VIP.VRID = k.number("vrid-range", "vip.vrid", f.VRID, standardVRID, 1, 255)
	if !k.has("vip") {
		k.missing("vip")
		return
	}
	if !k.given(f.Address, "vip.address") {
		return
	}
	network := k.cloud.Networks.Management
	a, bits, ok := address(f.Address)
	switch {
	case !ok:
		k.say("vip-form", "vip.address", f.Address)
	case !network.CIDR.IsValid():
	case !network.CIDR.Contains(a):
		k.say("vip-outside", "vip.address", a, network.CIDR)
	case bits >= 0 && bits != network.CIDR.Bits():
		k.say("vip-prefix", "vip.address", bits, network.CIDR.Bits())
	case edge(network.CIDR, a):
		k.say("vip-edge", "vip.address", a, network.CIDR)
	case a == network.Gateway:
		k.say("vip-gateway", "vip.address", a)
	default:
		k.cloud.VIP.Address = netip.PrefixFrom(a, network.CIDR.Bits())
	}
}

// address reads an IPv4 address, with the length of its prefix or -1.
func address(s string) (a netip.Addr, bits int, ok bool) {
	if strings.Contains(s, "/") {
		p, err := netip.ParsePrefix(s)
		return p.Addr(), p.Bits(), err == nil && p.Addr().Is4()
	}
	a, err := netip.ParseAddr(s)
	return a, -1, err == nil && a.Is4()
}
