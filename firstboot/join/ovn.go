package join

import (
	"context"
	"fmt"
	"strings"

	"trivet/firstboot/host"
)

// southbound is the port of OVN's southbound database (ovn-ctl(8)).
const southbound = 6642

// ovn brings up Open vSwitch and tells it, in its own database, what
// ovn-controller reads there: who this node is and where OVN's databases are.
func ovn() Step {
	return Step{
		Name: "ovn",
		Done: func(ctx context.Context, e Env) (bool, error) {
			if e.Service.Name == "openvswitch" {
				// The description may have changed; to set again what is set changes nothing.
				return false, nil
			}
			return e.Active(ctx)
		},
		Do: func(ctx context.Context, e Env) error {
			if err := e.Start(ctx); err != nil || e.Service.Name != "openvswitch" {
				return err
			}
			// Without a limit ovs-vsctl waits for ever for a switch that died.
			args := append([]string{"ovs-vsctl", "--timeout=60", "set", "Open_vSwitch", "."}, chassis(e)...)
			if _, err := e.Run(ctx, host.Command{Args: args}); err != nil {
				return fmt.Errorf("set the chassis in Open vSwitch: %w", err)
			}
			return nil
		},
	}
}

// chassis returns the settings that ovn-controller(8) reads from the table
// Open_vSwitch.
func chassis(e Env) []string {
	var remotes []string
	for _, c := range e.Node.Controllers {
		remotes = append(remotes, fmt.Sprintf("tcp:%s:%d", c.Address, southbound))
	}
	address := e.Node.Address.Addr()
	ids := [][2]string{
		{"system-id", e.Node.Name},
		{"hostname", e.Node.Name},
		{"ovn-encap-type", "geneve"},
		{"ovn-encap-ip", address.String()},
		// Milliseconds; OVN's 5 s drop the connection of a busy database server
		// (kolla-ansible).
		{"ovn-remote-probe-interval", "60000"},
	}
	if len(remotes) > 0 {
		ids = append(ids, [2]string{"ovn-remote", strings.Join(remotes, ",")})
	}
	var args []string
	for _, id := range ids {
		// Quoted for ovs-vsctl, to which commas and colons mean something.
		args = append(args, fmt.Sprintf("external_ids:%s=%q", id[0], id[1]))
	}
	return args
}
