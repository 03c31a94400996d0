package node

import (
	"fmt"
	"net"
	"net/netip"
	"reflect"
	"slices"
	"strings"
)

// A Network is how a node's interfaces are to be set up.
type Network struct {
	Links []Link // sorted by ID
}

// A Link is one network card.
type Link struct {
	ID          string // in the file; the card's name unless Match says otherwise
	MAC         string // match by permanent address, in small letters with colons; or empty
	Match       string // match by name, shell wildcards allowed; or empty
	Name        string // rename to this; or empty
	DHCP4       bool
	DHCP6       bool
	Addresses   []netip.Prefix
	Routes      []Route
	Nameservers []netip.Addr
	Search      []string
	MTU         int  // bytes; 0: leave
	Optional    bool // a boot does not wait for it
}

// A Route leads to a network by a gateway.
type Route struct {
	To     netip.Prefix
	Via    netip.Addr
	Metric int  // 0: the kernel's
	OnLink bool // the gateway is reached though no address of ours is in its network
}

// networkFile is the shape of network-config version 2, as far as it is read:
// cloud-init's "Networking config Version 2", a subset of netplan's.
type networkFile struct {
	Version   *int                    `yaml:"version"`
	Renderer  string                  `yaml:"renderer"`
	Ethernets map[string]ethernetFile `yaml:"ethernets"`
}

type ethernetFile struct {
	Match       matchFile       `yaml:"match"`
	SetName     string          `yaml:"set-name"`
	DHCP4       *bool           `yaml:"dhcp4"`
	DHCP6       *bool           `yaml:"dhcp6"`
	Addresses   []string        `yaml:"addresses"`
	Gateway4    string          `yaml:"gateway4"`
	Routes      []routeFile     `yaml:"routes"`
	Nameservers nameserversFile `yaml:"nameservers"`
	MTU         *int            `yaml:"mtu"`
	Optional    *bool           `yaml:"optional"`
}

type matchFile struct {
	MAC  string `yaml:"macaddress"`
	Name string `yaml:"name"`
}

type routeFile struct {
	To     string `yaml:"to"`
	Via    string `yaml:"via"`
	Metric *int   `yaml:"metric"`
	OnLink *bool  `yaml:"on-link"`
}

type nameserversFile struct {
	Addresses []string `yaml:"addresses"`
	Search    []string `yaml:"search"`
}

const maxLinks = 64

// ParseNetwork reads a network-config of version 2. Its content may stand below
// a key `network:`, as netplan has it. Errors are Problems.
func ParseNetwork(file string, data []byte) (Network, error) {
	doc, err := parseYAML(file, data, MaxDescription)
	if err != nil {
		return Network{}, err
	}
	if doc.body == nil {
		return Network{}, Problems{{file, 1, 1, "the file is empty; leave it out to have DHCP on every card"}}
	}
	var wrapped struct {
		Network networkFile `yaml:"network"`
	}
	c := networkChecker{doc: doc}
	probe := *doc
	probe.at = map[string][2]int{}
	keys := topKeys(&probe)
	f := &wrapped.Network
	if slices.Equal(keys, []string{"network"}) {
		c.prefix = "network"
		doc.decode("", doc.body, reflect.ValueOf(&wrapped).Elem())
	} else {
		doc.decode("", doc.body, reflect.ValueOf(f).Elem())
	}
	if f.Version != nil && *f.Version != 2 || f.Version == nil && slices.Contains(keys, "config") {
		return Network{}, Problems{c.only("version", "only version 2 of network-config is read; write version: 2 with ethernets:")}
	}
	n := c.network(*f)
	return n, doc.problems.asError()
}

// topKeys returns the keys of the document's mapping.
func topKeys(d *document) []string {
	var all struct{}
	d.decode("", d.body, reflect.ValueOf(&all).Elem())
	var keys []string
	for path := range d.at {
		if path != "" {
			keys = append(keys, path)
		}
	}
	slices.Sort(keys)
	return keys
}

type networkChecker struct {
	doc    *document
	prefix string
}

func (c *networkChecker) fail(key, format string, args ...any) {
	if path := join(c.prefix, key); !c.doc.marked(path) {
		c.doc.problem(path, format, args...)
	}
}

// only makes the one problem that hides all others.
func (c *networkChecker) only(key, message string) Problem {
	c.doc.problems = nil
	c.fail(key, "%s", message)
	return c.doc.problems[0]
}

func (c *networkChecker) network(f networkFile) Network {
	if f.Version == nil {
		c.fail("", "the key version is missing; write version: 2")
	}
	if f.Renderer != "" && f.Renderer != "networkd" {
		c.fail("renderer", "%q: the node's networks are run by networkd", f.Renderer)
	}
	switch {
	case len(f.Ethernets) == 0:
		c.fail("", "there are no ethernets; leave the file out to have DHCP on every card")
	case len(f.Ethernets) > maxLinks:
		c.fail("ethernets", "there are %d ethernets, more than %d", len(f.Ethernets), maxLinks)
		return Network{}
	}
	var n Network
	gateways := 0
	for id, e := range f.Ethernets {
		l := c.link("ethernets."+id, id, e)
		for _, r := range l.Routes {
			if r.To.Bits() == 0 && r.Metric == 0 {
				gateways++
			}
		}
		n.Links = append(n.Links, l)
	}
	if gateways > 1 {
		c.fail("ethernets", "%d default routes have no metric; keep one, or order them with metric", gateways)
	}
	slices.SortFunc(n.Links, func(a, b Link) int { return strings.Compare(a.ID, b.ID) })
	return n
}

func (c *networkChecker) link(key, id string, e ethernetFile) Link {
	l := Link{ID: id, Match: e.Match.Name, Name: e.SetName, DHCP4: is(e.DHCP4), DHCP6: is(e.DHCP6), Optional: is(e.Optional)}
	if !interfaceForm().re.MatchString(id) {
		c.fail(key, "%q is not %s", id, interfaceForm().says)
	}
	if e.Match.MAC != "" {
		mac, err := net.ParseMAC(e.Match.MAC)
		if err != nil || len(mac) != 6 {
			c.fail(key+".match.macaddress", "%q is not a MAC address such as 52:54:00:12:34:56", e.Match.MAC)
		}
		l.MAC = mac.String()
	}
	if l.Match != "" && !matchable(l.Match) {
		c.fail(key+".match.name", "%q is not the name of a card, nor a pattern of it with * and ?", l.Match)
	}
	if l.Name != "" && !interfaceForm().re.MatchString(l.Name) {
		c.fail(key+".set-name", "%q is not %s", l.Name, interfaceForm().says)
	}
	if l.Name != "" && l.MAC == "" {
		c.fail(key+".set-name", "set-name needs match with a macaddress, which says which card is meant")
	}
	if e.MTU != nil {
		if l.MTU = *e.MTU; l.MTU < 576 || l.MTU > 65535 {
			c.fail(key+".mtu", "%d is not within 576 to 65535", l.MTU)
		}
	}
	for i, s := range e.Addresses {
		p, err := parsePrefix(s)
		if err != nil {
			c.fail(fmt.Sprintf("%s.addresses[%d]", key, i), "%v", err)
		}
		l.Addresses = append(l.Addresses, p)
	}
	l.Routes = c.routes(key, e)
	l.Nameservers, l.Search = c.nameservers(key+".nameservers", e.Nameservers)
	return l
}

func (c *networkChecker) routes(key string, e ethernetFile) []Route {
	var routes []Route
	if e.Gateway4 != "" {
		via, err := parseAddress(e.Gateway4)
		if err != nil {
			c.fail(key+".gateway4", "%v", err)
		}
		routes = append(routes, Route{To: netip.PrefixFrom(netip.IPv4Unspecified(), 0), Via: via})
	}
	for i, f := range e.Routes {
		at := fmt.Sprintf("%s.routes[%d]", key, i)
		r := Route{OnLink: is(f.OnLink)}
		var err error
		if f.To == "default" {
			f.To = "0.0.0.0/0"
		}
		if r.To, err = netip.ParsePrefix(f.To); err != nil || !r.To.Addr().Is4() {
			c.fail(at+".to", "%q is neither default nor an IPv4 network such as 192.0.2.0/24", f.To)
		}
		if r.Via, err = parseAddress(f.Via); err != nil {
			c.fail(at+".via", "%v", err)
		}
		if f.Metric != nil {
			r.Metric = *f.Metric
		}
		routes = append(routes, r)
	}
	return routes
}

func (c *networkChecker) nameservers(key string, f nameserversFile) ([]netip.Addr, []string) {
	var servers []netip.Addr
	for i, s := range f.Addresses {
		a, err := netip.ParseAddr(s)
		if err != nil || a.Zone() != "" {
			c.fail(fmt.Sprintf("%s.addresses[%d]", key, i), "%q is not an address", s)
		}
		servers = append(servers, a)
	}
	for i, s := range f.Search {
		if !domain(s) {
			c.fail(fmt.Sprintf("%s.search[%d]", key, i), "%q is not a domain", s)
		}
	}
	return servers, f.Search
}

func is(b *bool) bool { return b != nil && *b }

// matchable answers whether a word can be a [Match] Name= of networkd: no
// spaces, which separate patterns there, and no "!", which negates.
func matchable(s string) bool {
	return len(s) < 64 && strings.IndexFunc(s, func(r rune) bool {
		return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-*?[]", r)
	}) < 0
}

func domain(s string) bool {
	return s != "" && len(s) <= 253 && strings.IndexFunc(s, func(r rune) bool {
		return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-", r)
	}) < 0
}
