package join

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/netip"
)

// An arpProbe returns the hardware address of the machine that has an IPv4
// address on the network of an interface, or nil if none says so.
type arpProbe func(ctx context.Context, device string, addr netip.Addr) (net.HardwareAddr, error)

// vipFree returns nil if no stranger has the virtual IP: a second machine with
// it would take a part of the cloud's connections, now these and now those.
// Another controller may have it. It is known by its own address, which the same
// card has, so that this works while its agent does not.
func vipFree(ctx context.Context, env Env, probe arpProbe) error {
	vip := env.Node.VIP.Addr()
	if device, _, err := env.Holds(vip); err != nil || device != "" {
		return err // keepalived was here before, and clears what it left
	}
	owner, err := probe(ctx, env.Device, vip)
	if err != nil || owner == nil {
		return err
	}
	for _, m := range env.Node.Controllers {
		if m.Name == env.Node.Name {
			continue
		}
		mac, err := probe(ctx, env.Device, m.Address)
		if err != nil {
			return err
		}
		if bytes.Equal(mac, owner) {
			return nil
		}
	}
	return fmt.Errorf(
		"the machine with the hardware address %s on the network of %s has the virtual IP %s, and is no controller of this cloud; take the address from that machine, or give the cloud another `vip:`; keepalived is not started before",
		owner, env.Device, vip,
	)
}
