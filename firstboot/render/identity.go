package render

import (
	"fmt"
	"slices"
	"strings"

	"trivet/firstboot/node"
)

// A File is one that every node has, whatever its overlays hold.
type File struct {
	Path    string
	Content string
}

// keysFolder holds a file of keys for each user that may log in, where
// overlays/common's sshd_config looks for them: /root is part of the sealed image.
const keysFolder = "/etc/ssh/authorized_keys.d"

// Identity returns the files that name the node and its peers and let its
// operators in.
func Identity(c node.Config) []File {
	var hosts strings.Builder
	fmt.Fprintf(&hosts, "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n")
	// Each node reaches its peers by these names, with no DNS: RabbitMQ's nodes
	// are called rabbit@NAME. The own name leads to the own address, since peers
	// must see the same.
	fmt.Fprintf(&hosts, "%s %s\n", c.Address.Addr(), c.Name)
	for _, m := range c.Controllers {
		if m.Name != c.Name {
			fmt.Fprintf(&hosts, "%s %s\n", m.Address, m.Name)
		}
	}
	return []File{
		{"/etc/hostname", c.Name + "\n"},
		{"/etc/hosts", hosts.String()},
		{keysFolder + "/root", strings.Join(append(slices.Clone(c.SSHAuthorizedKeys), ""), "\n")},
	}
}
