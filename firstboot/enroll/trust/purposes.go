package trust

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"trivet/firstboot/node"
)

// Purposes that are not secrets of services. No service may declare them.
const (
	purposeSigner    = "signer"
	purposeNodeKey   = "node-key"
	purposeFormation = "formation"
	suffixCA         = "/ca"
	suffixNode       = "/node"
)

// A Purpose is what one secret or key is for.
type Purpose struct {
	Name  string
	Epoch int       // from 1
	Since time.Time // of that epoch
	Until time.Time // of certificates: their end; else zero
	Old   int       // of a CA: the epoch that nodes still trust beside it; 0: none
	Fixed string    // why it can never be rotated; empty: it can
	Means string    // what rotating it costs, for people; may be empty
}

// fixed says why a purpose never changes.
func fixed(purpose string) string {
	switch {
	case strings.HasPrefix(purpose, "swift/hash"):
		return "the place of every object in Swift follows from it: with another one, all that is stored is lost"
	case purpose == purposeSigner:
		return "every node has its public key and takes nothing that another signed; whoever knows it has the master, and then only a new cloud helps"
	}
	return ""
}

// means says what rotating costs.
func means(purpose string) string {
	switch {
	case strings.HasSuffix(purpose, suffixCA):
		return "nodes trust the old CA and the new one; when every node has its new bundle, retire the old"
	case purpose == purposeNodeKey:
		return "the node needs its new key, by its own channel, before its next bundle"
	case purpose == purposeFormation:
		return "tickets of before permit nothing beside those of now; only for a cloud that never formed, or is formed anew"
	case purpose == "rabbitmq/cookie":
		return "RabbitMQ must stop on all controllers before one starts with the new cookie"
	case isFernet(purpose):
		return "the key of before still opens; wait until all controllers have the new bundle before the next rotation"
	case purpose == "nova/metadata":
		return "neutron and nova must change together, or machines get no metadata"
	}
	return ""
}

// Purposes lists all there are: those of this package and the secrets that the
// services of the roles declare. A purpose of single nodes that was rotated for
// one stands as PURPOSE@NODE.
func (m *Master) Purposes(declared []string) []Purpose {
	names := map[string]bool{purposeSigner: true, purposeNodeKey: true, purposeFormation: true}
	for _, d := range domains() {
		names[d.name+suffixCA], names[d.name+suffixNode] = true, true
	}
	for _, name := range declared {
		names[name] = true
	}
	for name := range m.epochs.Epochs {
		if strings.Contains(name, "@") {
			names[name] = true
		}
	}
	var all []Purpose
	for _, name := range sortedKeys(names) {
		base, one, _ := strings.Cut(name, "@")
		e := m.epochs.get(name)
		p := Purpose{Name: name, Epoch: e.Number, Since: e.Since, Fixed: fixed(name), Means: means(base)}
		if e.Before != nil {
			p.Old = e.Before.Number
		}
		if strings.HasSuffix(base, suffixCA) {
			p.Until = caEnd(e)
		} else if domain, ok := strings.CutSuffix(base, suffixNode); ok {
			p.Until = leafEnd(m.epochs.at(base, one), m.epochs.get(domain+suffixCA))
		}
		all = append(all, p)
	}
	return all
}

// ofNodes answers whether a purpose gives each node a key of its own.
func ofNodes(purpose string) bool {
	return purpose == purposeNodeKey || strings.HasSuffix(purpose, suffixNode)
}

// reserved answers whether a secret of that name would be a key of this package.
func reserved(name string) bool {
	return name == purposeSigner || name == purposeNodeKey || name == purposeFormation ||
		strings.HasSuffix(name, suffixCA) || strings.HasSuffix(name, suffixNode) ||
		strings.HasSuffix(name, "-key") && isFernet(strings.TrimSuffix(name, "-key"))
}

// controllersOnly answers whether a secret opens what only controllers hold: the
// database, the queue's inside, identity, the dashboard, the virtual IP. The
// roles' files say who gets what; this is the second lock.
func controllersOnly(name string) bool {
	service, part, _ := strings.Cut(name, "/")
	switch service {
	case "mariadb", "keystone", "keepalived", "horizon", "memcached", "glance", "placement":
		return true
	}
	return part == "db" || name == "rabbitmq/cookie"
}

// allowed says why a role may not have a secret.
func allowed(role, name string) error {
	switch {
	case !secretForm.MatchString(name):
		return fmt.Errorf("%q is not a secret's name, such as keystone/db", name)
	case reserved(name):
		return fmt.Errorf("no service may have the secret %s: it is a key of the operator; name it otherwise in roles/services", name)
	case role != node.Controller && controllersOnly(name):
		return fmt.Errorf("a %s node may not have %s, which is for controllers; take it out of the role's services", role, name)
	}
	return nil
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

func sortedCopy(all []string) []string { return slices.Sorted(slices.Values(all)) }
