package cloud

import (
	"bytes"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strings"
)

// maxCards bounds the MACs of one machine.
const maxCards = 32

var uuidForm = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)

func identityChecks() []Check {
	return []Check{
		failure("no-identity", "every machine can be recognised", "nothing tells which machine %q is", "give identity: macs, uuid or serial"),
		failure("mac-form", "MACs are written as such", "%q is not a MAC address", "write six pairs of hex digits, such as 0c:c4:7a:12:34:56"),
		failure("mac-multicast", "MACs are those of cards, not of groups", "%s is a multicast address, which no card has", "look at the card's label or at `ip link`"),
		failure("mac-zero", "no MAC is that of a card that has none", "%s is what a card without an address shows", "look at the card's label"),
		failure("mac-twice", "every MAC is one card's", "%s is also a card of %s (line %d)", "correct one of the two"),
		failure("uuid-form", "UUIDs are written as such", "%q is not a UUID", "write it as `dmidecode -s system-uuid` prints it"),
		failure("uuid-placeholder", "no UUID is one that whole series of boards have", "%s is what a board shows that was never given its UUID, and others of its kind show the same", "use macs or serial"),
		failure("uuid-twice", "every UUID is one machine's", "%s is also the UUID of %s (line %d)", "correct one of the two"),
		failure("serial-form", "serial numbers can be compared", "%q cannot be a serial number", "write it as `dmidecode -s system-serial-number` prints it: printable ASCII, at most 64 letters, no space at its ends"),
		failure("serial-placeholder", "no serial number is one that whole series of boards have", "%q is what a board shows that was never given a serial number", "use macs or uuid"),
		failure("serial-twice", "every serial number is one machine's", "%q is also the serial number of %s (line %d)", "correct one of the two"),
	}
}

// An owner is the node to which something that must be unique belongs.
type owner struct {
	name string
	line int
}

// unique notes that key belongs to n, or says under id that it is another's.
func (k *checker) unique(id, path, key string, n *Node, seen map[string]owner) {
	if o, taken := seen[key]; taken {
		k.say(id, path, key, o.name, o.line)
		return
	}
	seen[key] = owner{n.Name, n.Line}
}

// identities reads by what the machines are recognised.
func (k *checker) identities() {
	macs, uuids, serials := map[string]owner{}, map[string]owner{}, map[string]owner{}
	k.eachNode(func(path string, f nodeFile, n *Node) {
		path += ".identity"
		i := f.Identity
		if len(i.MACs) == 0 && i.UUID == "" && i.Serial == "" {
			k.say("no-identity", path, f.Name)
		}
		if len(i.MACs) > maxCards {
			k.say("list-long", path+".macs", len(i.MACs), maxCards)
			return
		}
		for j, s := range i.MACs {
			at := fmt.Sprintf("%s.macs[%d]", path, j)
			if mac := k.mac(at, s); mac != "" {
				k.unique("mac-twice", at, mac, n, macs)
				n.Identity.MACs = append(n.Identity.MACs, mac)
			}
		}
		if i.UUID != "" {
			n.Identity.UUID = k.uuid(path+".uuid", i.UUID, n, uuids)
		}
		if i.Serial != "" {
			n.Identity.Serial = k.serial(path+".serial", i.Serial, n, serials)
		}
	})
}

// mac reads a MAC and returns it in small letters with colons, or nothing.
func (k *checker) mac(path, s string) string {
	mac, err := net.ParseMAC(s)
	switch {
	case err != nil || len(mac) != 6:
		k.say("mac-form", path, s)
	case bytes.Equal(mac, make([]byte, 6)):
		k.say("mac-zero", path, mac)
	case mac[0]&1 == 1: // IEEE 802-2014 §8.2: the I/G bit
		k.say("mac-multicast", path, mac)
	default:
		return mac.String()
	}
	return ""
}

func (k *checker) uuid(path, s string, n *Node, seen map[string]owner) string {
	uuid := strings.ToLower(s)
	// A BIOS that was never told; the second is AMI's and the third Supermicro's.
	shared := []string{"03000200-0400-0500-0006-000700080009", "00020003-0004-0005-0006-000700080009", "fefefefe-fefe-fefe-fefe-fefefefefefe"}
	switch {
	case !uuidForm.MatchString(uuid):
		k.say("uuid-form", path, s)
	case strings.Trim(uuid, "0-") == "" || strings.Trim(uuid, "f-") == "" || slices.Contains(shared, uuid):
		k.say("uuid-placeholder", path, uuid)
	default:
		k.unique("uuid-twice", path, uuid, n, seen)
		return uuid
	}
	return ""
}

func (k *checker) serial(path, s string, n *Node, seen map[string]owner) string {
	printable := strings.IndexFunc(s, func(r rune) bool { return r < ' ' || r > '~' }) < 0
	placeholders := []string{"to be filled by o.e.m.", "default string", "system serial number", "not specified", "not applicable", "none", "n/a", "unknown", "0", "0123456789", "1234567890", "123456789", "xxxxxxxx"}
	switch {
	case !printable || len(s) > 64 || strings.TrimSpace(s) != s:
		k.say("serial-form", path, s)
	case slices.Contains(placeholders, strings.ToLower(s)) || strings.Trim(s, "0") == "":
		k.say("serial-placeholder", path, s)
	default:
		k.unique("serial-twice", path, s, n, seen)
		return s
	}
	return ""
}
