// Package roles reads what a node of each kind is made of: its services, their
// packages, units, ports, secrets and health checks, and the sizes of its
// partitions. It is data; nothing here runs or builds anything.
//
// The files are ROLE.yaml and services/NAME.yaml below one folder. A Role that
// Load returned is right: every name resolves and every value is in range.
// There are no conditions, includes, anchors or templates; what two roles have
// in common is a service that both list.
package roles

import (
	"slices"
)

// Base is the service that holds what every role runs on: kernel, init, network,
// remote shell. Its packages are the image's lowest layer, which all roles share.
const Base = "base"

// A Role is one kind of node, resolved and checked.
type Role struct {
	Name     string    `json:"name"`
	About    string    `json:"about"`
	Services []Service `json:"services"`           // in the order of the file; each stands behind what it needs
	Packages []string  `json:"packages,omitempty"` // the role's own extras
	Start    []string  `json:"start"`              // the services that the agent starts, in this order
	Disk     Disk      `json:"disk"`
}

// A Service is one thing that runs on a node, or one thing that it needs.
type Service struct {
	Name     string   `json:"name"`
	About    string   `json:"about"`
	Packages []string `json:"packages,omitempty"` // Debian packages; dependencies come by themselves, recommendations do not
	Units    []string `json:"units,omitempty"`    // systemd units, in the order in which they are started
	After    []string `json:"after,omitempty"`    // services that must be healthy first
	Secrets  []string `json:"secrets,omitempty"`  // names as templates use them, such as keystone/db
	Boot     bool     `json:"boot,omitempty"`     // systemd starts the units at boot, by preset; else the agent does
	Ports    []Port   `json:"ports,omitempty"`
	Health   []Check  `json:"health,omitempty"` // all must pass
	Join     string   `json:"join,omitempty"`   // step of firstboot/join that brings the service up
}

// Who may reach a port: the node's firewall lets nobody else through.
const (
	FromControllers = "controllers" // the controllers' addresses
	FromCloud       = "cloud"       // every address of the management network
	FromAnyone      = "anyone"
)

// A Port is one that a service listens on, at the node's own address.
type Port struct {
	Name   string `json:"name"`
	Number int    `json:"number"` // 1 to 65535
	Proto  string `json:"proto"`  // tcp or udp
	// VIP says how HAProxy publishes the port on the virtual IP, under the same
	// number: http, tcp, or not at all if empty.
	VIP    string `json:"vip,omitempty"`
	Public bool   `json:"public,omitempty"` // users of the cloud reach it, not only its nodes
	// From is who may reach the port. A file that does not say means anyone for
	// a public port, the cloud for another one on the virtual IP, and else the
	// controllers.
	From string `json:"from"`
	// The rest is for HAProxy, and only for a port on the virtual IP.
	Balance string `json:"balance,omitempty"` // roundrobin, leastconn or source; empty: roundrobin for http, leastconn for tcp
	Timeout string `json:"timeout,omitempty"` // how long both sides may be silent, such as 90s, 10m or 6h; empty: 1m for http, 3h for tcp
	Sticky  string `json:"sticky,omitempty"`  // cookie: a browser stays with the controller that answered it first; http only
}

// A Check tells whether a service is healthy. Exactly one field is set. In HTTP
// and TCP, {node} stands for the node's address and {vip} for the virtual IP.
type Check struct {
	Unit string   `json:"unit,omitempty"` // systemd says active
	HTTP string   `json:"http,omitempty"` // GET of the URL answers 200
	TCP  string   `json:"tcp,omitempty"`  // host:port accepts a connection
	Run  []string `json:"run,omitempty"`  // the program, named by its full path, exits 0
}

// A Disk holds the sizes of the partitions that the builder makes. /var and the
// second slot are made on the machine, out of what its disk has left.
type Disk struct {
	ESP         Bytes `json:"esp"`          // EFI system partition: loader and two kernel images
	Root        Bytes `json:"root"`         // one slot of the sealed root
	Verity      Bytes `json:"verity"`       // its hash tree
	RootReserve Bytes `json:"root_reserve"` // part of Root that a build must leave free, so that later images fit the slot
}

// A PackageSet is one layer of packages.
type PackageSet struct {
	Name     string   // base, services or role
	Packages []string // sorted; none is in an earlier set
}

// PackageSets returns the packages as three cumulative layers: those of the
// service base, those of the other services, and the role's own.
func (r Role) PackageSets() []PackageSet {
	sets := []PackageSet{{Name: "base"}, {Name: "services"}, {Name: "role", Packages: r.Packages}}
	for _, s := range r.Services {
		i := 1
		if s.Name == Base {
			i = 0
		}
		sets[i].Packages = append(sets[i].Packages, s.Packages...)
	}
	seen := map[string]bool{}
	for i := range sets {
		var fresh []string
		for _, p := range sets[i].Packages {
			if !seen[p] {
				seen[p] = true
				fresh = append(fresh, p)
			}
		}
		slices.Sort(fresh)
		sets[i].Packages = fresh
	}
	return sets
}

// Overlays returns the names of the folders below overlays/ that make the
// role's files: common, the role, and each service. Not each of them exists.
func (r Role) Overlays() []string {
	names := []string{"common", r.Name}
	for _, s := range r.Services {
		names = append(names, s.Name)
	}
	return names
}

// Service returns the role's service called name.
func (r Role) Service(name string) (Service, bool) {
	for _, s := range r.Services {
		if s.Name == name {
			return s, true
		}
	}
	return Service{}, false
}

// BootUnits returns the units that systemd starts by itself at boot, sorted.
func (r Role) BootUnits() []string {
	var units []string
	for _, s := range r.Services {
		if s.Boot {
			units = append(units, s.Units...)
		}
	}
	slices.Sort(units)
	return slices.Compact(units)
}
