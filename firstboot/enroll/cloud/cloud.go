// Package cloud reads the operator's description of a whole cloud, cloud.yaml,
// and says everything that is wrong in it at once: each problem with file, line
// and column, and with the way to put it right. From a description that is right
// it makes what one node is told: its user-data and its network-config.
package cloud

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"

	"trivet/firstboot/node"
)

// Names of the networks, as the keys of Node.Addresses and Node.Interfaces.
const (
	Management = "management"
	Public     = "public"
	Tunnel     = "tunnel"
	Storage    = "storage"
)

// NetworkNames are the four networks that a cloud may have, management first.
func NetworkNames() []string { return []string{Management, Public, Tunnel, Storage} }

// A Cloud is what cloud.yaml says. What it leaves out has its default here.
type Cloud struct {
	File              string // its name, as problems say it
	Name              string
	Region            string // of the catalogue
	Domain            string // of the cloud's own DNS names; may be empty
	VIP               VIP
	Networks          Networks
	Controllers       []Node // 1, 3 or 5, in the order of preference
	Computes          []Node
	Storages          []Node
	Swift             Swift
	DNS               []netip.Addr
	NTP               []string // host names or addresses
	SSHAuthorizedKeys []string // lines of authorized_keys(5), for root
	RabbitMQClients   string   // node.ClientsVIP or node.ClientsNodes; also in Settings
	Settings          node.Settings
	// Config is free-form: service → section → option → value. Of the services
	// only their and the sections' names are known here.
	Config map[string]map[string]map[string]string
}

// VIP is the virtual IP, which one controller at a time holds.
type VIP struct {
	Address netip.Prefix // with the prefix length of the management network
	VRID    int          // 1 to 255, one per cloud on a network (RFC 9568 §5.2.3)
}

// Networks are those that the operator declares. One without a CIDR is not
// declared, and what would run on it runs on the management network.
type Networks struct {
	Management, Public, Tunnel, Storage Network
}

// A Network is one IPv4 network.
type Network struct {
	CIDR    netip.Prefix
	Gateway netip.Addr // invalid: none
	VLAN    int        // IEEE 802.1Q number, 1 to 4094; 0: untagged
	MTU     int        // bytes; 0: the card's
}

// Get returns the network of a name, and whether it is declared.
func (n Networks) Get(name string) (Network, bool) {
	var found Network
	switch name {
	case Management:
		found = n.Management
	case Public:
		found = n.Public
	case Tunnel:
		found = n.Tunnel
	case Storage:
		found = n.Storage
	}
	return found, found.CIDR.IsValid()
}

// A Node is one machine.
type Node struct {
	Name       string // host name, without a domain
	Role       string // controller, compute or storage, as package node has them
	Identity   Identity
	Addresses  map[string]netip.Prefix // by network; management is always there
	Interfaces map[string]string       // by network: the name or MAC of a card, or the name of a bond
	Bonds      []Bond
	Disks      []Disk // of a storage node
	Zone       int    // Swift's; from 1 for a storage node, else 0
	Rack       int    // 0: not told
	Line       int    // of its entry in the file
}

// An Identity is how a machine is recognised. At least one is there.
type Identity struct {
	MACs   []string // in small letters with colons
	UUID   string   // SMBIOS system UUID, in small letters (DSP0134 §7.2.1)
	Serial string   // SMBIOS system serial number
}

// A Bond is several cards as one.
type Bond struct {
	Name  string
	Cards []string // names or MACs
	Mode  string   // of the kernel's bonding driver
}

// A Disk is a whole disk for Swift.
type Disk struct {
	Name   string  // its path, /dev/disk/by-…
	Size   int64   // bytes; 0: not told
	Weight float64 // relative to the other disks'
}

// Swift is the policy of the rings.
type Swift struct {
	PartPower    int // 2^n partitions, for ever
	Replicas     int
	MinPartHours int // before a partition may move again
}

// Nodes returns all nodes: controllers, computes, storages, each in the order of
// the file.
func (c Cloud) Nodes() []Node { return slices.Concat(c.Controllers, c.Computes, c.Storages) }

// Node returns the node called name.
func (c Cloud) Node(name string) (Node, bool) {
	for _, n := range c.Nodes() {
		if n.Name == name {
			return n, true
		}
	}
	return Node{}, false
}

// On returns the node's address on a network, or on the management network if
// it has none there.
func (n Node) On(network string) netip.Prefix {
	if a, ok := n.Addresses[network]; ok {
		return a
	}
	return n.Addresses[Management]
}

// Read reads the description at path. What is wrong in it is node.Problems; a
// file that the system does not give is another error.
func Read(path string) (Cloud, error) {
	data, err := readFile(path)
	if err != nil {
		return Cloud{}, err
	}
	return Parse(path, data)
}

// Parse reads a description. The error is node.Problems: all that is wrong, in
// the order of the lines. Warnings are no errors; Examine tells them.
func Parse(file string, data []byte) (Cloud, error) {
	c, findings := Examine(file, data)
	var problems node.Problems
	for _, f := range findings {
		if f.Severity == Error {
			problems = append(problems, f.Problem)
		}
	}
	if problems != nil {
		return Cloud{}, problems
	}
	return c, nil
}

// ExamineFile is Examine for the file at path; the error is one of reading it.
func ExamineFile(path string) (Cloud, []Finding, error) {
	data, err := readFile(path)
	if err != nil {
		return Cloud{}, nil, err
	}
	c, findings := Examine(path, data)
	return c, findings, nil
}

// maxFindings bounds what is told of one file.
const maxFindings = 200

// Examine reads a description and returns what it says, as far as it can be
// understood, with all findings in the order of the lines. The Cloud is to be
// used only if no finding is an Error.
func Examine(file string, data []byte) (Cloud, []Finding) {
	d := newDocument(file)
	c := Cloud{File: file}
	if root := d.read(data); root != nil {
		var f cloudFile
		d.decodeRoot(root, &f)
		k := checker{doc: d, file: f, cloud: &c}
		k.all()
	}
	slices.SortStableFunc(d.findings, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column), cmp.Compare(a.ID, b.ID))
	})
	d.findings = slices.CompactFunc(d.findings, func(a, b Finding) bool { return a == b })
	return c, d.findings
}

// readFile reads at most a little more than a description may have, so that a
// wrong path (a disk image, a pipe) costs nothing.
func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read the description of the cloud: %w", err)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("read the description of the cloud %s: %w", path, err)
	}
	return data, nil
}
