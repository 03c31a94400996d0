package firstboot

import (
	"database/sql"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"trivet/firstboot/host"
	"trivet/firstboot/join"
	"trivet/firstboot/status"
)

// A System is what the agent asks of the machine without a program. Tests give
// functions of their own.
type System struct {
	SetHostname func(string) error
	// Holds returns the interface that has an address, or "" and what there is.
	Holds func(netip.Addr) (device, have string, err error)
	// Online answers whether there is any address that leads out.
	Online func() bool
	// Cards returns the hardware addresses of the network cards, in the kernel's
	// order.
	Cards func() []string
	// RenameLink gives the card with a hardware address a name.
	RenameLink func(mac, name string) error
	Database   *sql.DB
	// Serve begins to answer health checks. It may be called again.
	Serve func(join.Env, *status.Reporter) error
}

// NewSystem returns this machine.
func NewSystem() (System, error) {
	db, err := join.OpenDatabase()
	if err != nil {
		return System{}, err
	}
	var h healthServer
	return System{
		SetHostname: func(name string) error { return unix.Sethostname([]byte(name)) },
		Holds:       host.DeviceOf,
		Online:      host.Online,
		Cards:       host.Cards,
		RenameLink: func(mac, name string) error {
			from, ok := host.LinkOf(mac)
			if !ok {
				return fmt.Errorf("no card has the address %s", mac)
			}
			return host.RenameLink(from, name)
		},
		Database: db,
		Serve:    h.serve,
	}, nil
}
