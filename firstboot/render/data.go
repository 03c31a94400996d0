package render

import (
	"slices"
	"strconv"
	"strings"

	"trivet/firstboot/node"
	"trivet/roles"
)

// Data is what a template sees: the fields of node.Config, and these.
type Data struct {
	node.Config
	Device string // the network interface that holds .Address
	TLS    bool   // the bundle gave certificates
	// Fronts are the ports that HAProxy publishes on the virtual IP: those of
	// the services that the image starts.
	Fronts []Front
	// Ports are the ways through the firewall, one for each source of each port
	// on which a service that the image starts listens.
	Ports []Open
}

// A Front is a port published on the virtual IP.
type Front struct {
	Service string
	Name    string // of the port, one in a role
	Port    int
	HTTP    bool   // else plain TCP
	Check   string // path of the HTTP health check on the port; empty: a connection is enough
	Balance string // HAProxy's word: roundrobin, leastconn or source
	Timeout string // how long both sides may be silent, such as 10m
	Cookie  bool   // a browser stays with one controller
}

// An Open is one way through a node's firewall.
type Open struct {
	Service string
	Name    string // of the port
	Proto   string // tcp or udp
	Number  int
	From    string // roles.FromControllers, roles.FromCloud or roles.FromAnyone
	VIP     bool   // only at the virtual IP; else at every address of the node
}

// NewData puts together what templates see.
func NewData(c node.Config, device string, role roles.Role) Data {
	d := Data{Config: c, Device: device}
	for _, s := range role.Services {
		starts := slices.Contains(role.Start, s.Name)
		for _, p := range s.Ports {
			if starts && p.VIP != "" {
				d.Fronts = append(d.Fronts, front(s, p))
			}
			if starts || s.Boot {
				d.Ports = append(d.Ports, open(s, p)...)
			}
		}
	}
	return d
}

func front(s roles.Service, p roles.Port) Front {
	f := Front{
		Service: s.Name, Name: p.Name, Port: p.Number, HTTP: p.VIP == "http", Check: checkPath(s, p.Number),
		Balance: p.Balance, Timeout: p.Timeout, Cookie: p.Sticky == "cookie",
	}
	balance, timeout := "leastconn", "3h"
	if f.HTTP {
		balance, timeout = "roundrobin", "1m"
	}
	if f.Balance == "" {
		f.Balance = balance
	}
	if f.Timeout == "" {
		f.Timeout = timeout
	}
	return f
}

// open returns the ways to a port. Users reach a port that HAProxy publishes on
// the virtual IP alone; on the node itself only HAProxy asks, which runs on the
// controllers.
func open(s roles.Service, p roles.Port) []Open {
	o := Open{Service: s.Name, Name: p.Name, Proto: p.Proto, Number: p.Number, From: p.From}
	if p.VIP == "" || p.From != roles.FromAnyone {
		return []Open{o}
	}
	front, back := o, o
	front.VIP, back.From = true, roles.FromControllers
	return []Open{front, back}
}

// checkPath returns the path of the service's HTTP check on a port.
func checkPath(s roles.Service, port int) string {
	for _, c := range s.Health {
		rest, ok := strings.CutPrefix(c.HTTP, "http://{node}")
		if !ok {
			continue
		}
		at, path, _ := strings.Cut(rest, "/")
		if at == ":"+strconv.Itoa(port) || at == "" && port == 80 {
			return "/" + path
		}
	}
	return ""
}

// VRRPPriority is the node's rank in the election of the holder of the virtual
// IP. The steps between the controllers are wide, since the pause before one
// takes an address that nobody holds shortens with its rank (RFC 9568 §6.1):
// 250 and 210 are 0.1 s apart at an interval of 0.7 s, so that two do not take
// it at once. With five controllers the last has 90.
func (d Data) VRRPPriority() int {
	return 250 - 40*max(0, slices.IndexFunc(d.Controllers, func(m node.Member) bool { return m.Name == d.Name }))
}
