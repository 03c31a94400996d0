package cloud

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Forms of names. A network card's name has at most 15 bytes (IFNAMSIZ in
// linux/if.h); a bond's has no dot, which sysctl(8) would read as a slash.
var (
	cardName = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9._-]{0,14}$`)
	bondName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,14}$`)
)

// maxBonds bounds the bonds of one machine.
const maxBonds = 16

// bondModes are those of the kernel (networking/bonding.rst, mode).
func bondModes() []string {
	return []string{"802.3ad", "active-backup", "balance-alb", "balance-rr", "balance-tlb", "balance-xor", "broadcast"}
}

func cardChecks() []Check {
	return []Check{
		failure("card-form", "cards are named by name or MAC", "%q is neither the name of a network card nor a MAC address", "write it as `ip link` shows it, such as eno1 or 0c:c4:7a:12:34:56"),
		failure("card-no-address", "a card that is named for a network is for an address there", "the node has no address on networks.%s", "give it one below addresses, or take this out"),
		warning("card-unknown", "it is known which card has the management address", "nothing tells which card of %q has its addresses, so no network-config is made", "give identity.macs or interfaces.management, unless DHCP gives the addresses"),
		warning("card-shared", "networks that are not told apart by VLANs have cards of their own", "networks.%s and networks.%s are both untagged on one card, and so only addresses keep them apart", "give one a vlan, or its card below interfaces"),
		failure("bond-name", "a bond has a name that Linux can give", "%q cannot be the name of a bond", "use a letter, then letters, digits and dashes, at most 15: bond0"),
		failure("bond-twice", "every bond of a node has its own name", "%q is there twice", "give each bond its own name"),
		failure("bond-nested", "no bond is a card of a bond", "%q is a bond, which cannot be a card of the bond %s", "list the cards themselves"),
		failure("bond-cards", "a bond has cards to lose", "a bond of %d card cannot lose one", "give two or more"),
		failure("bond-mode", "a bond's mode is one of Linux", "%q is not a mode of bonds", "%suse one of %s"),
		failure("bond-card", "a card is in one bond only, and not used beside it", "the card %s is in the bond %s already", "use it once; name the bond below interfaces, for management too"),
		warning("bond-unused", "a bond that is described is used", "no network is on the bond %s", "name it below interfaces, or take it out"),
	}
}

// cards reads the cards and bonds of the nodes.
func (k *checker) cards() {
	macs := map[string]owner{}
	k.eachNode(func(_ string, _ nodeFile, n *Node) {
		for _, mac := range n.Identity.MACs {
			if _, taken := macs[mac]; !taken {
				macs[mac] = owner{n.Name, n.Line}
			}
		}
	})
	k.eachNode(func(path string, f nodeFile, n *Node) {
		inBond := k.bonds(path+".bonds", f, n, macs)
		n.Interfaces = map[string]string{}
		f.Interfaces.each(func(network, value string) {
			at := path + ".interfaces." + network
			card := k.card(at, value, n, macs)
			bond, taken := inBond[card]
			switch {
			case card == "":
			case !k.has(path + ".addresses." + network):
				k.say("card-no-address", at, network)
			case taken:
				k.say("bond-card", at, card, bond)
			default:
				n.Interfaces[network] = card
			}
		})
		for i, b := range n.Bonds {
			if !usesCard(*n, b.Name) {
				k.say("bond-unused", fmt.Sprintf("%s.bonds[%d]", path, i), b.Name)
			}
		}
		k.plan(path, *n, inBond)
	})
}

func usesCard(n Node, card string) bool {
	for _, c := range n.Interfaces {
		if c == card {
			return true
		}
	}
	return false
}

// bonds reads the bonds of a node, and returns which bond has each card.
func (k *checker) bonds(path string, f nodeFile, n *Node, macs map[string]owner) map[string]string {
	inBond := map[string]string{}
	if len(f.Bonds) > maxBonds {
		k.say("list-long", path, len(f.Bonds), maxBonds)
		return inBond
	}
	var names []string
	for _, b := range f.Bonds {
		names = append(names, b.Name)
	}
	for i, b := range f.Bonds {
		at := fmt.Sprintf("%s[%d]", path, i)
		good := false
		switch {
		case !k.given(b.Name, at+".name"):
		case !bondName.MatchString(b.Name):
			k.say("bond-name", at+".name", b.Name)
		case slices.ContainsFunc(n.Bonds, func(o Bond) bool { return o.Name == b.Name }):
			k.say("bond-twice", at+".name", b.Name)
		default:
			good = true
		}
		bond := k.bond(at, b, n, names, macs, inBond)
		if good {
			n.Bonds = append(n.Bonds, bond)
		}
	}
	return inBond
}

// bond reads the mode and cards of a bond.
func (k *checker) bond(path string, f bondFile, n *Node, names []string, macs map[string]owner, inBond map[string]string) Bond {
	bond := Bond{Name: f.Name, Mode: f.Mode}
	if bond.Mode == "" {
		bond.Mode = "active-backup"
	} else if !slices.Contains(bondModes(), f.Mode) {
		k.say("bond-mode", path+".mode", f.Mode, didYouMean(f.Mode, bondModes()), strings.Join(bondModes(), ", "))
	}
	switch most := maxCards; {
	case len(f.Cards) < 2 && !k.wrong(path+".cards"):
		k.say("bond-cards", path+".cards", len(f.Cards))
	case len(f.Cards) > most:
		k.say("list-long", path+".cards", len(f.Cards), most)
		return bond
	}
	for j, c := range f.Cards {
		where := fmt.Sprintf("%s.cards[%d]", path, j)
		card := k.card(where, c, n, macs)
		if slices.Contains(names, card) {
			k.say("bond-nested", where, card, f.Name)
			continue
		}
		if other, taken := inBond[card]; taken && card != "" {
			k.say("bond-card", where, card, other)
			continue
		}
		inBond[card] = f.Name
		bond.Cards = append(bond.Cards, card)
	}
	return bond
}

// card reads the name or MAC of a card. A MAC may be among the node's own, but
// not another's.
func (k *checker) card(path, s string, n *Node, macs map[string]owner) string {
	if !strings.Contains(s, ":") {
		if !cardName.MatchString(s) {
			k.say("card-form", path, s)
			return ""
		}
		return s
	}
	mac := k.mac(path, s)
	if mac == "" {
		return ""
	}
	if o, taken := macs[mac]; taken && o.line != n.Line {
		k.say("mac-twice", path, mac, o.name, o.line)
		return ""
	}
	macs[mac] = owner{n.Name, n.Line}
	return mac
}

// plan looks at which networks share a card.
func (k *checker) plan(path string, n Node, inBond map[string]string) {
	if n.card(Management) == "" {
		// What is wrong with a card that was named is told already.
		if !k.has(path+".interfaces.management") && !k.has(path+".identity.macs") {
			k.say("card-unknown", path, n.Name)
		}
		return
	}
	if bond, taken := inBond[n.card(Management)]; taken {
		k.say("bond-card", path+".identity", n.card(Management), bond)
		return
	}
	untagged := map[string]string{}
	for _, name := range NetworkNames() {
		net, _ := k.cloud.Networks.Get(name)
		if !n.Addresses[name].IsValid() || net.VLAN != 0 {
			continue
		}
		if other, shared := untagged[n.card(name)]; shared {
			k.say("card-shared", path+".addresses."+name, other, name)
			continue
		}
		untagged[n.card(name)] = name
	}
	for _, name := range NetworkNames() {
		net, _ := k.cloud.Networks.Get(name)
		below, shared := untagged[n.card(name)]
		if !n.Addresses[name].IsValid() || net.VLAN == 0 || !shared {
			continue
		}
		on, _ := k.cloud.Networks.Get(below)
		if carries := orStandard(on.MTU); orStandard(net.MTU) > carries {
			k.say("mtu-vlan", "networks."+name+".mtu", net.MTU, below, carries)
		}
	}
}

// orStandard is Ethernet's MTU (RFC 894) for a card that has no other.
func orStandard(mtu int) int {
	if mtu == 0 {
		return 1500
	}
	return mtu
}

// card returns the name or MAC of the card that carries a network: the one that
// is told, else that of the management network; empty if nothing tells.
func (n Node) card(network string) string {
	if card, ok := n.Interfaces[network]; ok {
		return card
	}
	if card, ok := n.Interfaces[Management]; ok {
		return card
	}
	if len(n.Identity.MACs) > 0 {
		return n.Identity.MACs[0]
	}
	return ""
}
