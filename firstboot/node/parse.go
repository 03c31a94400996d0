package node

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// A Description is a Config and what is to be told about its file.
type Description struct {
	Config  Config
	Ignored []string // what the payload says that has no effect on a node, sorted
	doc     *document
	prefix  string // of paths: "trivet" in a #cloud-config
}

// descriptionFile is the shape of a description.
type descriptionFile struct {
	Cluster     string            `yaml:"cluster"`
	Name        string            `yaml:"name"`
	Role        string            `yaml:"role"`
	VIP         string            `yaml:"vip"`
	VRID        *int              `yaml:"vrid"`
	Address     string            `yaml:"address"`
	Interface   string            `yaml:"interface"`
	Controllers []memberFile      `yaml:"controllers"`
	Storage     storageFile       `yaml:"storage"`
	SSHKeys     []string          `yaml:"ssh_authorized_keys"`
	NTP         []string          `yaml:"ntp"`
	Settings    settingsFile      `yaml:"settings"`
	Extra       extraFile         `yaml:"config"`
	Secrets     map[string]string `yaml:"secrets"`
	Bundle      string            `yaml:"bundle"`
	Generation  *int              `yaml:"generation"`
	Delivery    string            `yaml:"secrets_delivery"`
}

// An extraFile is service → section → option → value.
type extraFile map[string]map[string]map[string]word

type memberFile struct {
	Name    string `yaml:"name"`
	Address string `yaml:"address"`
}

type storageFile struct {
	Devices []string `yaml:"devices"`
}

type settingsFile struct {
	Region    string        `yaml:"region"`
	MariaDB   mariadbFile   `yaml:"mariadb"`
	RabbitMQ  rabbitmqFile  `yaml:"rabbitmq"`
	Memcached memcachedFile `yaml:"memcached"`
	Keystone  keystoneFile  `yaml:"keystone"`
}

type mariadbFile struct {
	BufferPool     string `yaml:"buffer_pool"`
	GaleraCache    string `yaml:"galera_cache"`
	MaxConnections *int   `yaml:"max_connections"`
}

type rabbitmqFile struct {
	Schedulers *int   `yaml:"schedulers"`
	Memory     string `yaml:"memory"`
	Clients    string `yaml:"clients"`
}

type memcachedFile struct {
	Memory string `yaml:"memory"`
}

type keystoneFile struct {
	Processes *int `yaml:"processes"`
	Threads   *int `yaml:"threads"`
}

// Parse reads a description in any of the forms that user-data may have. File
// names it in errors, which are Problems. Meta is the host name that the source
// gives beside it, with or without a domain; it may be empty.
func Parse(file string, data []byte, meta string) (*Description, error) {
	p, err := split(file, data)
	if err != nil {
		return nil, err
	}
	var f descriptionFile
	var around honoured
	doc, prefix, err := p.read(&f, &around)
	if err != nil {
		return nil, err
	}
	c := checker{doc: doc, prefix: prefix}
	c.settle(&f, around, meta)
	d := &Description{doc: doc, prefix: prefix, Ignored: around.ignored}
	slices.Sort(d.Ignored)
	d.Ignored = slices.Compact(d.Ignored)
	d.Config = c.config(f)
	return d, doc.problems.asError()
}

// settle puts together the name, keys and time servers of a description and of
// the #cloud-config around it.
func (c *checker) settle(f *descriptionFile, around honoured, meta string) {
	host := firstLabel(around.hostname)
	if host == "" {
		host = firstLabel(around.fqdn)
	}
	switch {
	case f.Name != "" && host != "" && host != f.Name:
		c.fail("name", "the name is %q here, but the #cloud-config says the host name is %q; keep one of the two", f.Name, host)
	case f.Name != "" || c.doc.has(join(c.prefix, "name")):
	case host != "":
		f.Name = host
	default:
		f.Name = firstLabel(meta)
	}
	f.SSHKeys = append(f.SSHKeys, around.keys...)
	if len(f.NTP) == 0 {
		f.NTP = around.ntp
	}
}

// firstLabel is a host name without its domain.
func firstLabel(name string) string {
	label, _, _ := strings.Cut(name, ".")
	return label
}

// Fit checks the description against the image that reads it: its role, and the
// secrets that its services declare. Missing secrets are no problem for a lab,
// which makes its own, nor where a bundle brings them: then Config.Complete
// looks again, once the bundle is open.
func (d *Description) Fit(role string, secrets []string) error {
	doc := *d.doc
	doc.problems = nil
	if d.Config.Role != role {
		doc.problem(join(d.prefix, "role"), "the description is for a %s, but this is the image of a %s; boot the other image, or give this node its own description", d.Config.Role, role)
		return doc.problems.asError()
	}
	missing := d.Config.lacks(secrets)
	if len(missing) > 0 && !d.Config.Lab() && d.Config.Bundle == "" {
		doc.problem(join(d.prefix, "secrets"), "a cloud of %d controllers shares its secrets; these are missing: %s", len(d.Config.Controllers), strings.Join(missing, ", "))
	}
	return doc.problems.asError()
}

// parseAddress reads an IPv4 address.
func parseAddress(s string) (netip.Addr, error) {
	a, err := netip.ParseAddr(s)
	if err != nil || !a.Is4() {
		return a, fmt.Errorf("%q is not an IPv4 address", s)
	}
	return a, nil
}

// parsePrefix reads an IPv4 address with the prefix length of its network.
func parsePrefix(s string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(s)
	switch {
	case err != nil && !strings.Contains(s, "/"):
		return p, fmt.Errorf("%q has no prefix length; write it as 192.0.2.10/24", s)
	case err != nil || !p.Addr().Is4():
		return p, fmt.Errorf("%q is not an IPv4 address with a prefix length, such as 192.0.2.10/24", s)
	case p.Bits() < 8 || p.Bits() > 32:
		return p, fmt.Errorf("%q: the prefix length is not 8 to 32", s)
	case p.Bits() < 31 && (p.Addr() == p.Masked().Addr() || p.Addr() == last(p)):
		return p, fmt.Errorf("%q is the first or last address of its network, which no machine can have", s)
	}
	return p, nil
}

// last returns the highest address of a network, its broadcast address.
func last(p netip.Prefix) netip.Addr {
	a := p.Addr().As4()
	for bit := p.Bits(); bit < 32; bit++ {
		a[bit/8] |= 1 << (7 - bit%8)
	}
	return netip.AddrFrom4(a)
}
