package cloud

import "net/netip"

// geneve is what a tunnel's headers need of each frame: outer Ethernet 14, IPv4
// 20, UDP 8, Geneve 8 (RFC 8926) and OVN's option 8.
const geneve = 58

func networkChecks() []Check {
	return []Check{
		failure("cidr-form", "networks are IPv4 networks", "%q is not an IPv4 network with a prefix length", "write it as 10.0.0.0/24"),
		failure("cidr-bits", "a network is written by its first address", "%s is an address inside of a network", "write the network, %s"),
		failure("cidr-length", "a network has room for nodes, and not for half of the world", "a prefix length of %d is not within 8 to 29", "choose one between, such as 24"),
		failure("cidr-special", "no network is one that machines cannot have", "%s is %s", "choose one of 10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16 (RFC 1918), or one that is yours"),
		failure("overlap", "networks do not overlap", "%s overlaps with networks.%s, %s, and so its addresses could be on either", "give each network its own range, or leave this one out: what would run on it runs on management"),
		failure("gateway-form", "gateways are addresses", "%q is not an IPv4 address", "write it as 10.0.0.1, without a prefix length"),
		failure("gateway-outside", "a gateway is in its network", "the gateway %s is not in %s", "give the router's address in that network"),
		failure("gateway-edge", "a gateway is not its network's first or last address", "%s is the first or last address of %s, which no router has", "give the router's address"),
		warning("gateway-unused", "a gateway that is given is used", "no node takes this gateway: only that of public or management becomes the default route", "take it out"),
		failure("vlan-range", "VLAN numbers are within IEEE 802.1Q", "VLAN %d is not within %d to %d", "give the number that the switch has, or leave the key out"),
		failure("vlan-twice", "every VLAN is one network's", "VLAN %d is also that of networks.%s", "give each network its own"),
		failure("mtu-range", "MTUs are such as cards and IPv4 have", "an MTU of %d is not within %d to %d", "use 1500, or 9000 where the switches carry jumbo frames"),
		failure("mtu-vlan", "a VLAN's frames fit into those of its card", "an MTU of %d does not fit through the card of networks.%s, which has %d", "make the card's MTU at least as large: set mtu there"),
		warning("mtu-public", "frames towards users are such as the Internet takes", "frames would have %d bytes on the public network, and what is behind its gateway mostly takes 1500", "set networks.public.mtu to 1500"),
		warning("mtu-tunnel", "tunnels leave users' machines an MTU that programs bear", "an MTU of %d leaves users' machines %d, less than IPv6's least, 1280", "use 1500 or more"),
		warning("network-unused", "a network that is declared is used", "no node has an address on this network", "give addresses below addresses of the nodes, or take it out"),
	}
}

// networks reads the networks.
func (k *checker) networks() {
	if !k.has("networks") {
		k.missing("networks")
	} else if !k.has("networks.management") {
		k.missing("networks.management")
	}
	n := &k.cloud.Networks
	to := map[string]*Network{Management: &n.Management, Public: &n.Public, Tunnel: &n.Tunnel, Storage: &n.Storage}
	var done []string
	k.file.Networks.each(func(name string, f networkFile) {
		if path := "networks." + name; k.has(path) {
			*to[name] = k.network(path, f)
			for _, other := range done {
				k.apart(path, *to[name], other, *to[other])
			}
			done = append(done, name)
		}
	})
	// A VLAN takes its card's MTU if it has none of its own.
	mtu := n.Public.MTU
	if mtu == 0 && n.Public.VLAN != 0 {
		mtu = n.Management.MTU
	}
	if mtu > 1500 && n.Public.Gateway.IsValid() {
		k.say("mtu-public", "networks.public", mtu)
	}
	tunnel := n.Tunnel
	if tunnel.MTU != 0 && tunnel.MTU-geneve < 1280 {
		k.say("mtu-tunnel", "networks.tunnel.mtu", tunnel.MTU, tunnel.MTU-geneve)
	}
	for _, name := range []string{Tunnel, Storage} {
		if net, _ := n.Get(name); net.Gateway.IsValid() {
			k.say("gateway-unused", "networks."+name+".gateway")
		}
	}
}

// apart says what two networks share that they must not.
func (k *checker) apart(path string, n Network, other string, o Network) {
	if n.CIDR.IsValid() && o.CIDR.IsValid() && n.CIDR.Overlaps(o.CIDR) {
		k.say("overlap", path+".cidr", n.CIDR, other, o.CIDR)
	}
	if n.VLAN != 0 && n.VLAN == o.VLAN {
		k.say("vlan-twice", path+".vlan", n.VLAN, other)
	}
}

func (k *checker) network(path string, f networkFile) Network {
	n := Network{
		VLAN: k.number("vlan-range", path+".vlan", f.VLAN, 0, 1, 4094),
		MTU:  k.number("mtu-range", path+".mtu", f.MTU, 0, 576, 9216),
	}
	if k.given(f.CIDR, path+".cidr") {
		n.CIDR = k.cidr(path+".cidr", f.CIDR)
	}
	if f.Gateway == "" {
		return n
	}
	path += ".gateway"
	a, err := netip.ParseAddr(f.Gateway)
	switch {
	case err != nil || !a.Is4():
		k.say("gateway-form", path, f.Gateway)
	case !n.CIDR.IsValid():
	case !n.CIDR.Contains(a):
		k.say("gateway-outside", path, a, n.CIDR)
	case edge(n.CIDR, a):
		k.say("gateway-edge", path, a, n.CIDR)
	default:
		n.Gateway = a
	}
	return n
}

// cidr reads a network; what is wrong gives an invalid one.
func (k *checker) cidr(path, s string) netip.Prefix {
	p, err := netip.ParsePrefix(s)
	switch {
	case err != nil || !p.Addr().Is4():
		k.say("cidr-form", path, s)
	case p.Bits() < 8 || p.Bits() > 29:
		k.say("cidr-length", path, p.Bits())
	case special(p) != "":
		k.say("cidr-special", path, p, special(p))
	case p != p.Masked():
		k.say("cidr-bits", path, p, p.Masked())
	default:
		return p
	}
	return netip.Prefix{}
}

// special says why machines cannot have addresses of a network (IANA's registry
// of special-purpose addresses, RFC 6890), or nothing.
func special(p netip.Prefix) string {
	for _, s := range []struct{ network, says string }{
		{"0.0.0.0/8", "“this network” (RFC 1122)"},
		{"127.0.0.0/8", "every machine's own loopback"},
		{"169.254.0.0/16", "link-local, where metadata services are"},
		{"224.0.0.0/4", "for multicast"},
		{"240.0.0.0/4", "reserved"},
	} {
		if p.Overlaps(netip.MustParsePrefix(s.network)) {
			return s.says
		}
	}
	return ""
}

// edge answers whether a is the first or last address of a network.
func edge(p netip.Prefix, a netip.Addr) bool {
	return a == p.Masked().Addr() || a == last(p)
}

// last returns the highest address of an IPv4 network, its broadcast address.
func last(p netip.Prefix) netip.Addr {
	a := p.Addr().As4()
	for bit := p.Bits(); bit < 32; bit++ {
		a[bit/8] |= 1 << (7 - bit%8)
	}
	return netip.AddrFrom4(a)
}
