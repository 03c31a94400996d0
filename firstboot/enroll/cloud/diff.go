package cloud

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/crypto/ssh"

	"trivet/firstboot/node"
)

// A Change is one thing that differs between two descriptions.
type Change struct {
	Node string // empty: of the whole cloud, and so of every node
	What string // in an operator's words
	Old  string // empty: it is new
	New  string // empty: it is gone
}

// String is a change in one line.
func (c Change) String() string {
	who := c.Node
	if who == "" {
		who = "all nodes"
	}
	switch {
	case c.Old == "":
		return fmt.Sprintf("%s: %s: + %s", who, c.What, c.New)
	case c.New == "":
		return fmt.Sprintf("%s: %s: - %s", who, c.What, c.Old)
	}
	return fmt.Sprintf("%s: %s: %s → %s", who, c.What, c.Old, c.New)
}

// A fact is one thing that a description says. Two facts are about the same if
// their what and item are.
type fact struct {
	what  string
	item  string // of a list
	value string
}

// Diff returns what changes from old to new: first what is of the whole cloud,
// in the order of the file, then node by node, by name.
func Diff(old, new Cloud) []Change {
	changes := differ("", old.facts(), new.facts())
	was, is := byName(old), byName(new)
	for _, name := range slices.Sorted(maps.Keys(merged(was, is))) {
		o, before := was[name]
		n, now := is[name]
		switch {
		case !before:
			changes = append(changes, Change{Node: name, What: "joins the cloud", New: n.summary()})
		case !now:
			changes = append(changes, Change{Node: name, What: "leaves the cloud", Old: o.summary()})
		default:
			changes = append(changes, differ(name, o.facts(), n.facts())...)
		}
	}
	return changes
}

func byName(c Cloud) map[string]Node {
	all := map[string]Node{}
	for _, n := range c.Nodes() {
		all[n.Name] = n
	}
	return all
}

func merged(a, b map[string]Node) map[string]Node {
	all := maps.Clone(a)
	maps.Copy(all, b)
	return all
}

func (n Node) summary() string { return n.Role + ", " + n.Addresses[Management].Addr().String() }

// differ compares two lists of facts.
func differ(name string, old, new []fact) []Change {
	type key struct{ what, item string }
	index := func(facts []fact) map[key]string {
		all := map[key]string{}
		for _, f := range facts {
			all[key{f.what, f.item}] = f.value
		}
		return all
	}
	was, is := index(old), index(new)
	rank := map[string]int{}
	for _, f := range slices.Concat(new, old) {
		if _, ok := rank[f.what]; !ok {
			rank[f.what] = len(rank)
		}
	}
	var changes []Change
	seen := map[key]bool{}
	for _, f := range slices.Concat(old, new) {
		k := key{f.what, f.item}
		if was[k] != is[k] && !seen[k] {
			changes = append(changes, Change{name, f.what, was[k], is[k]})
		}
		seen[k] = true
	}
	slices.SortStableFunc(changes, func(a, b Change) int { return cmp.Compare(rank[a.What], rank[b.What]) })
	return changes
}

// A teller collects facts; what is not said is none.
type teller []fact

func (t *teller) tell(what, value string) {
	if value != "" {
		*t = append(*t, fact{what: what, value: value})
	}
}

func (t *teller) number(what string, value int) {
	if value != 0 {
		t.tell(what, strconv.Itoa(value))
	}
}

func (t *teller) items(what string, items []string) {
	for _, i := range items {
		*t = append(*t, fact{what, i, i})
	}
}

// facts tells what a description says of the whole cloud.
func (c Cloud) facts() []fact {
	var t teller
	t.tell("name of the cloud (another name is another cloud)", c.Name)
	t.tell("region of the catalogue", c.Region)
	t.tell("domain", c.Domain)
	t.tell("virtual IP", c.VIP.Address.String())
	t.number("VRRP number of the virtual IP", c.VIP.VRID)
	for _, name := range NetworkNames() {
		network, declared := c.Networks.Get(name)
		if !declared {
			continue
		}
		t.tell(name+" network", network.CIDR.String())
		if network.Gateway.IsValid() {
			t.tell(name+" network's gateway", network.Gateway.String())
		}
		t.number(name+" network's VLAN", network.VLAN)
		t.number(name+" network's MTU", network.MTU)
	}
	var controllers []string
	for _, n := range c.Controllers {
		controllers = append(controllers, n.Name+" "+n.Addresses[Management].Addr().String())
	}
	t.tell("controllers, in the order of preference", strings.Join(controllers, ", "))
	t.number("Swift's part power (it can never change once there are rings)", c.Swift.PartPower)
	t.number("Swift's replicas", c.Swift.Replicas)
	t.tell("Swift's hours before a partition may move again", strconv.Itoa(c.Swift.MinPartHours))
	var servers []string
	for _, a := range c.DNS {
		servers = append(servers, a.String())
	}
	t.items("DNS server", servers)
	t.items("time server", c.NTP)
	var keys []string
	for _, line := range c.SSHAuthorizedKeys {
		keys = append(keys, keyName(line))
	}
	t.items("SSH key of root", keys)
	t.settings(c.Settings)
	for _, service := range slices.Sorted(maps.Keys(c.Config)) {
		for _, section := range slices.Sorted(maps.Keys(c.Config[service])) {
			options := c.Config[service][section]
			for _, option := range slices.Sorted(maps.Keys(options)) {
				t.tell(fmt.Sprintf("%s [%s] %s", service, section, option), strconv.Quote(options[option]))
			}
		}
	}
	return t
}

// settings tells the settings of services, by what they are for.
func (t *teller) settings(s node.Settings) {
	t.tell("database: memory for tables", s.MariaDB.BufferPool.String())
	t.tell("database: memory for members that were away", s.MariaDB.GaleraCache.String())
	t.number("database: connections at most", s.MariaDB.MaxConnections)
	t.number("queue: threads", s.RabbitMQ.Schedulers)
	t.tell("queue: memory", s.RabbitMQ.Memory.String())
	t.tell("queue: how services find it", s.RabbitMQ.Clients)
	t.tell("cache: memory", s.Memcached.Memory.String())
	t.number("keystone: processes", s.Keystone.Processes)
	t.number("keystone: threads of each process", s.Keystone.Threads)
}

// facts tells what a description says of a node.
func (n Node) facts() []fact {
	var t teller
	t.tell("role (the machine needs another image)", n.Role)
	t.items("MAC", n.Identity.MACs)
	t.tell("UUID", n.Identity.UUID)
	t.tell("serial number", n.Identity.Serial)
	for _, name := range NetworkNames() {
		if a, ok := n.Addresses[name]; ok {
			t.tell("address on the "+name+" network", a.String())
		}
		t.tell("card of the "+name+" network", n.Interfaces[name])
	}
	for _, b := range n.Bonds {
		t.tell("bond "+b.Name, b.Mode+" of "+strings.Join(b.Cards, ", "))
	}
	for _, d := range n.Disks {
		value := fmt.Sprintf("%s, weight %v", d.Name, d.Weight)
		if d.Size > 0 {
			value += ", " + node.Size(d.Size).String()
		}
		t = append(t, fact{"disk", d.Name, value})
	}
	t.number("Swift's zone (everything on the node moves)", n.Zone)
	t.number("rack", n.Rack)
	return t
}

// keyName is a public key as people compare it: its fingerprint and comment.
func keyName(line string) string {
	key, comment, _, _, err := ssh.ParseAuthorizedKey([]byte(line))
	if err != nil {
		return line
	}
	name := strings.TrimSpace(key.Type() + " " + ssh.FingerprintSHA256(key) + " " + comment)
	if !strings.HasPrefix(line, key.Type()) {
		return name + ", with options"
	}
	return name
}
