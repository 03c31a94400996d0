package cloud

// The shape of cloud.yaml. The reader and the JSON Schema are both made from
// these types: `yaml` is the key, `doc` its description, and the other tags are
// keywords of JSON Schema.

// A scalar is text that may stand in the file as a number, true or false.
type scalar string

type cloudFile struct {
	Name        string            `yaml:"name" required:"true" pattern:"^[a-z]([a-z0-9-]{0,30}[a-z0-9])?$" doc:"The cloud's name."`
	Region      string            `yaml:"region" pattern:"^[A-Za-z][A-Za-z0-9_-]{0,63}$" doc:"Region of the catalogue; RegionOne if left out."`
	Domain      string            `yaml:"domain" doc:"DNS domain of the cloud's own names, such as cloud.example.org."`
	VIP         vipFile           `yaml:"vip" required:"true" doc:"The virtual IP, by which everything reaches the controllers."`
	Networks    networksFile      `yaml:"networks" required:"true" doc:"The networks. What has none of its own runs on management."`
	Controllers []nodeFile        `yaml:"controllers" required:"true" doc:"The controllers, 1, 3 or 5, in the order of preference."`
	Computes    []nodeFile        `yaml:"computes" doc:"The nodes that run users' machines."`
	Storages    []nodeFile        `yaml:"storages" doc:"The nodes with Swift's disks."`
	Swift       swiftFile         `yaml:"swift" doc:"The policy of Swift's rings."`
	DNS         []string          `yaml:"dns" doc:"Addresses of DNS servers."`
	NTP         []string          `yaml:"ntp" doc:"Names or addresses of time servers."`
	SSHKeys     []string          `yaml:"ssh_authorized_keys" doc:"Lines of authorized_keys, for root on every node."`
	Settings    settingsFile      `yaml:"settings" doc:"Settings of services that operators really change."`
	Config      map[string]config `yaml:"config" doc:"Everything else, free-form: service, section, option, value."`
}

// config is what an INI file holds: section, option, value.
type config map[string]map[string]scalar

type vipFile struct {
	Address string `yaml:"address" required:"true" doc:"A free address of the management network."`
	VRID    *int   `yaml:"vrid" min:"1" max:"255" doc:"VRRP's number, one per cloud on a network; 51 if left out."`
}

type networksFile struct {
	Management networkFile `yaml:"management" required:"true" doc:"Where nodes talk to each other, and the virtual IP is."`
	Public     networkFile `yaml:"public" doc:"Towards users."`
	Tunnel     networkFile `yaml:"tunnel" doc:"Between users' machines on different nodes (Geneve)."`
	Storage    networkFile `yaml:"storage" doc:"Swift's replication and what its proxies fetch."`
}

// each calls f for every network with its name.
func (n networksFile) each(f func(name string, n networkFile)) {
	f(Management, n.Management)
	f(Public, n.Public)
	f(Tunnel, n.Tunnel)
	f(Storage, n.Storage)
}

type networkFile struct {
	CIDR    string `yaml:"cidr" required:"true" doc:"The network, such as 10.0.0.0/24."`
	Gateway string `yaml:"gateway" doc:"The way out of it."`
	VLAN    *int   `yaml:"vlan" min:"1" max:"4094" doc:"VLAN number, if frames are tagged on the nodes' cards."`
	MTU     *int   `yaml:"mtu" min:"576" max:"9216" doc:"Bytes in a frame; the card's if left out."`
}

type nodeFile struct {
	Name       string       `yaml:"name" required:"true" pattern:"^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$" doc:"Host name, without a domain. It can never change."`
	Identity   identityFile `yaml:"identity" required:"true" doc:"How the machine is recognised; at least one of the three."`
	Addresses  perNetwork   `yaml:"addresses" required:"true" need:"management" doc:"The node's address on each network."`
	Interfaces perNetwork   `yaml:"interfaces" doc:"The card for each network: its name, its MAC, or the name of a bond. The first MAC of identity, if left out."`
	Bonds      []bondFile   `yaml:"bonds" doc:"Several cards as one."`
	Disks      []diskFile   `yaml:"disks" doc:"Whole disks for Swift, on storage nodes."`
	Zone       *int         `yaml:"zone" min:"1" max:"1000" doc:"Swift's zone: what fails together. Each storage node is its own if none says."`
	Rack       *int         `yaml:"rack" min:"1" max:"10000" doc:"Where the machine stands."`
	Line       int          // of the entry
}

type identityFile struct {
	MACs   []string `yaml:"macs" doc:"Permanent MAC addresses of its cards, the one of the management network first."`
	UUID   string   `yaml:"uuid" doc:"SMBIOS system UUID, as dmidecode -s system-uuid prints it."`
	Serial string   `yaml:"serial" doc:"SMBIOS system serial number, as dmidecode -s system-serial-number prints it."`
}

type perNetwork struct {
	Management string `yaml:"management" doc:"On the management network."`
	Public     string `yaml:"public" doc:"On the public network."`
	Tunnel     string `yaml:"tunnel" doc:"On the tunnel network."`
	Storage    string `yaml:"storage" doc:"On the storage network."`
}

// each calls f for every network that has a value.
func (p perNetwork) each(f func(network, value string)) {
	for i, value := range []string{p.Management, p.Public, p.Tunnel, p.Storage} {
		if value != "" {
			f(NetworkNames()[i], value)
		}
	}
}

type bondFile struct {
	Name  string   `yaml:"name" required:"true" doc:"Such as bond0."`
	Cards []string `yaml:"cards" required:"true" doc:"Names or MACs of its cards, two or more."`
	Mode  string   `yaml:"mode" enum:"802.3ad,active-backup,balance-alb,balance-rr,balance-tlb,balance-xor,broadcast" doc:"Of the kernel's bonding; active-backup if left out."`
}

type diskFile struct {
	Name   string   `yaml:"name" required:"true" doc:"Path of a whole disk that no reboot changes: /dev/disk/by-id/… or by-path."`
	Size   string   `yaml:"size" doc:"How large it should be, such as 3726GiB."`
	Weight *float64 `yaml:"weight" doc:"Share of the data, relative to other disks. Its size in GiB, or 100, if left out."`
}

type swiftFile struct {
	PartPower    *int `yaml:"part_power" min:"1" max:"32" doc:"2^n partitions, for ever; 10 if left out."`
	Replicas     *int `yaml:"replicas" min:"1" max:"16" doc:"Copies of every object; 3, or as many as there are disks, if left out."`
	MinPartHours *int `yaml:"min_part_hours" min:"0" max:"255" doc:"Hours before a partition may move again; 1 if left out."`
}

// settingsFile has the keys of node.Settings, less the region.
type settingsFile struct {
	MariaDB   mariadbFile   `yaml:"mariadb" doc:"The database."`
	RabbitMQ  rabbitmqFile  `yaml:"rabbitmq" doc:"The message queue."`
	Memcached memcachedFile `yaml:"memcached" doc:"The cache."`
	Keystone  keystoneFile  `yaml:"keystone" doc:"The identity service."`
}

type mariadbFile struct {
	BufferPool     string `yaml:"buffer_pool" doc:"innodb_buffer_pool_size; 256MiB if left out."`
	GaleraCache    string `yaml:"galera_cache" doc:"What a member may miss and still come back without a full copy; 128MiB if left out."`
	MaxConnections *int   `yaml:"max_connections" min:"20" max:"100000" doc:"1000 if left out."`
}

type rabbitmqFile struct {
	Schedulers *int   `yaml:"schedulers" min:"1" max:"64" doc:"Erlang's threads; 2 if left out."`
	Memory     string `yaml:"memory" doc:"Above it publishers wait; 512MiB if left out."`
	Clients    string `yaml:"clients" enum:"vip,nodes" doc:"How services find the queue: by the virtual IP, or by the list of nodes; vip if left out."`
}

type memcachedFile struct {
	Memory string `yaml:"memory" doc:"64MiB if left out."`
}

type keystoneFile struct {
	Processes *int `yaml:"processes" min:"1" max:"64" doc:"Of about 115 MB each; 2 if left out."`
	Threads   *int `yaml:"threads" min:"1" max:"64" doc:"Of each process; 4 if left out."`
}
