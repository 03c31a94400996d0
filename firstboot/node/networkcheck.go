package node

import (
	"fmt"
	"math"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// A networkChecker turns the shape of a network's file into links and notes
// problems.
type networkChecker struct {
	doc    *document
	prefix string
	// keys are where the links stand in the file, by ID.
	keys map[string]string
	// later are settings of ports, for when all links are known.
	later []portSetting
}

func (c *networkChecker) fail(key, format string, args ...any) {
	if path := join(c.prefix, key); !c.doc.marked(path) {
		c.doc.problem(path, format, args...)
	}
}

// at remembers where a link stands.
func (c *networkChecker) at(id, key string) {
	if c.keys == nil {
		c.keys = map[string]string{}
	}
	if _, twice := c.keys[id]; twice {
		c.fail(key, "%q is there twice; give one of the two another name", id)
	}
	c.keys[id] = key
}

// flag reads a truth value, or nil if the key is not there.
func (c *networkChecker) flag(key string, w word) *bool {
	if w == "" {
		return nil
	}
	b, ok := truth(w)
	if !ok {
		c.fail(key, "this must be true or false")
	}
	return &b
}

func (c *networkChecker) is(key string, w word) bool {
	b := c.flag(key, w)
	return b != nil && *b
}

// count reads a whole number, or returns standard if the key is not there.
func (c *networkChecker) count(key string, w word, standard, least, most int) int {
	if w == "" {
		return standard
	}
	n, err := strconv.ParseInt(string(w), 10, 64)
	if err != nil {
		c.fail(key, "this must be a whole number, in plain decimal digits")
		return standard
	}
	if n < int64(least) || n > int64(most) {
		c.fail(key, "%d is not within %d to %d", n, least, most)
	}
	return int(n)
}

func (c *networkChecker) mtu(key string, w word) int { return c.count(key, w, 0, 576, 65535) }

func (c *networkChecker) metric(key string, w word) int {
	return c.count(key, w, 0, 0, math.MaxInt32)
}

// choice reads one of some words, or "" if the key is not there.
func (c *networkChecker) choice(key string, w word, known ...string) string {
	if w != "" && !slices.Contains(known, string(w)) {
		c.fail(key, "%q is not one of %s%s", w, strings.Join(known, ", "), didYouMean(string(w), known))
	}
	return string(w)
}

// mac reads the address of an Ethernet card, or of an InfiniBand port.
func (c *networkChecker) mac(key string, w word) string {
	if w == "" {
		return ""
	}
	mac, err := net.ParseMAC(string(w))
	if err != nil || len(mac) != 6 && len(mac) != 20 {
		c.fail(key, "%q is not a MAC address such as 52:54:00:12:34:56", w)
		return ""
	}
	return mac.String()
}

// device checks the name that an interface is to have.
func (c *networkChecker) device(key, name string) {
	if f := interfaceForm(); !f.re.MatchString(name) {
		c.fail(key, "%q is not %s, of at most 15 letters", name, f.says)
	}
}

// address reads an IPv4 or IPv6 address without a prefix length.
func (c *networkChecker) address(key string, w word) netip.Addr {
	a, err := netip.ParseAddr(string(w))
	if err != nil || a.Zone() != "" || a.IsUnspecified() || a.IsMulticast() {
		c.fail(key, "%q is not the address of a machine, such as 192.0.2.1", w)
		return netip.Addr{}
	}
	return a.Unmap()
}

// withNetwork reads an address and the prefix length or mask of its network,
// which may stand apart.
func (c *networkChecker) withNetwork(key string, w word, maskKey string, mask word) netip.Prefix {
	if mask != "" && !strings.Contains(string(w), "/") {
		a, err := netip.ParseAddr(string(w))
		if err != nil {
			c.fail(key, "%q is not an address", w)
			return netip.Prefix{}
		}
		bits, ok := prefixLength(a, string(mask))
		if !ok {
			c.fail(maskKey, "%q is not a network mask for %s, such as 255.255.255.0 or 24", mask, a)
			return netip.Prefix{}
		}
		w = word(netip.PrefixFrom(a, bits).String())
	}
	if !strings.Contains(string(w), ":") {
		p, err := parsePrefix(string(w))
		if err != nil {
			c.fail(key, "%v", err)
		}
		return p
	}
	p, err := netip.ParsePrefix(string(w))
	switch {
	case err != nil && !strings.Contains(string(w), "/"):
		c.fail(key, "%q has no prefix length; write it as 2001:db8::10/64", w)
	case err != nil || p.Addr().Is4In6() || p.Addr().IsUnspecified() || p.Addr().IsMulticast():
		c.fail(key, "%q is not the address of a machine with a prefix length, such as 2001:db8::10/64", w)
	}
	return p
}

// prefixLength reads a mask: dotted, as a prefix length, or in IPv6's form.
func prefixLength(a netip.Addr, mask string) (int, bool) {
	if n, err := strconv.Atoi(mask); err == nil {
		return n, n >= 0 && n <= a.BitLen()
	}
	m, err := netip.ParseAddr(mask)
	if err != nil || m.BitLen() != a.BitLen() {
		return 0, false
	}
	ones, bits := net.IPMask(m.AsSlice()).Size()
	return ones, bits != 0
}

// to reads a route's destination. Via tells the family of "default".
func (c *networkChecker) to(key string, w word, maskKey string, mask word, via netip.Addr) netip.Prefix {
	s := string(w)
	if s == "default" {
		if via.Is6() {
			return netip.PrefixFrom(netip.IPv6Unspecified(), 0)
		}
		return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	}
	if !strings.Contains(s, "/") {
		a, err := netip.ParseAddr(s)
		if err != nil || a.Zone() != "" {
			c.fail(key, "%q is neither default nor a network such as 192.0.2.0/24", w)
			return netip.Prefix{}
		}
		bits := a.BitLen()
		if mask != "" {
			var ok bool
			if bits, ok = prefixLength(a, string(mask)); !ok {
				c.fail(maskKey, "%q is not a network mask for %s", mask, a)
			}
		} else if a.IsUnspecified() {
			bits = 0
		}
		return netip.PrefixFrom(a, bits).Masked()
	}
	p, err := netip.ParsePrefix(s)
	if err != nil || p.Addr().Is4In6() {
		c.fail(key, "%q is neither default nor a network such as 192.0.2.0/24", w)
	}
	return p.Masked()
}

// nameservers reads addresses of DNS servers and domains to search.
func (c *networkChecker) nameservers(l *Link, serversKey string, servers words, searchKey string, search words) {
	for i, s := range servers {
		for _, one := range strings.Fields(string(s)) {
			a, err := netip.ParseAddr(one)
			if err != nil || a.Zone() != "" {
				c.fail(fmt.Sprintf("%s[%d]", serversKey, i), "%q is not an address", one)
			} else if !slices.Contains(l.Nameservers, a) {
				l.Nameservers = append(l.Nameservers, a)
			}
		}
	}
	for i, s := range search {
		for _, one := range strings.Fields(string(s)) {
			if !domain(strings.TrimPrefix(one, "~")) {
				c.fail(fmt.Sprintf("%s[%d]", searchKey, i), "%q is not a domain", one)
			} else if !slices.Contains(l.Search, one) {
				l.Search = append(l.Search, one)
			}
		}
	}
}

// matchable answers whether a word can be a [Match] Name= of networkd: no
// spaces, which separate patterns there, and no "!", which negates.
func matchable(s string) bool {
	return len(s) < 64 && strings.IndexFunc(s, func(r rune) bool {
		return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-*?[]", r)
	}) < 0
}

func domain(s string) bool {
	return s != "" && len(s) <= 253 && strings.IndexFunc(s, func(r rune) bool {
		return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-", r)
	}) < 0
}
