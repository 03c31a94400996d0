// Package node holds what a machine is told about itself: its name, its cloud,
// its addresses, its settings and its secrets.
//
// A description is YAML whose first line is `#trivet/v1`, or the key `trivet:`
// of a cloud-init `#cloud-config`, or one of these in a MIME message. A
// network-config is of cloud-init's version 1 or 2, or OpenStack's
// network_data.json. A Config that Parse returned is right in
// itself; whether it fits the image is for Description.Fit to say. Every error
// names file, line and column, and what to do. No error shows a secret.
package node

import (
	"net/netip"
	"slices"
)

// Header is the first line of a description in Trivet's own form.
const Header = "#trivet/v1"

// Roles of the images that a description may name.
const (
	Controller = "controller"
	Compute    = "compute"
	Storage    = "storage"
)

// A Config describes one node. Templates see it.
type Config struct {
	Cluster     string       // the cloud's name
	Name        string       // the node's host name, without a domain
	Role        string       // controller, compute or storage
	VIP         netip.Prefix // the virtual IP, with the prefix length of its network
	VRID        int          // VRRP's number for it, 1 to 255, one per cloud on a network
	Address     netip.Prefix // this node's management address
	Interface   string       // that holds Address; empty: the one that has it
	Controllers []Member     // all of them, 1, 3 or 5, in the order of preference

	StorageDevices    []string // whole disks for Swift, as paths below /dev
	SSHAuthorizedKeys []string // lines of authorized_keys(5), for root
	NTP               []string // host names or addresses of time servers

	Settings Settings
	// Extra are lines for the files of services that no setting covers: service
	// → section → option → value.
	Extra   map[string]map[string]map[string]string
	Secrets map[string]Secret // by names such as keystone/db

	Bundle     string // an age file in ASCII armor that holds the secrets; or empty
	Generation int    // of the description, from 1; 0: not given
	Cleartext  bool   // the secrets came readable by anyone, as a lab may have it
}

// A Member is one node of a cluster.
type Member struct {
	Name    string
	Address netip.Addr
}

// Settings are those of services that operators really change. Parse fills in
// what a description leaves out.
type Settings struct {
	Region    string // of the catalogue
	MariaDB   MariaDBSettings
	RabbitMQ  RabbitMQSettings
	Memcached MemcachedSettings
	Keystone  KeystoneSettings
}

// MariaDBSettings are for the database.
type MariaDBSettings struct {
	BufferPool     Size // innodb_buffer_pool_size
	GaleraCache    Size // gcache.size: what a member may miss and still rejoin without a full copy
	MaxConnections int
}

// RabbitMQSettings are for the message queue.
type RabbitMQSettings struct {
	Schedulers int    // Erlang schedulers, each a thread
	Memory     Size   // vm_memory_high_watermark.absolute
	Clients    string // ClientsVIP or ClientsNodes
}

// How services reach RabbitMQ: through the virtual IP, or by a list of all
// controllers.
const (
	ClientsVIP   = "vip"
	ClientsNodes = "nodes"
)

// MemcachedSettings are for the cache.
type MemcachedSettings struct {
	Memory Size
}

// KeystoneSettings are for the identity service.
type KeystoneSettings struct {
	Processes int // uwsgi workers, about 115 MB each
	Threads   int // of each worker
}

// Lab answers whether the cloud has one controller and so needs no agreement.
func (c Config) Lab() bool { return len(c.Controllers) == 1 }

// Members returns the nodes of a role, in the description's order. Only those
// of controllers are known to every node.
func (c Config) Members(role string) []Member {
	if role != Controller {
		return nil
	}
	return slices.Clone(c.Controllers)
}

// amqpPort is RabbitMQ's, on the virtual IP as on the controllers.
const amqpPort = 5672

// RabbitHosts are where a service of the cloud reaches RabbitMQ, in the order in
// which it tries them: the virtual IP, or all controllers, as
// settings.rabbitmq.clients has it. A template makes its transport_url of them,
//
//	rabbit://{{range $i, $h := .RabbitHosts}}{{if $i}},{{end}}openstack:{{secret "rabbitmq/openstack"}}@{{$h}}{{end}}/
//
// as nova's and neutron's are to; keystone sends nothing.
func (c Config) RabbitHosts() []netip.AddrPort {
	if c.Settings.RabbitMQ.Clients != ClientsNodes {
		return []netip.AddrPort{netip.AddrPortFrom(c.VIP.Addr(), amqpPort)}
	}
	var all []netip.AddrPort
	for _, m := range c.Controllers {
		all = append(all, netip.AddrPortFrom(m.Address, amqpPort))
	}
	return all
}

// Priority is the node's rank for the virtual IP: 100 for the first controller,
// one less for each after it.
func (c Config) Priority() int {
	return 100 - max(0, slices.IndexFunc(c.Controllers, func(m Member) bool { return m.Name == c.Name }))
}
