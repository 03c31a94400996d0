package node

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
)

// form is how a word may look.
type form struct {
	re   *regexp.Regexp
	says string
}

// The forms of names. Host names are labels of RFC 1123 §2.1; an interface's
// name has at most 15 bytes (IFNAMSIZ in linux/if.h).
func hostForm() form {
	return form{regexp.MustCompile(`^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$`), "small letters, digits and inner dashes, a letter first, at most 63; without a domain"}
}

func clusterForm() form {
	return form{regexp.MustCompile(`^[a-z]([a-z0-9-]{0,30}[a-z0-9])?$`), "small letters, digits and inner dashes, a letter first, at most 32"}
}

func interfaceForm() form {
	return form{regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9._-]{0,14}$`), "the name of a network interface, such as eth0"}
}

func secretForm() form {
	return form{regexp.MustCompile(`^[a-z][a-z0-9-]{0,39}(/[a-z][a-z0-9-]{0,39})?$`), "a secret's name, such as keystone/db"}
}

func regionForm() form {
	return form{regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_-]{0,63}$`), "letters, digits, - and _"}
}

func deviceForm() form {
	return form{regexp.MustCompile(`^/dev/[A-Za-z0-9][A-Za-z0-9:._+=@-]*(/[A-Za-z0-9][A-Za-z0-9:._+=@-]*)*$`), "the path of a disk below /dev"}
}

// Bounds on lists.
const (
	maxDevices = 64
	maxKeys    = 100
	maxSecrets = 500
)

// A checker turns the file's shape into a Config and notes problems.
type checker struct {
	doc    *document
	prefix string
}

// fail notes a problem. What is wrong in its form already is not judged further.
func (c *checker) fail(key, format string, args ...any) {
	if path := join(c.prefix, key); !c.doc.marked(path) {
		c.doc.problem(path, format, args...)
	}
}

// missing notes a key that must be there.
func (c *checker) missing(key, hint string) {
	c.doc.problem(c.prefix, "the key %s is missing%s", key, hint)
}

// word checks the form of a value that must be there.
func (c *checker) word(key, value string, f form) {
	switch {
	case value == "" && !c.doc.has(join(c.prefix, key)):
		c.missing(key, "")
	case !f.re.MatchString(value):
		c.fail(key, "%q does not fit: %s", value, f.says)
	}
}

func (c *checker) config(f descriptionFile) Config {
	g := Config{
		Cluster: f.Cluster, Name: f.Name, Role: f.Role, Interface: f.Interface,
		SSHAuthorizedKeys: c.keys(f.SSHKeys), StorageDevices: c.devices(f.Storage.Devices),
		NTP: c.timeServers(f.NTP), Secrets: c.secrets(f.Secrets), Settings: c.settings(f.Settings), Extra: c.extra(f.Extra),
	}
	c.delivery(&g, f)
	c.word("cluster", f.Cluster, clusterForm())
	c.word("name", f.Name, hostForm())
	if f.Interface != "" {
		c.word("interface", f.Interface, interfaceForm())
	}
	roles := []string{Controller, Compute, Storage}
	if f.Role == "" {
		c.word("role", f.Role, hostForm())
	} else if !slices.Contains(roles, f.Role) {
		c.fail("role", "%q is not one of %s%s", f.Role, strings.Join(roles, ", "), didYouMean(f.Role, roles))
	}
	g.VRID = c.number("vrid", f.VRID, 51, 1, 255)
	g.VIP = c.addressWithNetwork("vip", f.VIP)
	g.Address = c.addressWithNetwork("address", f.Address)
	g.Controllers = c.controllers(f.Controllers)
	if len(c.doc.problems) == 0 {
		c.together(g)
	}
	return g
}

func (c *checker) addressWithNetwork(key, s string) netip.Prefix {
	if s == "" {
		if !c.doc.has(join(c.prefix, key)) {
			c.missing(key, "; give an address with its prefix length, such as 192.0.2.10/24")
		}
		return netip.Prefix{}
	}
	p, err := parsePrefix(s)
	if err != nil {
		c.fail(key, "%v", err)
	}
	return p
}

func (c *checker) number(key string, given *int, standard, least, most int) int {
	if given == nil {
		return standard
	}
	if *given < least || *given > most {
		c.fail(key, "%d is not within %d to %d", *given, least, most)
	}
	return *given
}

// oneOf reads one of some words.
func (c *checker) oneOf(key, given, standard string, known ...string) string {
	if given == "" {
		return standard
	}
	if !slices.Contains(known, given) {
		c.fail(key, "%q is not one of %s%s", given, strings.Join(known, ", "), didYouMean(given, known))
	}
	return given
}

func (c *checker) size(key, given string, standard, least, most Size) Size {
	if given == "" {
		return standard
	}
	s, err := ParseSize(given)
	if err != nil {
		c.fail(key, "%v", err)
	} else if s < least || s > most {
		c.fail(key, "%s is not within %s to %s", s, least, most)
	}
	return s
}

func (c *checker) controllers(files []memberFile) []Member {
	switch n := len(files); n {
	case 0:
		if !c.doc.marked(join(c.prefix, "controllers")) {
			c.missing("controllers", "; name the cloud's controllers: 1 for a lab, 3 or 5")
		}
	case 1, 3, 5:
	case 2, 4:
		c.fail("controllers", "%d controllers: an even number survives no more losses than %d would, and a split in halves stops it; use 1, 3 or 5", n, n-1)
	default:
		c.fail("controllers", "%d controllers; use 1, 3 or 5, since every write waits for all of them", n)
		return nil
	}
	var members []Member
	for i, f := range files {
		key := fmt.Sprintf("controllers[%d]", i)
		c.word(key+".name", f.Name, hostForm())
		a, err := parseAddress(f.Address)
		switch {
		case f.Address == "":
			c.doc.problem(join(c.prefix, key), "the controller has no address")
		case err != nil:
			c.fail(key+".address", "%v", err)
		}
		for _, m := range members {
			if m.Name == f.Name {
				c.fail(key+".name", "%q is there twice", f.Name)
			}
			if m.Address == a && err == nil {
				c.fail(key+".address", "%s is also the address of %s", a, m.Name)
			}
		}
		members = append(members, Member{f.Name, a})
	}
	return members
}

func (c *checker) keys(lines []string) []string {
	var good []string
	for i, line := range lines {
		key := fmt.Sprintf("ssh_authorized_keys[%d]", i)
		line = strings.TrimSpace(line)
		switch fields := strings.Fields(line); {
		case i >= maxKeys:
			c.fail(key, "there are more than %d keys", maxKeys)
			return good
		case strings.ContainsFunc(line, func(r rune) bool { return r < ' ' }):
			c.fail(key, "the key has a line break or another control character")
		case len(line) > 16<<10 || len(fields) < 2 || !looksLikeKey(line):
			c.fail(key, "this is not a line of authorized_keys, such as `ssh-ed25519 AAAA… name`")
		case !slices.Contains(good, line):
			good = append(good, line)
		}
	}
	return good
}

// looksLikeKey answers whether a key's type stands in the line; options may
// stand before it (sshd(8), AUTHORIZED_KEYS FILE FORMAT).
func looksLikeKey(line string) bool {
	for _, field := range strings.Fields(line) {
		for _, kind := range []string{"ssh-ed25519", "ssh-rsa", "ecdsa-sha2-", "sk-ssh-ed25519@", "sk-ecdsa-sha2-"} {
			if strings.HasPrefix(field, kind) {
				return true
			}
		}
	}
	return false
}

func (c *checker) devices(paths []string) []string {
	if len(paths) > maxDevices {
		c.fail("storage.devices", "there are %d devices, more than %d", len(paths), maxDevices)
		return nil
	}
	for i, p := range paths {
		key := fmt.Sprintf("storage.devices[%d]", i)
		c.word(key, p, deviceForm())
		if slices.Contains(paths[:i], p) {
			c.fail(key, "%s is there twice", p)
		}
	}
	return paths
}

func (c *checker) secrets(values map[string]string) map[string]Secret {
	secrets := map[string]Secret{}
	if len(values) > maxSecrets {
		c.fail("secrets", "there are %d secrets, more than %d", len(values), maxSecrets)
		return secrets
	}
	for name, value := range values {
		key := "secrets." + name
		if f := secretForm(); !f.re.MatchString(name) {
			// Name and value may have changed places.
			c.fail(key, "the key does not fit: it must be %s", f.says)
		}
		if err := CheckSecret(value); err != nil {
			c.fail(key, "%v", err)
		}
		secrets[name] = NewSecret(value)
	}
	return secrets
}

func (c *checker) settings(f settingsFile) Settings {
	s := Settings{Region: f.Region}
	if s.Region == "" {
		s.Region = "RegionOne"
	}
	c.word("settings.region", s.Region, regionForm())
	s.MariaDB = MariaDBSettings{
		BufferPool:     c.size("settings.mariadb.buffer_pool", f.MariaDB.BufferPool, 256<<20, 32<<20, 1<<40),
		GaleraCache:    c.size("settings.mariadb.galera_cache", f.MariaDB.GaleraCache, 128<<20, 16<<20, 64<<30),
		MaxConnections: c.number("settings.mariadb.max_connections", f.MariaDB.MaxConnections, 1000, 20, 100_000),
	}
	s.RabbitMQ = RabbitMQSettings{
		Schedulers: c.number("settings.rabbitmq.schedulers", f.RabbitMQ.Schedulers, 2, 1, 64),
		Memory:     c.size("settings.rabbitmq.memory", f.RabbitMQ.Memory, 512<<20, 128<<20, 256<<30),
		Clients:    c.oneOf("settings.rabbitmq.clients", f.RabbitMQ.Clients, ClientsVIP, ClientsVIP, ClientsNodes),
	}
	s.Memcached = MemcachedSettings{Memory: c.size("settings.memcached.memory", f.Memcached.Memory, 64<<20, 1<<20, 64<<30)}
	s.Keystone = KeystoneSettings{
		Processes: c.number("settings.keystone.processes", f.Keystone.Processes, 2, 1, 64),
		Threads:   c.number("settings.keystone.threads", f.Keystone.Threads, 4, 1, 64),
	}
	return s
}

// together checks what only shows with several values in view.
func (c *checker) together(g Config) {
	at := func(a netip.Addr) int {
		return slices.IndexFunc(g.Controllers, func(m Member) bool { return m.Address == a })
	}
	if i := at(g.VIP.Addr()); i >= 0 {
		c.fail("vip", "the virtual IP %s is also the address of %s; it must be free", g.VIP.Addr(), g.Controllers[i].Name)
	}
	if g.VIP.Addr() == g.Address.Addr() {
		c.fail("vip", "the virtual IP %s is also this node's address; it must be free", g.VIP.Addr())
	}
	named := slices.IndexFunc(g.Controllers, func(m Member) bool { return m.Name == g.Name })
	switch {
	case g.Role == Controller && named < 0:
		c.fail("name", "%q is a controller but is not among the controllers", g.Name)
	case g.Role == Controller && g.Controllers[named].Address != g.Address.Addr():
		c.fail("address", "this node's address is %s here, but %s in the list of controllers", g.Address.Addr(), g.Controllers[named].Address)
	case g.Role != Controller && named >= 0:
		c.fail("name", "%q is the name of a controller, but this node is a %s", g.Name, g.Role)
	case g.Role != Controller && at(g.Address.Addr()) >= 0:
		c.fail("address", "%s is the address of the controller %s", g.Address.Addr(), g.Controllers[at(g.Address.Addr())].Name)
	}
	if g.Role == Controller && !g.Address.Masked().Contains(g.VIP.Addr()) {
		c.fail("vip", "the virtual IP %s is not in this node's network %s; a controller answers for it there", g.VIP.Addr(), g.Address.Masked())
	}
}
