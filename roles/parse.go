package roles

import (
	"fmt"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// The forms of names. Package names are those of Debian Policy §5.6.1; units
// those of systemd.unit(5), of the kinds that a node starts.
var (
	nameOK    = regexp.MustCompile(`^[a-z][a-z0-9-]{0,39}$`)
	packageOK = regexp.MustCompile(`^[a-z0-9][a-z0-9+.-]{1,79}$`)
	unitOK    = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9@._-]{0,79}\.(service|socket|target|timer|path)$`)
	timeoutOK = regexp.MustCompile(`^[1-9][0-9]{0,3}[smh]$`)
	secretOK  = regexp.MustCompile(`^[a-z][a-z0-9-]{0,39}(/[a-z][a-z0-9-]{0,39})?$`)
)

func parseRole(file, name string, data []byte) (Role, places, error) {
	var f roleFile
	at, err := decode(file, data, &f)
	if err != nil {
		return Role{}, at, err
	}
	r := Role{Name: name, About: strings.TrimSpace(f.About), Packages: f.Packages, Start: f.Start}
	for _, s := range f.Services {
		r.Services = append(r.Services, Service{Name: s})
	}
	c := checker{at: at}
	c.about(r.About)
	c.list("services", f.Services, nameOK, "a service name")
	c.list("packages", f.Packages, packageOK, "a Debian package name")
	c.list("start", f.Start, nameOK, "a service name")
	if len(f.Services) == 0 {
		c.fail("services", "a role needs services; list at least %q", Base)
	}
	r.Disk = c.disk(f.Disk)
	return r, at, c.err
}

func parseService(file, name string, data []byte) (Service, error) {
	var f serviceFile
	at, err := decode(file, data, &f)
	if err != nil {
		return Service{}, err
	}
	s := Service{
		Name: name, About: strings.TrimSpace(f.About), Packages: f.Packages, Units: f.Units, After: f.After,
		Secrets: f.Secrets, Boot: f.Boot, Join: f.Join,
	}
	c := checker{at: at}
	c.about(s.About)
	c.list("packages", f.Packages, packageOK, "a Debian package name")
	c.list("units", f.Units, unitOK, "a unit name with its ending, such as ssh.service")
	c.list("after", f.After, nameOK, "a service name")
	c.list("secrets", f.Secrets, secretOK, "a secret name, such as keystone/db")
	if f.Join != "" && !nameOK.MatchString(f.Join) {
		c.fail("join", "%q is not the name of a step", f.Join)
	}
	if f.Boot && len(f.Units) == 0 {
		c.fail("boot", "a service that starts at boot needs units")
	}
	for i, p := range f.Ports {
		s.Ports = append(s.Ports, c.port(fmt.Sprintf("ports[%d]", i), p))
	}
	for i, h := range f.Health {
		s.Health = append(s.Health, c.check(fmt.Sprintf("health[%d]", i), h, f.Units))
	}
	return s, c.err
}

// A checker keeps the first error.
type checker struct {
	at  places
	err error
}

func (c *checker) fail(path, format string, args ...any) {
	if c.err == nil {
		c.err = c.at.errorf(path, format, args...)
	}
}

func (c *checker) about(about string) {
	if about == "" {
		c.fail("about", "about is empty; say in a line what this is for")
	}
}

// list checks the form of each word and that none comes twice.
func (c *checker) list(key string, words []string, form *regexp.Regexp, what string) {
	for i, w := range words {
		path := fmt.Sprintf("%s[%d]", key, i)
		if !form.MatchString(w) {
			c.fail(path, "%q is not %s", w, what)
		}
		if slices.Contains(words[:i], w) {
			c.fail(path, "%q is listed twice", w)
		}
	}
}

func (c *checker) port(path string, f portFile) Port {
	p := Port(f)
	if p.Proto == "" {
		p.Proto = "tcp"
	}
	if !nameOK.MatchString(p.Name) {
		c.fail(path+".name", "%q is not a port name", p.Name)
	}
	if p.Number < 1 || p.Number > 65535 {
		c.fail(path+".number", "port number %d is not in 1 to 65535", p.Number)
	}
	if p.Proto != "tcp" && p.Proto != "udp" {
		c.fail(path+".proto", "proto %q is neither tcp nor udp", p.Proto)
	}
	if p.VIP != "" && p.VIP != "http" && p.VIP != "tcp" {
		c.fail(path+".vip", "vip %q is neither http nor tcp", p.VIP)
	}
	if p.VIP != "" && p.Proto != "tcp" {
		c.fail(path+".vip", "HAProxy publishes no %s port", p.Proto)
	}
	p.From = c.from(path, p)
	c.front(path, p)
	return p
}

// from returns who may reach a port. What a file does not say is decided by
// what it says of the port, the narrower the less it says.
func (c *checker) from(path string, p Port) string {
	known := []string{FromControllers, FromCloud, FromAnyone}
	switch {
	case p.From != "" && !slices.Contains(known, p.From):
		c.fail(path+".from", "from %q is none of %s%s", p.From, strings.Join(known, ", "), didYouMean(p.From, known))
	case p.Public && p.From != "" && p.From != FromAnyone:
		c.fail(path+".from", "a public port is for anyone, not only for the %s", p.From)
	case p.From != "":
		return p.From
	case p.Public:
		return FromAnyone
	case p.VIP != "":
		return FromCloud
	}
	return FromControllers
}

// front checks what HAProxy is told about a port.
func (c *checker) front(path string, p Port) {
	for _, key := range []struct{ name, value string }{{"balance", p.Balance}, {"timeout", p.Timeout}, {"sticky", p.Sticky}} {
		if key.value != "" && p.VIP == "" {
			c.fail(path+"."+key.name, "%s is for ports on the virtual IP; add vip, or leave it out", key.name)
		}
	}
	known := []string{"roundrobin", "leastconn", "source"}
	if p.Balance != "" && !slices.Contains(known, p.Balance) {
		c.fail(path+".balance", "balance %q is none of %s%s", p.Balance, strings.Join(known, ", "), didYouMean(p.Balance, known))
	}
	if p.Timeout != "" && !timeoutOK.MatchString(p.Timeout) {
		c.fail(path+".timeout", "timeout %q is not a whole number of seconds, minutes or hours, such as 90s, 10m or 6h", p.Timeout)
	}
	if p.Sticky != "" && p.Sticky != "cookie" {
		c.fail(path+".sticky", "sticky %q is not cookie", p.Sticky)
	}
	if p.Sticky != "" && p.VIP != "http" {
		c.fail(path+".sticky", "only an http port has cookies")
	}
}

func (c *checker) check(path string, f checkFile, units []string) Check {
	set := 0
	for _, is := range []bool{f.Unit != "", f.HTTP != "", f.TCP != "", len(f.Run) > 0} {
		if is {
			set++
		}
	}
	if set != 1 {
		c.fail(path, "a check has exactly one of unit, http, tcp and run, not %d", set)
	}
	if f.Unit != "" && !slices.Contains(units, f.Unit) {
		c.fail(path+".unit", "%q is not among the units of the service%s", f.Unit, didYouMean(f.Unit, units))
	}
	if f.HTTP != "" {
		u, err := url.Parse(fillAddress(f.HTTP))
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			c.fail(path+".http", "%q is not an http URL", f.HTTP)
		}
	}
	if f.TCP != "" {
		host, port, err := net.SplitHostPort(fillAddress(f.TCP))
		n, perr := strconv.Atoi(port)
		if err != nil || host == "" || perr != nil || n < 1 || n > 65535 {
			c.fail(path+".tcp", "%q is not host:port", f.TCP)
		}
	}
	if len(f.Run) > 0 && !strings.HasPrefix(f.Run[0], "/") {
		c.fail(path+".run", "%q is not a full path", f.Run[0])
	}
	return Check(f)
}

// fillAddress puts an address where a check has {node} or {vip}.
func fillAddress(s string) string {
	return strings.NewReplacer("{node}", "192.0.2.1", "{vip}", "192.0.2.2").Replace(s)
}

func (c *checker) disk(f diskFile) Disk {
	d := Disk{
		ESP:         c.size("disk.esp", f.ESP, 64<<20, 4<<30),
		Root:        c.size("disk.root", f.Root, 64<<20, 64<<30),
		Verity:      c.size("disk.verity", f.Verity, 1<<20, 1<<30),
		RootReserve: c.size("disk.root_reserve", f.RootReserve, 0, 32<<30),
	}
	// A hash tree of SHA-256 over 4 KiB blocks takes 1/128 of the data and a
	// 127th of that again, and a superblock (dm-verity documentation of Linux).
	if need := d.Root/127 + 8192; c.err == nil && d.Verity < need {
		c.fail("disk.verity", "verity %s does not hold the hash tree of a full root of %s; it needs %d bytes", d.Verity, d.Root, need)
	}
	if c.err == nil && d.RootReserve >= d.Root {
		c.fail("disk.root_reserve", "root_reserve %s is not less than root %s", d.RootReserve, d.Root)
	}
	return d
}

// size reads a whole number of MiB between least and most.
func (c *checker) size(path, s string, least, most Bytes) Bytes {
	if s == "" {
		c.fail(path, "%s is missing", path)
		return 0
	}
	b, err := ParseBytes(s)
	if err != nil {
		c.fail(path, "%v", err)
	} else if b%(1<<20) != 0 || b < least || b > most {
		c.fail(path, "%s is not a whole number of MiB from %s to %s", b, least, most)
	}
	return b
}

// checkRole checks what only shows with all services of a role in view.
func checkRole(r Role, at places) error {
	c := checker{at: at}
	ports := map[string]string{}
	var before []string
	for i, s := range r.Services {
		path := fmt.Sprintf("services[%d]", i)
		for _, a := range s.After {
			if _, ok := r.Service(a); !ok {
				c.fail(path, "service %q comes after %q, which the role does not list", s.Name, a)
			} else if !slices.Contains(before, a) {
				c.fail(path, "service %q comes after %q; list it behind that", s.Name, a)
			}
		}
		for _, p := range s.Ports {
			key := fmt.Sprintf("%d/%s", p.Number, p.Proto)
			if other, taken := ports[key]; taken {
				c.fail(path, "services %q and %q both listen on port %s", other, s.Name, key)
			}
			ports[key] = s.Name
		}
		before = append(before, s.Name)
	}
	if !slices.Contains(before, Base) {
		c.fail("services", "the role does not list the service %q", Base)
	}
	last := -1
	for i, name := range r.Start {
		path, n := fmt.Sprintf("start[%d]", i), slices.Index(before, name)
		switch {
		case n < 0:
			c.fail(path, "%q is not among the role's services%s", name, didYouMean(name, before))
		case r.Services[n].Boot:
			c.fail(path, "%q starts at boot by itself; the agent does not start it", name)
		case n < last:
			c.fail(path, "%q stands before %q in services; start in that order", name, before[last])
		}
		last = max(last, n)
	}
	return c.err
}
