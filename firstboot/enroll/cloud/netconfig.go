package cloud

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// A link is one interface of a node, as network-config is to have it.
type link struct {
	id        string // of the entry; an interface's name but where mac is
	mac       string
	mtu       int
	vlan      int    // 0: a card or bond
	parent    string // id of what carries a VLAN
	bond      *Bond
	addresses []netip.Prefix
	gateway   netip.Addr
	dns       []netip.Addr
}

// NetworkConfig returns the node's network-config, version 2 of cloud-init's
// (netplan's keys): static addresses on cards that are matched by MAC, or by
// name where the description names them so; networks with a VLAN on the card of
// the management network, unless another is named. The default route is by the
// gateway of the public network, if the node is on it and it has one, else by
// that of the management network. Where nothing tells which card is meant, it
// returns nil: the node asks DHCP on every card.
func (c Cloud) NetworkConfig(n Node) []byte {
	links := c.links(n)
	if links == nil {
		return nil
	}
	var w writer
	w.line("# The networks of %s. Made by trivet from %s: change it there.", n.Name, plainName(c.File))
	w.line("version: 2")
	for _, kind := range []struct {
		key string
		is  func(l *link) bool
	}{
		{"ethernets", func(l *link) bool { return l.vlan == 0 && l.bond == nil }},
		{"bonds", func(l *link) bool { return l.bond != nil }},
		{"vlans", func(l *link) bool { return l.vlan != 0 }},
	} {
		if slices.ContainsFunc(links, kind.is) {
			w.line("%s:", kind.key)
			for _, l := range links {
				if kind.is(l) {
					w.link(l)
				}
			}
		}
	}
	return []byte(w.String())
}

// links lists the node's interfaces: each card before what is on it.
func (c Cloud) links(n Node) []*link {
	if n.card(Management) == "" {
		return nil
	}
	p := planner{cloud: c, node: n, byCard: map[string]*link{}}
	route := c.routeOf(n)
	for _, name := range NetworkNames() {
		address, on := n.Addresses[name]
		network, _ := c.Networks.Get(name)
		if !on {
			continue
		}
		l := p.carrier(n.card(name), name)
		if network.VLAN != 0 {
			l = p.vlan(l, network.VLAN)
		}
		l.addresses = append(l.addresses, address)
		l.mtu = max(l.mtu, network.MTU)
		if name == route {
			l.gateway = network.Gateway
		}
		if name == Management {
			l.dns = c.DNS
		}
	}
	p.widen()
	return p.links
}

// routeOf names the network whose gateway is the node's default route.
func (c Cloud) routeOf(n Node) string {
	for _, name := range []string{Public, Management} {
		network, _ := c.Networks.Get(name)
		if network.Gateway.IsValid() && n.Addresses[name].IsValid() {
			return name
		}
	}
	return ""
}

// A planner collects the links of one node.
type planner struct {
	cloud  Cloud
	node   Node
	links  []*link
	byCard map[string]*link
}

func (p *planner) add(l *link) *link {
	p.links = append(p.links, l)
	return l
}

// carrier returns the link of a card or bond, and makes it if it is new. A card
// that is known by its MAC has the name of its first network as its ID.
func (p *planner) carrier(card, network string) *link {
	if l, ok := p.byCard[card]; ok {
		return l
	}
	for i, b := range p.node.Bonds {
		if b.Name != card {
			continue
		}
		bond := Bond{Name: b.Name, Mode: b.Mode}
		for j, c := range b.Cards {
			bond.Cards = append(bond.Cards, p.carrier(c, fmt.Sprintf("%s-%d", b.Name, j+1)).id)
		}
		p.byCard[card] = p.add(&link{id: p.node.Bonds[i].Name, bond: &bond})
		return p.byCard[card]
	}
	l := &link{id: card}
	if strings.Contains(card, ":") {
		l = &link{id: p.free(network), mac: card}
	}
	p.byCard[card] = p.add(l)
	return l
}

// free returns id, or one like it that no interface has.
func (p *planner) free(id string) string {
	id = id[:min(len(id), 15)] // IFNAMSIZ; an ID need not be a name, but may be one
	taken := func(id string) bool {
		return slices.ContainsFunc(p.links, func(l *link) bool { return l.id == id }) || usesCard(p.node, id) ||
			slices.ContainsFunc(p.node.Bonds, func(b Bond) bool { return b.Name == id || slices.Contains(b.Cards, id) })
	}
	for i := 0; taken(id); i++ {
		id = fmt.Sprintf("card%d", i)
	}
	return id
}

// vlan returns a new VLAN on a link.
func (p *planner) vlan(on *link, number int) *link {
	return p.add(&link{id: p.free(fmt.Sprintf("vlan%d", number)), vlan: number, parent: on.id})
}

// widen gives a card or bond that carries no network itself the largest MTU of
// the VLANs on it, and the cards of a bond the bond's.
func (p *planner) widen() {
	byID := map[string]*link{}
	for _, l := range p.links {
		byID[l.id] = l
	}
	for _, l := range p.links {
		if on := byID[l.parent]; l.vlan != 0 && len(on.addresses) == 0 {
			on.mtu = max(on.mtu, l.mtu)
		}
	}
	for _, l := range p.links {
		if l.bond != nil {
			for _, id := range l.bond.Cards {
				byID[id].mtu = l.mtu
			}
		}
	}
}

// link writes one entry.
func (w *writer) link(l *link) {
	w.line("  %s:", quoted(l.id))
	before := w.Len()
	if l.mac != "" {
		w.line("    match: {macaddress: \"%s\"}", l.mac)
	}
	if l.vlan != 0 {
		w.line("    id: %d\n    link: %s", l.vlan, quoted(l.parent))
	}
	if l.bond != nil {
		w.line("    interfaces: [%s]", joinedWords(l.bond.Cards))
		parameters := fmt.Sprintf("mode: %s, mii-monitor-interval: 100", quoted(l.bond.Mode))
		if l.bond.Mode == "802.3ad" {
			parameters += ", lacp-rate: fast, transmit-hash-policy: layer3+4"
		}
		w.line("    parameters: {%s}", parameters)
	}
	if l.mtu > 0 {
		w.line("    mtu: %d", l.mtu)
	}
	if len(l.addresses) > 0 {
		w.line("    addresses: [%s]", joined(l.addresses))
	}
	if l.gateway.IsValid() {
		w.line("    routes: [{to: default, via: %s}]", l.gateway)
	}
	if len(l.dns) > 0 {
		w.line("    nameservers: {addresses: [%s]}", joined(l.dns))
	}
	if w.Len() == before {
		w.line("    dhcp4: false")
	}
}

// joined writes addresses as a YAML list has them.
func joined[T fmt.Stringer](all []T) string {
	words := make([]string, 0, len(all))
	for _, a := range all {
		words = append(words, a.String())
	}
	return joinedWords(words)
}
