// Package join brings a node into the clusters of its cloud, and brings up the
// services that live alone.
//
// One file holds one cluster. A newcomer adds a file with a Step and its line
// in All; roles/services/NAME.yaml names the step in its `join` key. A service
// without that key needs no Go: its units are started.
//
// A step may run at every boot, and again after a power cut in its middle: it
// looks at what is there and goes on from that.
package join

import (
	"context"
	"database/sql"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"trivet/firstboot/host"
	"trivet/firstboot/node"
	"trivet/roles"
)

// A Step brings up one service that cannot just be started. Do runs only when
// Done answers no. Do starts the service's units itself, when all that they
// need is in place, and returns when they run; that the service is healthy is
// for the role's checks to say.
type Step struct {
	Name string // as in the join key of roles/services/NAME.yaml
	Done func(context.Context, Env) (bool, error)
	Do   func(context.Context, Env) error
	// Judges says that Do itself deals with units that run and do not work: a
	// member of a cluster is not stopped because it waits for its peers.
	Judges bool
	// Tell is what this node's agent answers when another controller asks about
	// the step (Quorum.Ask): JSON, without secrets, of at most 64 KiB. Nil: the
	// step has nothing to tell.
	Tell func(context.Context, Env) ([]byte, error)
}

// All lists the steps. Several services may name one step: Env.Service tells
// which of them it is called for.
func All() []Step {
	return []Step{
		mariadb(),
		rabbitmq(),
		keepalived(),
		keystone(),
		ovn(),
		libvirt(),
		swift(),
	}
}

// An Env is what a step may see and touch.
type Env struct {
	Root    string            // "/" on a node, a folder in tests
	Node    node.Config       // the checked description; secrets that were made here are in it
	Device  string            // the network interface that holds Node.Address
	Role    roles.Role        // of the image
	Service roles.Service     // the one to bring up
	Files   map[string][]byte // of the node's bundle, by path, such as rings/object.ring.gz
	Image   string            // names the image that runs; changes with every new image
	Host    host.Runner
	// Quorum is nil in a cloud of one controller, and on nodes of other roles.
	Quorum Quorum
	// Database is MariaDB on this node, as root by its socket. It connects when
	// it is first used.
	Database *sql.DB
	// Holds returns the network interface that holds an address, or "" and what
	// addresses there are instead.
	Holds func(netip.Addr) (device, have string, err error)
	// IDs returns the numbers of a user and a group, -1 for an empty name. Nil:
	// those of this machine.
	IDs func(owner, group string) (uid, gid int, err error)
	// Report tells the operator what the step does or waits for.
	Report func(format string, args ...any)
}

// until asks again and again until the answer is yes, or for at most limit. Each
// answer says what is still missing; the last one is the error.
func until(ctx context.Context, limit, pause time.Duration, ask func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		err := ask(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w (waited %s)", err, limit)
		case <-time.After(pause):
		}
	}
}

// Path returns a path of the node, such as Path("/var/lib/mysql"), below Root.
func (e Env) Path(path string) string { return filepath.Join(e.Root, path) }

// Secret returns a secret that the role declares, by a name such as keystone/db.
func (e Env) Secret(name string) (node.Secret, error) {
	if s, ok := e.Node.Secrets[name]; ok {
		return s, nil
	}
	return node.Secret{}, fmt.Errorf("secret %s: the description has none; add it below `secrets:`", name)
}

// Run runs a program and returns its standard output.
func (e Env) Run(ctx context.Context, c host.Command) ([]byte, error) { return e.Host.Run(ctx, c) }

// Start starts units, the service's own if none is named.
func (e Env) Start(ctx context.Context, units ...string) error {
	if len(units) == 0 {
		units = e.Service.Units
	}
	return host.StartUnit(ctx, e.Host, units...)
}

// Active answers whether systemd calls all units of the service active.
func (e Env) Active(ctx context.Context) (bool, error) {
	for _, unit := range e.Service.Units {
		state, err := host.UnitState(ctx, e.Host, unit)
		if err != nil || state != "active" {
			return false, err
		}
	}
	return true, nil
}

// WriteFile replaces the file at a path of the node, atomically and synced.
// Empty names leave owner and group as root's.
func (e Env) WriteFile(path string, data []byte, mode fs.FileMode, owner, group string) error {
	uid, gid, err := e.ids(owner, group)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := host.WriteFile(e.Path(path), data, mode, uid, gid); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

func (e Env) ids(owner, group string) (uid, gid int, err error) {
	if e.IDs != nil {
		return e.IDs(owner, group)
	}
	return host.IDs(owner, group)
}

// makeFolder makes a folder of the node that belongs to a service, and its
// parents.
func (e Env) makeFolder(path string, mode fs.FileMode, owner, group string) error {
	uid, gid, err := e.ids(owner, group)
	if err == nil {
		err = os.MkdirAll(e.Path(path), mode)
	}
	if err == nil {
		err = os.Chown(e.Path(path), uid, gid)
	}
	if err != nil {
		return fmt.Errorf("make %s: %w", path, err)
	}
	return nil
}
