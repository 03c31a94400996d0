package cloud

import (
	"net/netip"
	"slices"

	"trivet/firstboot/node"
)

func addressChecks() []Check {
	return []Check{
		failure("address-form", "addresses are IPv4 addresses", "%q is not an IPv4 address", "write it as 10.0.0.11 or 10.0.0.11/24"),
		failure("address-undeclared", "addresses are on networks that are declared", "networks.%s is not declared", "declare it with its cidr, or take this out"),
		failure("address-outside", "an address is in its network", "%s is not in networks.%s, %s", "give a free address of that network"),
		failure("address-prefix", "an address has its network's prefix length", "a prefix length of %d is not that of networks.%s, %d", "leave it out"),
		failure("address-edge", "no address is the first or last of its network", "%s is the first or last address of %s, which no machine can have", "give a free address of that network"),
		failure("gateway-node", "no node has the gateway's address", "%s is the gateway of networks.%s", "give the node a free address"),
		failure("address-twice", "every address is one node's", "%s is also the address of %s (line %d)", "give each node its own"),
		warning("address-missing", "who needs a network is on it", "the %s has no address on networks.%s", "give it one; without it the node is reached by its management address only"),
	}
}

// addresses reads the nodes' addresses.
func (k *checker) addresses() {
	seen := map[netip.Addr]owner{}
	vip := k.cloud.VIP.Address.Addr()
	k.eachNode(func(path string, f nodeFile, n *Node) {
		n.Addresses = map[string]netip.Prefix{}
		if !k.has(path + ".addresses") {
			k.missing(path + ".addresses")
		} else {
			k.given(f.Addresses.Management, path+".addresses.management")
		}
		f.Addresses.each(func(network, value string) {
			at := path + ".addresses." + network
			p := k.address(at, network, value)
			if !p.IsValid() {
				return
			}
			if o, taken := seen[p.Addr()]; taken {
				k.say("address-twice", at, p.Addr(), o.name, o.line)
				return
			}
			seen[p.Addr()] = owner{n.Name, n.Line}
			n.Addresses[network] = p
			if p.Addr() == vip {
				k.say("vip-node", "vip.address", vip, n.Name, n.Line)
			}
		})
	})
	unused := k.unused()
	k.eachNode(func(path string, _ nodeFile, n *Node) { k.present(path, *n, unused) })
}

// unused tells of networks on which no node is, and returns their names.
func (k *checker) unused() []string {
	var names []string
	for _, name := range NetworkNames() {
		used := false
		k.eachNode(func(path string, _ nodeFile, _ *Node) { used = used || k.has(path+".addresses."+name) })
		if k.has("networks."+name+".cidr") && !used && name != Management {
			k.say("network-unused", "networks."+name)
			names = append(names, name)
		}
	}
	return names
}

// address reads one address; what is wrong gives an invalid one.
func (k *checker) address(path, network, s string) netip.Prefix {
	net, declared := k.cloud.Networks.Get(network)
	a, bits, ok := address(s)
	switch {
	case !ok:
		k.say("address-form", path, s)
	case !k.has("networks." + network):
		k.say("address-undeclared", path, network)
	case !declared: // and refused already
	case !net.CIDR.Contains(a):
		k.say("address-outside", path, a, network, net.CIDR)
	case bits >= 0 && bits != net.CIDR.Bits():
		k.say("address-prefix", path, bits, network, net.CIDR.Bits())
	case edge(net.CIDR, a):
		k.say("address-edge", path, a, net.CIDR)
	case a == net.Gateway:
		k.say("gateway-node", path, a, network)
	default:
		return netip.PrefixFrom(a, net.CIDR.Bits())
	}
	return netip.Prefix{}
}

// present tells of networks that a node needs and has no address on. What is
// refused for another reason is not told again.
func (k *checker) present(path string, n Node, unused []string) {
	needs := map[string][]string{
		Public:  {node.Controller},
		Tunnel:  {node.Controller, node.Compute},
		Storage: {node.Controller, node.Storage},
	}
	for _, network := range NetworkNames() {
		given := k.has(path+".addresses."+network) || slices.Contains(unused, network)
		if k.has("networks."+network+".cidr") && !given && slices.Contains(needs[network], n.Role) {
			k.say("address-missing", path+".addresses", n.Role, network)
		}
	}
}
