package node

import (
	"bytes"
	"net/netip"
	"reflect"
	"slices"

	"github.com/goccy/go-yaml/ast"
)

// A Network is how a node's interfaces are to be set up. It is the same for all
// forms in which it can be written.
type Network struct {
	Links   []Link   // version 2: sorted by ID; else in the order of the file
	Ignored []string // what the file says that has no effect, for people
}

// Kinds of links.
const (
	Card   = ""       // hardware, or what a hypervisor shows as such
	Bond   = "bond"   // several cards as one
	Bridge = "bridge" // a switch
	VLAN   = "vlan"   // IEEE 802.1Q, on another link
	Dummy  = "dummy"  // no way out; holds addresses
	Loop   = "loopback"
)

// A Link is one network interface. Every link has addresses and routes of its
// own, or is a port of another link.
type Link struct {
	ID   string // in the file; letters, digits and . _ - only
	Kind string // Card, Bond, …

	// How a card is found. Other kinds are made, and their name is ID.
	MAC    string // by permanent address, in small letters with colons; or empty
	Match  string // by name, shell wildcards allowed; or empty
	Driver string // by the kernel's driver, wildcards allowed, several with spaces; or empty
	Name   string // rename to this; or empty
	Wake   bool   // by a magic packet

	SetMAC string // the address that the link is to have; empty: its own
	MTU    int    // bytes; 0: leave
	Up     string // ActivationPolicy of systemd.network(5); empty: up

	Port    Port     // what it is a port of
	VLAN    Tag      // of a VLAN
	Params  []Param  // of a bond or bridge, sorted by name
	Members []string // IDs of a bond's or bridge's ports, in the file's order

	DHCP4, DHCP6 bool
	DHCPv4       Lease // what to take of DHCPv4's answer
	DHCPv6       Lease // what to take of DHCPv6's answer and of router advertisements
	ClientID     string
	AcceptRA     *bool // router advertisements; nil: networkd decides
	OnlySLAAC    bool  // no DHCPv6, whatever the router says
	LinkLocal    string
	Privacy      bool // RFC 8981 addresses

	Addresses   []netip.Prefix
	Deprecated  []netip.Prefix // those of Addresses that no connection should begin from
	Routes      []Route
	Rules       []Rule
	Nameservers []netip.Addr
	Search      []string
	MTU6        int // for IPv6 alone; 0: MTU

	Optional       bool // a boot does not wait for it
	WithoutCarrier bool // is set up though no cable is in
	Keep           bool // addresses stay when networkd stops: the root is on them
	LLDP           bool // tell the switch who this is
}

// A Port is a link's place in a bond or bridge.
type Port struct {
	Of       string // ID of the bond or bridge; empty: none
	Primary  bool   // of a bond: used while it works
	Cost     int    // of a bridge, spanning tree; 0: the kernel's
	Priority *int   // of a bridge; nil: the kernel's
}

// A Tag is what makes a VLAN.
type Tag struct {
	Number int
	Link   string // ID of the link below
}

// A Param is a setting of a bond or a bridge, by netplan's name. Times have a
// unit.
type Param struct{ Name, Value string }

// A Lease is what to take of what DHCP offers. Nil: as networkd does.
type Lease struct {
	UseDNS, UseNTP, UseHostname, UseMTU, UseRoutes *bool
	UseDomains                                     string // yes, no, route or empty
	SendHostname                                   *bool
	Hostname                                       string // to send in place of the node's
	Metric                                         int    // of routes
}

// A Route leads to a network, mostly by a gateway.
type Route struct {
	To     netip.Prefix
	Via    netip.Addr // the zero Addr: none
	From   netip.Addr // the source address to prefer; the zero Addr: none
	Metric int        // 0: the kernel's
	Table  int        // 0: main
	MTU    int        // 0: the link's
	Scope  string     // global, link, host or empty
	Type   string     // unicast (or empty), blackhole, unreachable, prohibit, throw, local
	OnLink bool       // the gateway is reached though no address of ours is in its network
}

// A Rule chooses a routing table.
type Rule struct {
	From, To netip.Prefix // the zero Prefix: any
	Table    int          // 0: main
	Priority int          // 0: the kernel's
	Mark     int          // 0: any
	TOS      int          // 0: any
}

// Bounds of a network.
const (
	maxLinks     = 256
	maxAddresses = 256 // of one link; routes and rules too
)

// MetricDHCP is the metric of the first link's routes from DHCP, as netplan
// has it. Each further link of a file has one more, so that the first one
// stays the default whichever answers first.
const MetricDHCP = 100

// ParseNetwork reads a network-config of version 1 or 2 (cloud-init
// documentation, "Networking config Version 1" and "… Version 2"; netplan(5)).
// Its content may stand below a key `network:`, as netplan has it. Errors are
// Problems.
func ParseNetwork(file string, data []byte) (Network, error) {
	doc, err := parseNetworkFile(file, data)
	if err != nil {
		return Network{}, err
	}
	if doc.body == nil {
		return Network{}, Problems{{file, 1, 1, "the file is empty; leave it out to have DHCP on every card"}}
	}
	c := &networkChecker{doc: doc}
	body, keys := c.unwrap()
	version := ""
	var one int
	if value, ok := keys["version"]; ok {
		one++
		version = string(doc.word(join(c.prefix, "version"), value))
	}
	_, config := keys["config"]
	switch {
	case len(doc.problems) > 0:
		return Network{}, doc.problems.asError()
	case version == "1" || version == "" && config && one == 0:
		return c.version1(body)
	case version == "2":
		return c.version2(body)
	case version == "":
		c.fail("", "the key version is missing; write version: 2, or version: 1 with config:")
	default:
		c.fail("version", "versions 1 and 2 of network-config are read")
	}
	return Network{}, doc.problems.asError()
}

func parseNetworkFile(file string, data []byte) (*document, error) {
	// What begins with a bracket may be JSON, or YAML in its short form.
	if looksLikeJSON(data) {
		if doc, err := parseJSON(file, data, MaxDescription); err == nil {
			doc.lenient = false
			return doc, nil
		}
	}
	return parseYAML(file, bytes.TrimPrefix(data, []byte("\ufeff")), MaxDescription)
}

// unwrap returns the mapping that holds the network, and its keys.
func (c *networkChecker) unwrap() (ast.Node, map[string]ast.Node) {
	keys := topKeys(c.doc, "", c.doc.body)
	inner, ok := keys["network"]
	if !ok || len(keys) > 1 {
		return c.doc.body, keys
	}
	c.prefix = "network"
	return inner, topKeys(c.doc, "network", inner)
}

// topKeys returns the values of a mapping by their keys. It notes nothing but
// that there is no mapping.
func topKeys(doc *document, path string, n ast.Node) map[string]ast.Node {
	probe := *doc
	probe.problems, probe.nulls = nil, true
	keys := map[string]ast.Node{}
	probe.eachPair(path, n, func(key, _ string, value ast.Node) { keys[key] = value })
	if len(keys) == 0 {
		doc.problems = probe.problems
	}
	return keys
}

// decode fills the shape of a file.
func (c *networkChecker) decode(n ast.Node, to any) {
	c.doc.decode(c.prefix, n, reflect.ValueOf(to).Elem())
}

// done checks what only shows with all links in view, and sorts out what is
// right by itself and clashes with another link.
func (c *networkChecker) done(n Network, machine bool) (Network, error) {
	if len(n.Links) > maxLinks {
		c.fail("", "there are %d links, more than %d", len(n.Links), maxLinks)
		return Network{}, c.doc.problems.asError()
	}
	if len(c.doc.problems) == 0 {
		c.together(&n)
	}
	if len(c.doc.problems) == 0 {
		c.metrics(&n, machine)
	}
	n.Ignored = append(n.Ignored, c.doc.ignored...)
	slices.Sort(n.Ignored)
	return n, c.doc.problems.asError()
}
