package firstboot

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"trivet/firstboot/host"
	"trivet/firstboot/join"
	"trivet/firstboot/quorum"
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
	// ReleaseProgram gives back memory that only the start used.
	ReleaseProgram func() error
	// Serve begins to answer health checks. It may be called again.
	Serve func(join.Env, *status.Reporter, http.Handler) error
	// Health takes records for what Serve answers.
	Health status.Sink
	// ServeLocal begins to answer root on this machine.
	ServeLocal func(http.Handler) error
	// OpenQuorum joins the agents of the cloud's other controllers.
	OpenQuorum func(context.Context, quorum.Config) (Cluster, error)
}

// NewSystem returns this machine.
func NewSystem() (System, error) {
	db, err := join.OpenDatabase()
	if err != nil {
		return System{}, err
	}
	h := &healthServer{}
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
		Database:       db,
		ReleaseProgram: host.ReleaseProgram,
		Serve:          h.serve,
		Health:         h,
		ServeLocal:     serveLocal,
		OpenQuorum: func(ctx context.Context, c quorum.Config) (Cluster, error) {
			q, err := quorum.Open(ctx, c)
			if err != nil {
				return nil, err // no nil *Quorum in an interface that is not nil
			}
			return q, nil
		},
	}, nil
}

// serveLocal answers at LocalSocket, which only root can open.
func serveLocal(handler http.Handler) error {
	if err := os.Remove(LocalSocket); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("listen at %s: %w", LocalSocket, err)
	}
	l, err := net.Listen("unix", LocalSocket)
	if err != nil {
		return fmt.Errorf("listen at %s: %w", LocalSocket, err)
	}
	if err := os.Chmod(LocalSocket, 0o600); err != nil {
		return fmt.Errorf("listen at %s: %w", LocalSocket, err)
	}
	s := &http.Server{Handler: handler, ReadTimeout: 5 * time.Second, WriteTimeout: 30 * time.Second, MaxHeaderBytes: 8 << 10}
	go func() { _ = s.Serve(l) }() // ends with the agent
	return nil
}
