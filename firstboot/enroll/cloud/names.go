package cloud

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"trivet/firstboot/node"
)

// maxNodes bounds a cloud: a Galera or RabbitMQ that serves more was never seen.
const maxNodes = 1000

// The forms of names; those of package node. A host name is a label of RFC 1123
// §2.1, in small letters.
var (
	cloudName  = regexp.MustCompile(`^[a-z]([a-z0-9-]{0,30}[a-z0-9])?$`)
	regionName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_-]{0,63}$`)
	hostName   = regexp.MustCompile(`^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$`)
	label      = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$`)
)

func nameChecks() []Check {
	return []Check{
		failure("cloud-name", "the cloud's name can stand in certificates and names of files", "%q cannot be the name of a cloud", "use small letters, digits and inner dashes, a letter first, at most 32"),
		failure("region", "the region's name can stand in the catalogue", "%q cannot be the name of a region", "use letters, digits, - and _, a letter first, at most 64"),
		failure("domain", "the domain is one of DNS", "%q is not a DNS domain", "write it as cloud.example.org, without a dot at its end"),
		failure("host-name", "host names follow RFC 1123, in small letters", "%q cannot be a host name", "use small letters, digits and inner dashes, a letter first, at most 63"),
		failure("host-dots", "host names have no domain: RabbitMQ's node names are made of them and can never change", "%q has a domain, and RabbitMQ's node names, which can never change, are made of host names", "write %[2]q, and the domain at the key domain"),
		failure("host-reserved", "no node has a name that means something else", "%q already means something else on every node", "choose another name"),
		failure("name-twice", "every name is one node's", "%q is also the name of the node in line %d", "give each node its own"),
		failure("controllers-none", "there is a controller", "there are no controllers", "list 1 for a lab, 3 or 5"),
		failure("controllers-even", "the number of controllers has a majority after a loss", "%d controllers survive no more losses than %d would, and a split in halves stops them all", "use 1, 3 or 5"),
		failure("controllers-many", "every write waits for all controllers, so there are not too many", "%d controllers are too many: every write to the database waits for all of them", "use 1, 3 or 5"),
		failure("nodes-many", "the cloud is not larger than its controllers can serve", "there are %d nodes, more than %d", "make several clouds"),
		warning("computes-none", "a cloud that is no lab can run users' machines", "there are no computes, so the cloud runs no machines of users", "list nodes below computes"),
		warning("storages-none", "a cloud that is no lab can keep images and objects", "there are no storages, so glance and Swift have nowhere to keep anything", "list nodes with disks below storages"),
	}
}

// A group is the list of nodes of one role.
type group struct {
	key, role string
	files     []nodeFile
	to        *[]Node
}

func (k *checker) groups() []group {
	return []group{
		{"controllers", node.Controller, k.file.Controllers, &k.cloud.Controllers},
		{"computes", node.Compute, k.file.Computes, &k.cloud.Computes},
		{"storages", node.Storage, k.file.Storages, &k.cloud.Storages},
	}
}

// eachNode calls f for every node with its path.
func (k *checker) eachNode(f func(path string, file nodeFile, n *Node)) {
	for _, g := range k.groups() {
		for i := range *g.to {
			if g.files[i].Line > 0 { // else it is no mapping, and that is told
				f(fmt.Sprintf("%s[%d]", g.key, i), g.files[i], &(*g.to)[i])
			}
		}
	}
}

func (k *checker) names() {
	f, c := k.file, k.cloud
	c.Name, c.Region, c.Domain = f.Name, f.Region, f.Domain
	if k.given(f.Name, "name") && !cloudName.MatchString(f.Name) {
		k.say("cloud-name", "name", f.Name)
	}
	if c.Region == "" {
		c.Region = "RegionOne"
	}
	if !regionName.MatchString(c.Region) {
		k.say("region", "region", c.Region)
	}
	if f.Domain != "" && !domain(f.Domain) {
		k.say("domain", "domain", f.Domain)
	}
}

// domain answers whether s is a name of DNS (RFC 1123 §2.1, RFC 1035 §2.3.4).
func domain(s string) bool {
	labels := strings.Split(s, ".")
	last := labels[len(labels)-1]
	return len(s) <= 253 && !slices.ContainsFunc(labels, func(l string) bool { return !label.MatchString(l) }) &&
		strings.Trim(last, "0123456789") != ""
}

// nodes counts the nodes and takes their names.
func (k *checker) nodes() {
	switch n := len(k.file.Controllers); n {
	case 0:
		k.say("controllers-none", "controllers")
	case 1, 3, 5:
	case 2, 4:
		k.say("controllers-even", "controllers", n, n-1)
	default:
		k.say("controllers-many", "controllers", n)
	}
	if len(k.file.Controllers) > 1 {
		if len(k.file.Computes) == 0 {
			k.say("computes-none", "computes")
		}
		if len(k.file.Storages) == 0 {
			k.say("storages-none", "storages")
		}
	}
	total := len(k.file.Controllers) + len(k.file.Computes) + len(k.file.Storages)
	if total > maxNodes {
		k.say("nodes-many", "", total, maxNodes)
		return
	}
	first := map[string]int{}
	for _, g := range k.groups() {
		for i, f := range g.files {
			path := fmt.Sprintf("%s[%d].name", g.key, i)
			if f.Line > 0 {
				k.hostName(path, f.Name)
			}
			if line, twice := first[f.Name]; twice && f.Name != "" {
				k.say("name-twice", path, f.Name, line)
			} else {
				first[f.Name] = f.Line
			}
			*g.to = append(*g.to, Node{Name: f.Name, Role: g.role, Line: f.Line})
		}
	}
}

func (k *checker) hostName(path, name string) {
	reserved := []string{"localhost", "ip6-localhost", "broadcasthost", "uninitialized"}
	short, _, dots := strings.Cut(name, ".")
	switch {
	case !k.given(name, path):
	case dots && hostName.MatchString(short):
		k.say("host-dots", path, name, short)
	case !hostName.MatchString(name):
		k.say("host-name", path, name)
	case slices.Contains(reserved, name):
		k.say("host-reserved", path, name)
	}
}
