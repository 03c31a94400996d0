package node

import (
	"fmt"
	"reflect"
	"slices"
)

// networkDataFile is the shape of OpenStack's network_data.json (Nova's
// "Metadata service" documentation and doc/api_schemas/network_data.json;
// Ironic's and Metal3's have the same). Keys that are not here have no meaning
// for a node.
type networkDataFile struct {
	Links    []dataLink    `yaml:"links"`
	Networks []dataNetwork `yaml:"networks"`
	Services []dataService `yaml:"services"`
}

type dataLink struct {
	ID     word             `yaml:"id"`
	Name   word             `yaml:"name"` // in no schema; cloud-init takes it, and Airship writes it
	Type   word             `yaml:"type"`
	MAC    word             `yaml:"ethernet_mac_address"`
	MTU    word             `yaml:"mtu"`
	Bonded []word           `yaml:"bond_links"`
	Params map[string]loose `yaml:"bond_*"`
	Below  word             `yaml:"vlan_link"`
	Number word             `yaml:"vlan_id"`
	TagMAC word             `yaml:"vlan_mac_address"`
}

type dataNetwork struct {
	ID       word          `yaml:"id"`
	Type     word          `yaml:"type"`
	Link     word          `yaml:"link"`
	Address  word          `yaml:"ip_address"`
	Netmask  word          `yaml:"netmask"`
	Gateway  word          `yaml:"gateway"`
	DNS      words         `yaml:"dns_nameservers"`
	Search   words         `yaml:"dns_search"`
	Routes   []route1File  `yaml:"routes"`
	Services []dataService `yaml:"services"`
}

type dataService struct {
	Type    word  `yaml:"type"`
	Address words `yaml:"address"`
	Search  words `yaml:"search"`
}

// cardTypes are the types of links that are one card to the machine: what Nova
// calls them tells how its host plugs them in (nova/virt/netutils.py and
// cloud-init's KNOWN_PHYSICAL_TYPES).
func cardTypes() []string {
	return []string{"phy", "vif", "ovs", "bridge", "tap", "ethernet", "cascading", "dvs", "hw_veb", "hyperv", "vhostuser", "macvtap", "agilio_ovs", "ib_hostdev"}
}

// ParseNetworkData reads OpenStack's network_data.json. The names of links there
// are made up (tap1a81968a-79); a card keeps its own name, a bond is called
// bond0, bond1 and so on, and a VLAN by its link and number, as cloud-init has
// it. A file without links, which Nova writes for a machine without networks, says
// nothing: the Network is empty. Errors are Problems.
func ParseNetworkData(file string, data []byte) (Network, error) {
	doc, err := parseJSON(file, data, MaxDescription)
	if err != nil {
		return Network{}, err
	}
	c := &networkChecker{doc: doc}
	var f networkDataFile
	doc.decode("", doc.body, reflect.ValueOf(&f).Elem())
	var n Network
	called := c.names(f.Links)
	for i, l := range f.Links {
		n.Links = append(n.Links, c.dataLink(fmt.Sprintf("links[%d]", i), &n, l, called))
	}
	for i, w := range f.Networks {
		key := fmt.Sprintf("networks[%d]", i)
		if l := linkOf(&n, called[w.Link]); l != nil {
			c.dataNetwork(key, l, w)
		} else {
			c.fail(key+".link", "there is no link %q", w.Link)
		}
	}
	var dns Link
	c.services("services", &dns, f.Services)
	global(&n, dns)
	return c.done(n, true)
}

// names gives every link of the file the ID that it is to have here.
func (c *networkChecker) names(links []dataLink) map[word]string {
	called := map[word]string{}
	bonds := 0
	for i, l := range links {
		key := fmt.Sprintf("links[%d]", i)
		if l.ID == "" {
			c.fail(key, "the link has no id")
		}
		if _, twice := called[l.ID]; twice {
			c.fail(key+".id", "the id %q is there twice", l.ID)
		}
		called[l.ID] = shortID(string(l.ID))
		if l.Type == "bond" {
			called[l.ID] = fmt.Sprintf("bond%d", bonds)
			bonds++
		}
		if l.Name != "" {
			called[l.ID] = string(l.Name)
		}
	}
	for _, l := range links {
		if l.Type != "vlan" || l.Name != "" {
			continue
		}
		below := called[l.Below]
		called[l.ID] = fmt.Sprintf("%s.%s", below, l.Number)
		isBond := slices.ContainsFunc(links, func(o dataLink) bool { return o.ID == l.Below && o.Type == "bond" })
		if !isBond || len(called[l.ID]) > 15 {
			// What the card is called, only the machine knows.
			called[l.ID] = fmt.Sprintf("vlan%s", l.Number)
		}
	}
	return called
}

func (c *networkChecker) dataLink(key string, n *Network, f dataLink, called map[word]string) Link {
	l := Link{ID: called[f.ID], MTU: c.mtu(key+".mtu", f.MTU)}
	c.at(l.ID, key)
	mac := c.mac(key+".ethernet_mac_address", f.MAC)
	switch {
	case f.Type == "bond":
		c.device(key, l.ID)
		l.Kind, l.SetMAC = Bond, mac
		for _, id := range f.Bonded {
			l.Members = append(l.Members, idOf(called, id))
		}
		c.params(key, &l, f.Params)
		return l
	case f.Type == "vlan":
		c.device(key, l.ID)
		l.Kind, l.SetMAC = VLAN, mac
		if f.TagMAC != "" {
			l.SetMAC = c.mac(key+".vlan_mac_address", f.TagMAC)
		}
		if f.Number == "" || f.Below == "" {
			c.fail(key, "the VLAN lacks vlan_id or vlan_link")
		}
		l.VLAN = Tag{c.count(key+".vlan_id", f.Number, 0, 1, 4094), idOf(called, f.Below)}
		return l
	case !slices.Contains(cardTypes(), string(f.Type)):
		n.Ignored = append(n.Ignored, fmt.Sprintf("the type %q of the link %s: it is taken for a card", f.Type, l.ID))
	}
	if l.MAC = mac; f.Name != "" {
		c.device(key+".name", string(f.Name))
		if mac != "" {
			l.Name = string(f.Name)
		}
	} else if f.MAC == "" {
		c.fail(key, "the link has neither ethernet_mac_address nor name, so that nobody can tell which card is meant")
	}
	return l
}

// idOf returns what a link is called, or the text itself if there is none.
func idOf(called map[word]string, id word) string {
	if name, ok := called[id]; ok {
		return name
	}
	return string(id)
}

// dataNetwork adds a network to its link.
func (c *networkChecker) dataNetwork(key string, l *Link, f dataNetwork) {
	switch f.Type {
	case "ipv4", "ipv6", "static", "static6":
		if f.Address == "" {
			c.fail(key, "the network has no ip_address")
			break
		}
		p := c.withNetwork(key+".ip_address", f.Address, key+".netmask", f.Netmask)
		if l.Addresses = append(l.Addresses, p); p.Addr().Is6() && l.AcceptRA == nil {
			no := false
			l.AcceptRA = &no
		}
	default:
		c.dynamic(key+".type", l, string(f.Type), 0, []string{"ipv4", "ipv6", "ipv4_dhcp", "ipv6_dhcp", "ipv6_slaac", "ipv6_dhcpv6-stateful", "ipv6_dhcpv6-stateless"})
	}
	if f.Gateway != "" && !hasDefault(f.Routes) {
		if via := c.address(key+".gateway", f.Gateway); via.IsValid() {
			l.Routes = append(l.Routes, Route{To: c.to(key, "default", "", "", via), Via: via})
		}
	}
	for i, r := range f.Routes {
		l.Routes = append(l.Routes, c.route1(fmt.Sprintf("%s.routes[%d]", key, i), r))
	}
	c.nameservers(l, key+".dns_nameservers", f.DNS, key+".dns_search", f.Search)
	c.services(key+".services", l, f.Services)
}

func hasDefault(routes []route1File) bool {
	return slices.ContainsFunc(routes, func(r route1File) bool { return r.Network == "0.0.0.0" || r.Network == "::" })
}

// services adds DNS servers; other services are not the network's.
func (c *networkChecker) services(key string, l *Link, services []dataService) {
	for i, s := range services {
		if s.Type == "dns" {
			at := fmt.Sprintf("%s[%d]", key, i)
			c.nameservers(l, at+".address", s.Address, at+".search", s.Search)
		}
	}
}
