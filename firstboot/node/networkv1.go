package node

import (
	"fmt"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// network1File is the shape of network-config version 1: cloud-init's own.
type network1File struct {
	Version word       `yaml:"version"`
	Config  []itemFile `yaml:"config"`
}

// An itemFile is one entry of version 1, of any type.
type itemFile struct {
	Type    word         `yaml:"type"`
	Name    word         `yaml:"name"`
	MAC     word         `yaml:"mac_address"`
	MTU     word         `yaml:"mtu"`
	RA      word         `yaml:"accept-ra"`
	RA2     word         `yaml:"accept_ra"`
	Wake    word         `yaml:"wakeonlan"`
	Subnets []subnetFile `yaml:"subnets"`
	// bond, bridge, vlan
	Bonded   []string         `yaml:"bond_interfaces"`
	Bridged  []string         `yaml:"bridge_interfaces"`
	Params   map[string]loose `yaml:"params"`
	VLANID   word             `yaml:"vlan_id"`
	VLANLink word             `yaml:"vlan_link"`
	// nameserver
	Address   words `yaml:"address"`
	Search    words `yaml:"search"`
	Interface word  `yaml:"interface"`
	// route
	route1File
	// MAAS and curtin write these.
	ID   word `yaml:"id"`
	Keep word `yaml:"keep_configuration"`
}

type route1File struct {
	Destination word `yaml:"destination"`
	Network     word `yaml:"network"`
	Netmask     word `yaml:"netmask"`
	Prefix      word `yaml:"prefix"`
	Gateway     word `yaml:"gateway"`
	Metric      word `yaml:"metric"`
}

type subnetFile struct {
	Type        word           `yaml:"type"`
	Control     word           `yaml:"control"`
	Address     word           `yaml:"address"`
	Netmask     word           `yaml:"netmask"`
	Prefix      word           `yaml:"prefix"`
	Gateway     word           `yaml:"gateway"`
	Metric      word           `yaml:"metric"`
	Nameservers words          `yaml:"dns_nameservers"`
	Search      words          `yaml:"dns_search"`
	Routes      []subRouteFile `yaml:"routes"`
	Broadcast   unused         `yaml:"broadcast"`
	Scope       unused         `yaml:"scope"`
	Peer        unused         `yaml:"pointopoint"`
	MTU         unused         `yaml:"mtu"`
	IPv4        unused         `yaml:"ipv4"`
	IPv6        unused         `yaml:"ipv6"`
	ID          word           `yaml:"id"`
}

// A subRouteFile is a route below a subnet: as above, and what MAAS adds.
type subRouteFile struct {
	route1File
	ID word `yaml:"id"`
}

// version1 reads cloud-init's form. Programs write it, with null for what is
// not there.
func (c *networkChecker) version1(body ast.Node) (Network, error) {
	c.doc.nulls = true
	var f network1File
	c.decode(body, &f)
	var n Network
	var dns Link
	var routes []int
	for i, item := range f.Config {
		key := fmt.Sprintf("config[%d]", i)
		switch item.Type {
		case "physical", "infiniband", "bond", "bridge", "vlan", "loopback":
			if item.Name == "" {
				c.fail(key, "the %s has no name", item.Type)
				continue
			}
			// The kernel sets lo up by itself.
			if l := c.item(key, item); l.Kind != Loop || len(l.Addresses) > 0 {
				n.Links = append(n.Links, l)
			}
		case "nameserver", "route":
			routes = append(routes, i)
		case "":
			c.fail(key, "the entry has no type; give physical, bond, bridge, vlan, nameserver or route")
		default:
			c.choice(key+".type", item.Type, "physical", "infiniband", "loopback", "bond", "bridge", "vlan", "nameserver", "route")
		}
	}
	c.placeholders(&n)
	for _, i := range routes {
		key := fmt.Sprintf("config[%d]", i)
		if f.Config[i].Type == "route" {
			c.globalRoute(key, &n, f.Config[i].route1File)
		} else {
			c.nameserverItem(key, &n, &dns, f.Config[i])
		}
	}
	global(&n, dns)
	if len(n.Links) == 0 && len(c.doc.problems) == 0 {
		c.fail("config", "there is no card in it; leave the file out to have DHCP on every card")
	}
	return c.done(n, true)
}

// item reads a link.
func (c *networkChecker) item(key string, f itemFile) Link {
	id := string(f.Name)
	c.at(id, key)
	c.device(key+".name", id)
	l := Link{ID: id, MTU: c.mtu(key+".mtu", f.MTU), Wake: c.is(key+".wakeonlan", f.Wake), Keep: c.is(key+".keep_configuration", f.Keep)}
	mac := c.mac(key+".mac_address", f.MAC)
	switch f.Type {
	case "bond":
		l.Kind, l.Members, l.SetMAC = Bond, f.Bonded, mac
		c.params(key+".params", &l, f.Params)
	case "bridge":
		l.Kind, l.Members, l.SetMAC = Bridge, f.Bridged, mac
		c.params(key+".params", &l, f.Params)
	case "vlan":
		l.Kind, l.SetMAC = VLAN, mac
		if f.VLANID == "" || f.VLANLink == "" {
			c.fail(key, "the VLAN lacks vlan_id or vlan_link")
		}
		l.VLAN = Tag{c.count(key+".vlan_id", f.VLANID, 0, 1, 4094), string(f.VLANLink)}
	case "loopback":
		l.Kind = Loop
	default:
		if l.MAC = mac; mac != "" {
			l.Name = id
		}
		c.wakes(key+".wakeonlan", &l)
	}
	if f.RA != "" {
		l.AcceptRA = c.flag(key+".accept-ra", f.RA)
	} else {
		l.AcceptRA = c.flag(key+".accept_ra", f.RA2)
	}
	for i, s := range f.Subnets {
		c.subnet(fmt.Sprintf("%s.subnets[%d]", key, i), &l, s)
	}
	return l
}

// placeholders adds the cards that are ports of something and are described
// nowhere: by their names.
func (c *networkChecker) placeholders(n *Network) {
	known := map[string]bool{}
	for _, l := range n.Links {
		known[l.ID] = true
	}
	for _, l := range n.Links {
		for _, id := range append([]string{l.VLAN.Link}, l.Members...) {
			if id != "" && !known[id] {
				known[id] = true
				c.at(id, c.keys[l.ID])
				c.device(c.keys[l.ID], id)
				n.Links = append(n.Links, Link{ID: id})
			}
		}
	}
}

// subnet adds one of a link's subnets.
func (c *networkChecker) subnet(key string, l *Link, f subnetFile) {
	switch c.choice(key+".control", f.Control, "auto", "manual", "hotplug") {
	case "manual":
		l.Optional, l.Up = true, "manual"
	case "hotplug":
		l.Optional = true
	}
	metric := c.metric(key+".metric", f.Metric)
	switch f.Type {
	case "static", "static6":
		mask := f.Netmask
		if mask == "" {
			mask = f.Prefix
		}
		if f.Address == "" {
			c.fail(key, "the subnet is static but has no address")
			break
		}
		l.Addresses = append(l.Addresses, c.withNetwork(key+".address", f.Address, key+".netmask", mask))
	case "manual", "loopback":
	default:
		c.dynamic(key+".type", l, string(f.Type), metric, []string{"dhcp", "dhcp4", "dhcp6", "static", "static6", "manual", "ipv6_dhcpv6-stateful", "ipv6_dhcpv6-stateless", "ipv6_slaac"})
	}
	c.nameservers(l, key+".dns_nameservers", f.Nameservers, key+".dns_search", f.Search)
	if f.Gateway != "" {
		if via := c.address(key+".gateway", f.Gateway); via.IsValid() {
			l.Routes = append(l.Routes, Route{To: c.to(key, "default", "", "", via), Via: via, Metric: metric})
		}
	}
	for i, r := range f.Routes {
		l.Routes = append(l.Routes, c.route1(fmt.Sprintf("%s.routes[%d]", key, i), r.route1File))
	}
}

// dynamic reads the types of subnets that get their addresses from the network.
// OpenStack has the same under other names; known are those of the file's format.
func (c *networkChecker) dynamic(key string, l *Link, kind string, metric int, known []string) {
	yes := true
	switch kind {
	case "dhcp", "dhcp4", "ipv4_dhcp":
		l.DHCP4, l.DHCPv4.Metric = true, metric
	case "dhcp6", "ipv6_dhcp", "ipv6_dhcpv6-stateful":
		l.DHCP6, l.AcceptRA, l.DHCPv6.Metric = true, &yes, metric
	case "ipv6_dhcpv6-stateless":
		l.AcceptRA, l.DHCPv6.Metric = &yes, metric
	case "ipv6_slaac":
		l.AcceptRA, l.OnlySLAAC, l.DHCPv6.Metric = &yes, true, metric
	default:
		c.fail(key, "the type is not one of %s%s", strings.Join(known, ", "), didYouMean(kind, known))
	}
}

// route1 reads a route of version 1 or of network_data.json.
func (c *networkChecker) route1(key string, f route1File) Route {
	to, mask, maskKey := f.Destination, f.Netmask, key+".netmask"
	if to == "" {
		to = f.Network
	}
	if mask == "" {
		mask, maskKey = f.Prefix, key+".prefix"
	}
	r := Route{Metric: c.metric(key+".metric", f.Metric)}
	if f.Gateway == "" {
		c.fail(key, "the route has no gateway")
	} else {
		r.Via = c.address(key+".gateway", f.Gateway)
	}
	r.To = c.to(key, to, maskKey, mask, r.Via)
	c.sameFamily(key, r)
	return r
}

// globalRoute gives a route that names no link to the one whose networks have
// its gateway, else to the one with the default route, else to the first with
// an address.
func (c *networkChecker) globalRoute(key string, n *Network, f route1File) {
	r := c.route1(key, f)
	if !r.Via.IsValid() {
		return
	}
	best, points := -1, 0
	for i, l := range n.Links {
		p := 0
		for _, a := range l.Addresses {
			switch {
			case l.Kind == Loop || a.Addr().Is4() != r.Via.Is4():
			case a.Masked().Contains(r.Via):
				p = max(p, 4)
			case slices.ContainsFunc(l.Routes, func(r Route) bool { return r.To.Bits() == 0 && r.Via.Is4() == a.Addr().Is4() }):
				p = max(p, 3)
			default:
				p = max(p, 2)
			}
		}
		if p == 0 && (l.DHCP4 && r.Via.Is4() || l.DHCP6 && r.Via.Is6()) {
			p = 1
		}
		if p > points {
			best, points = i, p
		}
	}
	if best < 0 {
		c.fail(key, "no link has an address by which the gateway %s can be reached", r.Via)
		return
	}
	n.Links[best].Routes = append(n.Links[best].Routes, r)
}

// nameserverItem adds DNS servers to one link, or to dns.
func (c *networkChecker) nameserverItem(key string, n *Network, dns *Link, f itemFile) {
	to := dns
	if f.Interface != "" {
		if to = linkOf(n, string(f.Interface)); to == nil {
			c.fail(key+".interface", "there is no link %q", f.Interface)
			return
		}
	}
	c.nameservers(to, key+".address", f.Address, key+".search", f.Search)
}

func linkOf(n *Network, id string) *Link {
	for i := range n.Links {
		if n.Links[i].ID == id {
			return &n.Links[i]
		}
	}
	return nil
}
