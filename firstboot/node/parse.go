package node

import (
	"bytes"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// CloudConfig is the first line of cloud-init's own form.
const CloudConfig = "#cloud-config"

// A Description is a Config and what is to be told about its file.
type Description struct {
	Config  Config
	Ignored []string // keys of a #cloud-config that have no effect on a node, sorted
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
	Settings    settingsFile      `yaml:"settings"`
	Secrets     map[string]string `yaml:"secrets"`
}

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
}

type memcachedFile struct {
	Memory string `yaml:"memory"`
}

type keystoneFile struct {
	Processes *int `yaml:"processes"`
	Threads   *int `yaml:"threads"`
}

// Parse reads a description. File names it in errors, which are Problems. Meta
// is the host name that the source gives beside it; it may be empty.
func Parse(file string, data []byte, meta string) (*Description, error) {
	form, err := formOf(file, data)
	if err != nil {
		return nil, err
	}
	doc, err := parseYAML(file, data, MaxDescription)
	if err != nil {
		return nil, err
	}
	if doc.body == nil {
		return nil, Problems{{file, 1, 1, "the description is empty; give at least cluster, name, role, vip, address and controllers"}}
	}
	if !doc.isMapping() {
		line, column := position(doc.body)
		return nil, Problems{{file, line, column, "this must be a mapping: keys with a colon and their values"}}
	}
	d := &Description{doc: doc}
	var f descriptionFile
	if form == CloudConfig {
		err = d.cloudConfig(&f)
	} else {
		doc.decode("", doc.body, reflect.ValueOf(&f).Elem())
	}
	if err != nil {
		return nil, err
	}
	if f.Name == "" && !doc.has(d.path("name")) {
		f.Name = meta
	}
	c := checker{doc: doc, prefix: d.prefix}
	d.Config = c.config(f)
	return d, doc.problems.asError()
}

// formOf reads the first line, which says what the file is.
func formOf(file string, data []byte) (string, error) {
	first, _, _ := bytes.Cut(data, []byte("\n"))
	line := strings.TrimSpace(string(first))
	word, _, _ := strings.Cut(line, " ")
	say := func(format string, args ...any) error {
		return Problems{{file, 1, 1, fmt.Sprintf(format, args...)}}
	}
	switch {
	case word == Header || word == CloudConfig:
		return word, nil
	case len(bytes.TrimSpace(data)) == 0:
		return "", say("the file is empty; its first line must be %s, and a description follows", Header)
	case strings.HasPrefix(word, "#trivet/"):
		return "", say("this image reads %s; the first line names another version", Header)
	case bytes.HasPrefix(data, []byte{0x1f, 0x8b}):
		return "", say("the file is compressed; give it as plain text")
	case strings.HasPrefix(line, "Content-Type:") || strings.HasPrefix(line, "MIME-Version:"):
		return "", say("MIME messages are not read; give a file whose first line is %s or %s", Header, CloudConfig)
	case strings.HasPrefix(line, "#!"):
		return "", say("scripts are not run; give a file whose first line is %s or %s", Header, CloudConfig)
	}
	return "", say("the first line must be %s, or %s with a key trivet:", Header, CloudConfig)
}

func (d *Description) path(key string) string { return join(d.prefix, key) }

// cloudConfig takes the key trivet out of a #cloud-config, and the two other
// keys that a node honours.
func (d *Description) cloudConfig(f *descriptionFile) error {
	var hostname string
	var keys []string
	found := false
	d.doc.eachPair("", d.doc.body, func(key, below string, value ast.Node) {
		switch key {
		case "trivet":
			found = true
			d.prefix = "trivet"
			d.doc.decode(below, value, reflect.ValueOf(f).Elem())
		case "hostname":
			d.doc.decode(below, value, reflect.ValueOf(&hostname).Elem())
		case "ssh_authorized_keys":
			d.doc.decode(below, value, reflect.ValueOf(&keys).Elem())
		default:
			d.Ignored = append(d.Ignored, key)
		}
	})
	slices.Sort(d.Ignored)
	if !found {
		d.doc.problem("", "there is no key trivet:, so nothing says what this node is; add it, or use a file whose first line is %s", Header)
		return d.doc.problems.asError()
	}
	if hostname != "" && f.Name != "" && hostname != f.Name {
		d.doc.problem("hostname", "hostname %q and trivet.name %q differ; keep one of the two", hostname, f.Name)
	}
	if f.Name == "" {
		f.Name = hostname
	}
	f.SSHKeys = append(f.SSHKeys, keys...)
	return nil
}

// Fit checks the description against the image that reads it: its role, and the
// secrets that its services declare. Missing secrets are no problem for a lab,
// which makes its own.
func (d *Description) Fit(role string, secrets []string) error {
	doc := *d.doc
	doc.problems = nil
	if d.Config.Role != role {
		doc.problem(d.path("role"), "the description is for a %s, but this is the image of a %s; boot the other image, or give this node its own description", d.Config.Role, role)
		return doc.problems.asError()
	}
	var missing []string
	for _, name := range secrets {
		if _, ok := d.Config.Secrets[name]; !ok {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 && !d.Config.Lab() {
		doc.problem(d.path("secrets"), "a cloud of %d controllers shares its secrets; these are missing: %s", len(d.Config.Controllers), strings.Join(missing, ", "))
	}
	return doc.problems.asError()
}

// ParseMetaData reads cloud-init's meta-data: the instance's id and host name.
// Other keys are left alone. Both may be empty.
func ParseMetaData(file string, data []byte) (instance, hostname string, err error) {
	doc, err := parseYAML(file, data, MaxMetaData)
	if err != nil || doc.body == nil {
		return "", "", err
	}
	doc.eachPair("", doc.body, func(key, below string, value ast.Node) {
		switch key {
		case "instance-id":
			// Some tools write a bare number; the id is only compared.
			if instance = plain(value); instance == "" {
				doc.decode(below, value, reflect.ValueOf(&instance).Elem())
			}
		case "local-hostname":
			doc.decode(below, value, reflect.ValueOf(&hostname).Elem())
		}
	})
	return instance, hostname, doc.problems.asError()
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
