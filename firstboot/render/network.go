package render

import (
	"strings"

	"trivet/firstboot/node"
)

// NetworkFolder holds networkd's files. It is below /run, so that nothing of an
// earlier boot is in it.
const NetworkFolder = "/run/systemd/network"

// NetworkPattern matches the names of the files that Network makes, whatever
// their kind.
const NetworkPattern = "*-trivet-*"

// Network returns the files of networkd and of udev by name: one .network
// (systemd.network(5)) a link, a .netdev (systemd.netdev(5)) for each that has
// to be made, and a .link (systemd.link(5)) for a card that gets another name.
// A nil or empty network is the default: DHCP on every card.
func Network(n *node.Network) map[string]string {
	if n == nil || len(n.Links) == 0 {
		return Fallback(nil, "")
	}
	files := map[string]string{}
	for _, l := range n.Links {
		name := fileName(l)
		files[name+".network"] = networkFile(*n, l)
		if l.Kind != node.Card && l.Kind != node.Loop {
			files[name+".netdev"] = netdevFile(*n, l)
		}
		if l.Name != "" || l.Wake {
			files[name+".link"] = linkFile(l)
		}
	}
	return files
}

// fileName begins the names of a link's files. Networkd takes the first file
// that fits a card, so patterns come after names.
func fileName(l node.Link) string {
	order := "20"
	if l.Kind == node.Card && l.MAC == "" && (l.Driver != "" || strings.ContainsAny(l.Match, "*?[")) {
		order = "25"
	}
	return order + "-trivet-" + l.ID
}

// An ini writes a file of systemd: sections of lines, each section only if it
// has one.
type ini struct {
	b       strings.Builder
	section string
}

func newINI(what string) *ini {
	f := &ini{}
	f.b.WriteString("# Written by trivet-agent from the node's network-config: " + what + ".\n")
	return f
}

// in begins a section. A section that exists several times is begun by again.
func (f *ini) in(section string) { f.section = "\n[" + section + "]\n" }

// set writes a line, unless the value is empty.
func (f *ini) set(key, value string) {
	if value == "" {
		return
	}
	f.b.WriteString(f.section)
	f.section = ""
	f.b.WriteString(key + "=" + value + "\n")
}

func (f *ini) String() string { return f.b.String() }

// yes is a truth value that may be missing.
func yes(b *bool) string {
	switch {
	case b == nil:
		return ""
	case *b:
		return "yes"
	}
	return "no"
}

// when returns the value if it applies, else nothing.
func when(applies bool, value string) string {
	if applies {
		return value
	}
	return ""
}
