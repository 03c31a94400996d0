package node

import (
	"cmp"
	"math"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// A paramKind is one setting of bonds or bridges. Its name is netplan's; the
// others are those of ifenslave(8) and bridge-utils-interfaces(5), which version
// 1 and OpenStack use, without bond- or bridge_ and with dashes.
type paramKind struct {
	name   string
	others []string
	read   func(c *networkChecker, key string, w word) string
}

// bondParams are those that networkd sets (systemd.netdev(5), [Bond]). Numbers
// in place of words are those of the kernel's documentation of bonding.
func bondParams() []paramKind {
	ms, s := duration("ms"), duration("s")
	return []paramKind{
		{"mode", nil, oneOf("balance-rr", "active-backup", "balance-xor", "broadcast", "802.3ad", "balance-tlb", "balance-alb")},
		{"lacp-rate", nil, oneOf("slow", "fast")},
		{"mii-monitor-interval", []string{"miimon"}, ms},
		{"min-links", nil, number(0, math.MaxInt32)},
		{"transmit-hash-policy", []string{"xmit-hash-policy"}, oneOf("layer2", "layer3+4", "layer2+3", "encap2+3", "encap3+4")},
		{"ad-select", nil, oneOf("stable", "bandwidth", "count")},
		{"all-members-active", []string{"all-slaves-active"}, boolean},
		{"arp-interval", nil, ms},
		{"arp-ip-targets", []string{"arp-ip-target"}, addressList},
		{"arp-validate", nil, oneOf("none", "active", "backup", "all")},
		{"arp-all-targets", nil, oneOf("any", "all")},
		{"up-delay", []string{"updelay"}, ms},
		{"down-delay", []string{"downdelay"}, ms},
		{"fail-over-mac-policy", []string{"fail-over-mac"}, oneOf("none", "active", "follow")},
		{"gratuitous-arp", []string{"gratuitious-arp", "num-grat-arp", "num-unsol-na"}, number(0, 255)},
		{"packets-per-member", []string{"packets-per-slave"}, number(0, 65535)},
		{"primary-reselect-policy", []string{"primary-reselect"}, oneOf("always", "better", "failure")},
		{"resend-igmp", nil, number(0, 255)},
		{"learn-packet-interval", []string{"lp-interval"}, s},
		{"ad-actor-system-priority", []string{"ad-actor-sys-prio"}, number(1, 65535)},
		{"ad-user-port-key", nil, number(0, 1023)},
		{"ad-actor-system", nil, (*networkChecker).mac},
		{"tlb-dynamic-lb", nil, boolean},
	}
}

// bridgeParams are those that networkd sets (systemd.netdev(5), [Bridge]).
func bridgeParams() []paramKind {
	s := duration("s")
	return []paramKind{
		{"ageing-time", []string{"ageing"}, s},
		{"priority", []string{"bridgeprio"}, number(0, 65535)},
		{"forward-delay", []string{"fd"}, s},
		{"hello-time", []string{"hello"}, s},
		{"max-age", []string{"maxage"}, s},
		{"stp", nil, boolean},
	}
}

// noEffect are parameters that have no counterpart, or that say what other
// keys say as well.
func noEffect(kind string) []string {
	if kind == Bridge {
		return []string{"maxwait", "waitport", "gcint", "ports"}
	}
	return []string{
		"use-carrier", "active-slave", "slaves", "mii-status", "queue-id", "links",
		"ad-aggregator", "ad-num-ports", "ad-actor-key", "ad-partner-key", "ad-partner-mac",
	}
}

func oneOf(known ...string) func(*networkChecker, string, word) string {
	return func(c *networkChecker, key string, w word) string {
		if i, err := strconv.Atoi(string(w)); err == nil && i >= 0 && i < len(known) {
			return known[i]
		}
		return c.choice(key, w, known...)
	}
}

func number(least, most int) func(*networkChecker, string, word) string {
	return func(c *networkChecker, key string, w word) string {
		return strconv.Itoa(c.count(key, w, 0, least, most))
	}
}

func boolean(c *networkChecker, key string, w word) string {
	if c.is(key, w) {
		return "yes"
	}
	return "no"
}

// duration reads a time that has no unit, or one of its own.
func duration(unit string) func(*networkChecker, string, word) string {
	form := regexp.MustCompile(`^[0-9]{1,9}(\.[0-9]{1,3})?(ms|s|sec|m|min)?$`)
	return func(c *networkChecker, key string, w word) string {
		switch {
		case !form.MatchString(string(w)):
			c.fail(key, "%q is not a time, such as 100ms or 2s", w)
		case strings.ContainsAny(string(w), "sm"):
			return string(w)
		}
		return string(w) + unit
	}
}

func addressList(c *networkChecker, key string, w word) string {
	fields := strings.FieldsFunc(string(w), func(r rune) bool { return r == ' ' || r == ',' })
	for _, f := range fields {
		if a, err := netip.ParseAddr(f); err != nil || !a.Is4() {
			c.fail(key, "%q is not an IPv4 address", f)
		}
	}
	return strings.Join(fields, " ")
}

// params reads the settings of a bond or bridge.
func (c *networkChecker) params(key string, l *Link, given map[string]loose) {
	kinds := bondParams()
	if l.Kind == Bridge {
		kinds = bridgeParams()
	}
	for name, value := range given {
		at := key + "." + name
		plain := plainName(l.Kind, name)
		if c.special(at, plain, l, value) {
			continue
		}
		i := slices.IndexFunc(kinds, func(k paramKind) bool { return k.name == plain || slices.Contains(k.others, plain) })
		switch {
		case slices.Contains(noEffect(l.Kind), plain):
			c.doc.ignored = append(c.doc.ignored, join(c.prefix, at))
		case i < 0 && !c.doc.lenient:
			c.fail(at, "unknown key %q%s", name, didYouMean(plain, names(kinds)))
		case i < 0:
		case value.pairs != nil:
			c.fail(at, "this must be one value, such as a word or a number")
		default:
			l.Params = append(l.Params, Param{kinds[i].name, kinds[i].read(c, at, oneWord(value))})
		}
	}
	slices.SortFunc(l.Params, func(a, b Param) int { return cmp.Compare(a.Name, b.Name) })
	for i := 1; i < len(l.Params); i++ {
		if l.Params[i].Name == l.Params[i-1].Name {
			c.fail(key, "%s is there twice, by two of its names", l.Params[i].Name)
		}
	}
}

// plainName strips what version 1 and OpenStack put before a parameter.
func plainName(kind, name string) string {
	return strings.TrimPrefix(strings.ReplaceAll(name, "_", "-"), kind+"-")
}

func names(kinds []paramKind) []string {
	all := []string{"primary", "path-cost", "port-priority"}
	for _, k := range kinds {
		all = append(all, k.name)
	}
	return all
}

// oneWord puts a list into one word, with spaces.
func oneWord(value loose) word {
	all := make([]string, 0, len(value.words))
	for _, w := range value.words {
		all = append(all, string(w))
	}
	return word(strings.Join(all, " "))
}

// special reads the parameters that are not of the link itself: of one port, or
// its address.
func (c *networkChecker) special(key, name string, l *Link, value loose) bool {
	switch {
	case l.Kind == Bond && name == "primary":
		c.portParam(key, l, string(oneWord(value)), func(p *Port) { p.Primary = true })
	case l.Kind == Bridge && name == "hw", name == "mac-address":
		l.SetMAC = c.mac(key, word(strings.TrimPrefix(string(oneWord(value)), "MAC ")))
	case l.Kind == Bridge && (name == "path-cost" || name == "pathcost"):
		c.perPort(key, l, value, 1, 65535, func(p *Port, n int) { p.Cost = n })
	case l.Kind == Bridge && (name == "port-priority" || name == "portprio"):
		c.perPort(key, l, value, 0, 63, func(p *Port, n int) { p.Priority = &n })
	default:
		return false
	}
	return true
}

// perPort reads `{eth0: 5}` of version 2, or `eth0 5` of version 1.
func (c *networkChecker) perPort(key string, l *Link, value loose, least, most int, set func(*Port, int)) {
	for port, w := range value.pairs {
		n := c.count(key+"."+port, w, 0, least, most)
		c.portParam(key, l, port, func(p *Port) { set(p, n) })
	}
	for i, w := range value.words {
		at := key
		if len(value.words) > 1 {
			at = key + "[" + strconv.Itoa(i) + "]"
		}
		port, number, _ := strings.Cut(string(w), " ")
		if number == "" {
			c.fail(at, "write the port and the number, such as `eth0 50`")
			continue
		}
		n := c.count(at, word(strings.TrimSpace(number)), 0, least, most)
		c.portParam(at, l, port, func(p *Port) { set(p, n) })
	}
}

// portParam remembers what to set on a port once all links are known.
func (c *networkChecker) portParam(key string, l *Link, port string, set func(*Port)) {
	c.later = append(c.later, portSetting{key, l.ID, port, set})
}

type portSetting struct {
	key, group, port string
	set              func(*Port)
}
