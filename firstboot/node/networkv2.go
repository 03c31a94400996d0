package node

import (
	"fmt"
	"math"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// networkFile is the shape of network-config version 2: netplan's (netplan(5)),
// for wired networks.
type networkFile struct {
	Version   word                    `yaml:"version"`
	Renderer  word                    `yaml:"renderer"`
	Ethernets map[string]ethernetFile `yaml:"ethernets"`
	Bonds     map[string]groupFile    `yaml:"bonds"`
	Bridges   map[string]groupFile    `yaml:"bridges"`
	VLANs     map[string]vlanFile     `yaml:"vlans"`
	Dummies   map[string]dummyFile    `yaml:"dummy-devices"`
}

// commonFile are the keys of every kind of link.
type commonFile struct {
	Renderer    word            `yaml:"renderer"`
	DHCP4       word            `yaml:"dhcp4"`
	DHCP6       word            `yaml:"dhcp6"`
	Lease4      leaseFile       `yaml:"dhcp4-overrides"`
	Lease6      leaseFile       `yaml:"dhcp6-overrides"`
	ClientID    word            `yaml:"dhcp-identifier"`
	AcceptRA    word            `yaml:"accept-ra"`
	LinkLocal   words           `yaml:"link-local"`
	Privacy     word            `yaml:"ipv6-privacy"`
	Addresses   []addressFile   `yaml:"addresses"`
	Gateway4    word            `yaml:"gateway4"`
	Gateway6    word            `yaml:"gateway6"`
	Routes      []routeFile     `yaml:"routes"`
	Rules       []ruleFile      `yaml:"routing-policy"`
	Nameservers nameserversFile `yaml:"nameservers"`
	MAC         word            `yaml:"macaddress"`
	MTU         word            `yaml:"mtu"`
	MTU6        word            `yaml:"ipv6-mtu"`
	Optional    word            `yaml:"optional"`
	Critical    word            `yaml:"critical"`
	Carrier     word            `yaml:"ignore-carrier"`
	Activation  word            `yaml:"activation-mode"`
	// VMware's seeds have these two; cloud-init honours them.
	Domains4 word   `yaml:"dhcp4domain"`
	Domains6 word   `yaml:"dhcp6domain"`
	Online   unused `yaml:"optional-addresses"`
	Token    unused `yaml:"ipv6-address-token"`
	Generate unused `yaml:"ipv6-address-generation"`
	Backend  unused `yaml:"networkmanager"`
	Backends unused `yaml:"networkd"`
}

type ethernetFile struct {
	commonFile
	Match   matchFile `yaml:"match"`
	SetName word      `yaml:"set-name"`
	Wake    word      `yaml:"wakeonlan"`
	LLDP    word      `yaml:"emit-lldp"`
	// Offloading: the driver's choice stays.
	RX   unused `yaml:"receive-checksum-offload"`
	TX   unused `yaml:"transmit-checksum-offload"`
	TSO  unused `yaml:"tcp-segmentation-offload"`
	TSO6 unused `yaml:"tcp6-segmentation-offload"`
	GSO  unused `yaml:"generic-segmentation-offload"`
	GRO  unused `yaml:"generic-receive-offload"`
	LRO  unused `yaml:"large-receive-offload"`
}

type groupFile struct {
	commonFile
	Interfaces []string         `yaml:"interfaces"`
	Parameters map[string]loose `yaml:"parameters"`
}

type vlanFile struct {
	commonFile
	ID   word `yaml:"id"`
	Link word `yaml:"link"`
}

type dummyFile struct{ commonFile }

type matchFile struct {
	MAC    word  `yaml:"macaddress"`
	Name   word  `yaml:"name"`
	Driver words `yaml:"driver"`
}

type leaseFile struct {
	UseDNS       word `yaml:"use-dns"`
	UseNTP       word `yaml:"use-ntp"`
	UseHostname  word `yaml:"use-hostname"`
	UseMTU       word `yaml:"use-mtu"`
	UseRoutes    word `yaml:"use-routes"`
	UseDomains   word `yaml:"use-domains"`
	SendHostname word `yaml:"send-hostname"`
	Hostname     word `yaml:"hostname"`
	Metric       word `yaml:"route-metric"`
}

type routeFile struct {
	To     word   `yaml:"to"`
	Via    word   `yaml:"via"`
	From   word   `yaml:"from"`
	Metric word   `yaml:"metric"`
	Table  word   `yaml:"table"`
	MTU    word   `yaml:"mtu"`
	Scope  word   `yaml:"scope"`
	Type   word   `yaml:"type"`
	OnLink word   `yaml:"on-link"`
	Window unused `yaml:"congestion-window"`
	Recv   unused `yaml:"advertised-receive-window"`
	MSS    unused `yaml:"advmss"`
}

type ruleFile struct {
	From     word `yaml:"from"`
	To       word `yaml:"to"`
	Table    word `yaml:"table"`
	Priority word `yaml:"priority"`
	Mark     word `yaml:"mark"`
	TOS      word `yaml:"type-of-service"`
}

type nameserversFile struct {
	Addresses words `yaml:"addresses"`
	Search    words `yaml:"search"`
}

// version2 reads netplan's form.
func (c *networkChecker) version2(body ast.Node) (Network, error) {
	var f networkFile
	c.decode(body, &f)
	c.renderer("renderer", f.Renderer)
	var n Network
	for id, e := range f.Ethernets {
		n.Links = append(n.Links, c.ethernet("ethernets."+id, id, e))
	}
	for id, g := range f.Bonds {
		n.Links = append(n.Links, c.group("bonds."+id, id, Bond, g))
	}
	for id, g := range f.Bridges {
		n.Links = append(n.Links, c.group("bridges."+id, id, Bridge, g))
	}
	for id, v := range f.VLANs {
		n.Links = append(n.Links, c.vlan("vlans."+id, id, v))
	}
	for id, d := range f.Dummies {
		n.Links = append(n.Links, c.common("dummy-devices."+id, c.made("dummy-devices."+id, id, Dummy), d.commonFile))
	}
	if len(n.Links) == 0 {
		c.fail("", "there are no ethernets; leave the file out to have DHCP on every card")
	}
	slices.SortFunc(n.Links, func(a, b Link) int { return strings.Compare(a.ID, b.ID) })
	return c.done(n, false)
}

func (c *networkChecker) renderer(key string, w word) {
	if w != "" && w != "networkd" {
		c.fail(key, "%q: the node's networks are run by networkd", w)
	}
}

// ethernet reads a card.
func (c *networkChecker) ethernet(key, id string, e ethernetFile) Link {
	c.at(id, key)
	l := Link{ID: id, MAC: c.mac(key+".match.macaddress", e.Match.MAC), Match: string(e.Match.Name), Name: string(e.SetName)}
	var drivers []string
	for i, d := range e.Match.Driver {
		if !matchable(string(d)) {
			c.fail(fmt.Sprintf("%s.match.driver[%d]", key, i), "%q is not the name of a driver, nor a pattern of it with * and ?", d)
		}
		drivers = append(drivers, string(d))
	}
	l.Driver = strings.Join(drivers, " ")
	if l.MAC == "" && l.Match == "" && l.Driver == "" {
		c.device(key, id)
	} else if !idForm().re.MatchString(id) {
		c.fail(key, "%q does not fit: %s", id, idForm().says)
	}
	if l.Match != "" && !matchable(l.Match) {
		c.fail(key+".match.name", "%q is not the name of a card, nor a pattern of it with * and ?", l.Match)
	}
	if l.Name != "" {
		c.device(key+".set-name", l.Name)
		if l.MAC == "" {
			c.fail(key+".set-name", "set-name needs match with a macaddress, which says which card is meant")
		}
	}
	l.Wake, l.LLDP = c.is(key+".wakeonlan", e.Wake), c.is(key+".emit-lldp", e.LLDP)
	c.wakes(key+".wakeonlan", &l)
	return c.common(key, l, e.commonFile)
}

// wakes passes over wakeonlan where udev, which sets it, could not find the card:
// it knows only the names that the kernel gave.
func (c *networkChecker) wakes(key string, l *Link) {
	if l.Wake && l.MAC == "" && l.Driver == "" {
		l.Wake = false
		c.doc.ignored = append(c.doc.ignored, join(c.prefix, key))
	}
}

// idForm is how the ID of a card may look that is found by something else: it
// becomes part of a file's name.
func idForm() form {
	return form{regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`), "letters, digits and . _ -, a letter or digit first, at most 64"}
}

// made begins a link that networkd makes.
func (c *networkChecker) made(key, id, kind string) Link {
	c.at(id, key)
	c.device(key, id)
	return Link{ID: id, Kind: kind}
}

// group reads a bond or a bridge.
func (c *networkChecker) group(key, id, kind string, g groupFile) Link {
	l := c.made(key, id, kind)
	l.Members = g.Interfaces
	c.params(key+".parameters", &l, g.Parameters)
	return c.common(key, l, g.commonFile)
}

func (c *networkChecker) vlan(key, id string, v vlanFile) Link {
	l := c.made(key, id, VLAN)
	if v.ID == "" {
		c.fail(key, "the VLAN has no id; give its number, 1 to 4094")
	}
	if v.Link == "" {
		c.fail(key, "the VLAN has no link; name the one that it is on")
	}
	l.VLAN = Tag{c.count(key+".id", v.ID, 0, 1, 4094), string(v.Link)}
	return c.common(key, l, v.commonFile)
}

// common reads what all kinds of links have.
func (c *networkChecker) common(key string, l Link, f commonFile) Link {
	c.renderer(key+".renderer", f.Renderer)
	l.DHCP4, l.DHCP6 = c.is(key+".dhcp4", f.DHCP4), c.is(key+".dhcp6", f.DHCP6)
	l.DHCPv4, l.DHCPv6 = c.lease(key+".dhcp4-overrides", f.Lease4), c.lease(key+".dhcp6-overrides", f.Lease6)
	if f.Domains4 != "" {
		l.DHCPv4.UseDomains = c.useDomains(key+".dhcp4domain", f.Domains4)
	}
	if f.Domains6 != "" {
		l.DHCPv6.UseDomains = c.useDomains(key+".dhcp6domain", f.Domains6)
	}
	l.ClientID = c.choice(key+".dhcp-identifier", f.ClientID, "mac", "duid")
	l.AcceptRA = c.flag(key+".accept-ra", f.AcceptRA)
	l.LinkLocal = c.linkLocal(key+".link-local", f.LinkLocal)
	l.Privacy = c.is(key+".ipv6-privacy", f.Privacy)
	l.MTU, l.MTU6 = c.mtu(key+".mtu", f.MTU), c.count(key+".ipv6-mtu", f.MTU6, 0, 1280, 65535)
	l.Optional, l.Keep = c.is(key+".optional", f.Optional), c.is(key+".critical", f.Critical)
	l.WithoutCarrier = c.is(key+".ignore-carrier", f.Carrier)
	l.SetMAC = c.mac(key+".macaddress", f.MAC)
	switch c.choice(key+".activation-mode", f.Activation, "manual", "off") {
	case "manual":
		l.Up = "manual"
	case "off":
		l.Up = "always-down"
	}
	c.addresses(key+".addresses", &l, f.Addresses)
	c.gateway(key+".gateway4", &l, f.Gateway4, netip.Addr.Is4, "an IPv4 address")
	c.gateway(key+".gateway6", &l, f.Gateway6, netip.Addr.Is6, "an IPv6 address")
	l.Routes = append(l.Routes, c.routes(key, f.Routes)...)
	l.Rules = c.rules(key+".routing-policy", f.Rules)
	c.nameservers(&l, key+".nameservers.addresses", f.Nameservers.Addresses, key+".nameservers.search", f.Nameservers.Search)
	return l
}

// linkLocal turns netplan's list of families into networkd's word.
func (c *networkChecker) linkLocal(key string, families words) string {
	if families == nil {
		return ""
	}
	var four, six bool
	for i, f := range families {
		switch c.choice(fmt.Sprintf("%s[%d]", key, i), f, "ipv4", "ipv6") {
		case "ipv4":
			four = true
		case "ipv6":
			six = true
		}
	}
	switch {
	case four && six:
		return "yes"
	case four:
		return "ipv4"
	case six:
		return "ipv6"
	}
	return "no"
}

func (c *networkChecker) lease(key string, f leaseFile) Lease {
	l := Lease{
		UseDNS: c.flag(key+".use-dns", f.UseDNS), UseNTP: c.flag(key+".use-ntp", f.UseNTP), UseHostname: c.flag(key+".use-hostname", f.UseHostname),
		UseMTU: c.flag(key+".use-mtu", f.UseMTU), UseRoutes: c.flag(key+".use-routes", f.UseRoutes), SendHostname: c.flag(key+".send-hostname", f.SendHostname),
		UseDomains: c.useDomains(key+".use-domains", f.UseDomains), Hostname: string(f.Hostname), Metric: c.metric(key+".route-metric", f.Metric),
	}
	if l.Hostname != "" && !domain(l.Hostname) {
		c.fail(key+".hostname", "%q is not a host name", l.Hostname)
	}
	return l
}

func (c *networkChecker) useDomains(key string, w word) string {
	if w == "" || w == "route" {
		return string(w)
	}
	b, ok := truth(w)
	switch {
	case !ok:
		c.fail(key, "this must be true, false or route")
	case b:
		return "yes"
	}
	return "no"
}

func (c *networkChecker) gateway(key string, l *Link, w word, family func(netip.Addr) bool, says string) {
	if w == "" {
		return
	}
	via, err := netip.ParseAddr(string(w))
	if err != nil || !family(via) || via.Zone() != "" {
		c.fail(key, "%q is not %s", w, says)
		return
	}
	l.Routes = append(l.Routes, Route{To: c.to(key, "default", "", "", via), Via: via})
}

func (c *networkChecker) routes(key string, files []routeFile) []Route {
	var routes []Route
	for i, f := range files {
		at := fmt.Sprintf("%s.routes[%d]", key, i)
		r := Route{
			OnLink: c.is(at+".on-link", f.OnLink), Metric: c.metric(at+".metric", f.Metric), Table: c.table(at+".table", f.Table),
			MTU: c.mtu(at+".mtu", f.MTU), Scope: c.choice(at+".scope", f.Scope, "global", "link", "host"),
			Type: c.choice(at+".type", f.Type, "unicast", "blackhole", "unreachable", "prohibit", "throw", "local"),
		}
		if f.Via != "" {
			r.Via = c.address(at+".via", f.Via)
		} else if (r.Type == "" || r.Type == "unicast") && r.Scope != "link" && r.Scope != "host" {
			c.fail(at, "the route has no gateway; give via, or scope: link if none is needed")
		}
		if f.From != "" {
			r.From = c.address(at+".from", f.From)
		}
		r.To = c.to(at+".to", f.To, "", "", r.Via)
		c.sameFamily(at, r)
		routes = append(routes, r)
	}
	return routes
}

// sameFamily wants a route and its gateway to be of one IP version.
func (c *networkChecker) sameFamily(key string, r Route) {
	if r.To.IsValid() && r.Via.IsValid() && r.To.Addr().Is4() != r.Via.Is4() {
		c.fail(key, "the route to %s cannot go by %s: one is IPv4, the other IPv6", r.To, r.Via)
	}
}

func (c *networkChecker) table(key string, w word) int {
	if w == "main" {
		return 0
	}
	return c.count(key, w, 0, 0, math.MaxInt32)
}

func (c *networkChecker) rules(key string, files []ruleFile) []Rule {
	var rules []Rule
	for i, f := range files {
		at := fmt.Sprintf("%s[%d]", key, i)
		r := Rule{
			Table: c.table(at+".table", f.Table), Priority: c.count(at+".priority", f.Priority, 0, 1, math.MaxInt32),
			Mark: c.count(at+".mark", f.Mark, 0, 1, math.MaxInt32), TOS: c.count(at+".type-of-service", f.TOS, 0, 1, 255),
		}
		if f.From == "" && f.To == "" {
			c.fail(at, "the rule chooses nothing; give from or to")
		}
		if f.From != "" {
			r.From = c.to(at+".from", f.From, "", "", netip.Addr{})
		}
		if f.To != "" {
			r.To = c.to(at+".to", f.To, "", "", netip.Addr{})
		}
		rules = append(rules, r)
	}
	return rules
}
