package node

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// together checks what only shows with all links in view: references, ports of
// two masters, circles, cards that are meant twice.
func (c *networkChecker) together(n *Network) {
	byID := map[string]*Link{}
	for i := range n.Links {
		byID[n.Links[i].ID] = &n.Links[i]
	}
	for i := range n.Links {
		c.below(&n.Links[i], byID)
	}
	for _, s := range c.later {
		if p := byID[s.port]; p != nil && p.Port.Of == s.group {
			s.set(&p.Port)
		} else {
			c.fail(s.key, "%q is not among the interfaces of %s%s", s.port, s.group, didYouMean(s.port, byID[s.group].Members))
		}
	}
	c.circles(n, byID)
	c.twice(n)
	for i := range n.Links {
		c.ports(&n.Links[i])
		c.sizes(&n.Links[i])
	}
}

// below checks and makes the references of one link to others.
func (c *networkChecker) below(l *Link, byID map[string]*Link) {
	key := c.keys[l.ID]
	for i, id := range l.Members {
		at := fmt.Sprintf("%s.interfaces[%d]", key, i)
		switch p := byID[id]; {
		case p == nil:
			c.fail(at, "there is no link %q%s; describe the card among the others", id, didYouMean(id, ids(byID)))
		case p.Port.Of == l.ID:
			c.fail(at, "%q is there twice", id)
		case p.Port.Of != "":
			c.fail(at, "%q is a port of %s already", id, p.Port.Of)
		case p.Kind == Loop || p.Kind == Dummy || p == l:
			c.fail(at, "%q cannot be a port", id)
		case l.Kind == Bond && p.Kind != Card:
			c.fail(at, "%q is a %s; a bond takes cards", id, p.Kind)
		default:
			p.Port.Of = l.ID
		}
	}
	if l.Kind == VLAN && l.VLAN.Link != "" && byID[l.VLAN.Link] == nil {
		c.fail(key+".link", "there is no link %q%s; describe the one below among the others", l.VLAN.Link, didYouMean(l.VLAN.Link, ids(byID)))
	}
}

func ids(byID map[string]*Link) []string {
	all := make([]string, 0, len(byID))
	for id := range byID {
		all = append(all, id)
	}
	slices.Sort(all)
	return all
}

// circles refuses links that stand on themselves.
func (c *networkChecker) circles(n *Network, byID map[string]*Link) {
	const open, closed = 1, 2
	state := map[string]int{}
	var visit func(id string) bool
	visit = func(id string) bool {
		l := byID[id]
		if l == nil || state[id] == closed {
			return true
		}
		if state[id] == open {
			return false
		}
		state[id] = open
		defer func() { state[id] = closed }()
		for _, lower := range append(slices.Clone(l.Members), l.VLAN.Link) {
			if !visit(lower) {
				return false
			}
		}
		return true
	}
	for _, l := range n.Links {
		if !visit(l.ID) {
			c.fail(c.keys[l.ID], "%q stands on itself: its links form a circle", l.ID)
			return
		}
	}
}

// twice refuses two links for one card, and one number or name for two links.
func (c *networkChecker) twice(n *Network) {
	macs, names, tags := map[string]string{}, map[string]string{}, map[Tag]string{}
	for _, l := range n.Links {
		key := c.keys[l.ID]
		if l.Kind == Card && l.MAC != "" {
			if other, has := macs[l.MAC]; has && l.Match == "" {
				c.fail(key, "%s and %s are both the card %s", other, l.ID, l.MAC)
			}
			macs[l.MAC] = l.ID
		}
		name := l.ID
		if l.Kind == Card && (l.MAC != "" || l.Match != "" || l.Driver != "") {
			name = l.Name
		}
		if other, has := names[name]; has && name != "" && other != l.ID {
			c.fail(key, "%s and %s would both be called %s", other, l.ID, name)
		}
		names[name] = l.ID
		if l.Kind == VLAN && l.VLAN.Link != "" {
			if other, has := tags[l.VLAN]; has {
				c.fail(key, "%s and %s are both VLAN %d on %s", other, l.ID, l.VLAN.Number, l.VLAN.Link)
			}
			tags[l.VLAN] = l.ID
		}
	}
}

// ports refuses addresses on a port: its bond or bridge has them.
func (c *networkChecker) ports(l *Link) {
	if l.Port.Of != "" && (len(l.Addresses) > 0 || l.DHCP4 || l.DHCP6 || len(l.Routes) > 0) {
		c.fail(c.keys[l.ID], "%s is a port of %s, so it can have no addresses or routes; give them to %s", l.ID, l.Port.Of, l.Port.Of)
	}
}

func (c *networkChecker) sizes(l *Link) {
	if len(l.Addresses) > maxAddresses || len(l.Routes) > maxAddresses || len(l.Rules) > maxAddresses {
		c.fail(c.keys[l.ID], "%s has more than %d addresses, routes or rules", l.ID, maxAddresses)
	}
	for i, a := range l.Addresses {
		if slices.Contains(l.Addresses[:i], a) {
			c.fail(c.keys[l.ID], "the address %s is there twice", a)
		}
	}
}

// metrics orders default routes that would fight. DHCP's come after those that
// the file gives. Of two default routes without a metric, a person has to
// choose; a program that writes them (Nova does, for every network) means the
// first.
func (c *networkChecker) metrics(n *Network, machine bool) {
	c.defaults(n, machine, netip.Addr.Is4, 10)
	next4, next6 := MetricDHCP, MetricDHCP
	if c.defaults(n, machine, netip.Addr.Is6, kernelMetric6+10) {
		next6 += 2 * kernelMetric6
	}
	for i := range n.Links {
		l := &n.Links[i]
		if l.DHCP4 {
			if l.DHCPv4.Metric == 0 {
				l.DHCPv4.Metric = next4
			}
			next4++
		}
		if l.DHCP6 || l.AcceptRA != nil && *l.AcceptRA {
			if l.DHCPv6.Metric == 0 {
				l.DHCPv6.Metric = next6
			}
			next6++
		}
	}
}

// kernelMetric6 is what the kernel gives an IPv6 route without a metric
// (IP6_RT_PRIO_USER in linux/ipv6_route.h).
const kernelMetric6 = 1024

// defaults sees to the default routes of one family without a metric, and
// answers whether there are any.
func (c *networkChecker) defaults(n *Network, machine bool, family func(netip.Addr) bool, metric int) bool {
	first := ""
	for i := range n.Links {
		l := &n.Links[i]
		for j := range l.Routes {
			r := &l.Routes[j]
			if r.To.Bits() != 0 || !family(r.To.Addr()) || r.Metric != 0 || r.Table != 0 || r.Type != "" && r.Type != "unicast" {
				continue
			}
			switch {
			case first == "":
				first = l.ID
			case machine:
				r.Metric = metric
				metric += 10
				n.Ignored = append(n.Ignored, fmt.Sprintf("a second default route: the one of %s by %s comes after that of %s", l.ID, r.Via, first))
			case first == l.ID:
				c.fail(c.keys[l.ID], "%s has two default routes without a metric; keep one, or order them with metric", l.ID)
			default:
				c.fail(c.keys[l.ID], "%s and %s both have a default route, and none has a metric; keep one, or order them with metric", first, l.ID)
			}
		}
	}
	return first != ""
}

// global gives DNS servers that belong to the machine to every link that has
// addresses: resolved asks by link.
func global(n *Network, dns Link) {
	for i := range n.Links {
		l := &n.Links[i]
		if l.Kind == Loop || len(l.Addresses) == 0 && !l.DHCP4 && !l.DHCP6 {
			continue
		}
		for _, a := range dns.Nameservers {
			if !slices.Contains(l.Nameservers, a) {
				l.Nameservers = append(l.Nameservers, a)
			}
		}
		for _, s := range dns.Search {
			if !slices.Contains(l.Search, s) {
				l.Search = append(l.Search, s)
			}
		}
	}
}

// shortID turns what may stand in a file of OpenStack into an ID.
func shortID(s string) string {
	return strings.Map(func(r rune) rune {
		if r < 128 && (r == '-' || r == '_' || r == '.' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z') {
			return r
		}
		return '-'
	}, s)
}
