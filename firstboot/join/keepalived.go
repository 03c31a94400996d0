package join

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"trivet/firstboot/host"
)

// vipTimeout bounds the wait for the virtual IP. A lone controller takes it at
// once, one of several after about 4 s.
const vipTimeout = time.Minute

func keepalived() Step { return keepalivedWith(host.ProbeARP) }

func keepalivedWith(probe arpProbe) Step {
	return Step{
		Name: "keepalived",
		Done: vipHeld,
		Do:   func(ctx context.Context, env Env) error { return vipStart(ctx, env, probe) },
		Tell: vipTell,
	}
}

// vipHeld answers whether keepalived runs and, in a cloud of one controller,
// holds the virtual IP.
func vipHeld(ctx context.Context, env Env) (bool, error) {
	active, err := env.Active(ctx)
	if err != nil || !active || !env.Node.Lab() {
		return active, err
	}
	device, _, err := env.Holds(env.Node.VIP.Addr())
	return device != "", err
}

// vipStart starts keepalived, and waits until the virtual IP is held: by this
// node, or in a cloud of several controllers by one of them.
func vipStart(ctx context.Context, env Env, probe arpProbe) error {
	if !env.Node.Lab() {
		if err := vipFree(ctx, env, probe); err != nil {
			return err
		}
	}
	if err := env.Start(ctx); err != nil {
		return err
	}
	vip := env.Node.VIP.Addr()
	return until(ctx, vipTimeout, 100*time.Millisecond, func(ctx context.Context) error {
		device, have, err := env.Holds(vip)
		switch {
		case err != nil || device != "":
			return err
		case env.Node.Lab():
			return fmt.Errorf("keepalived runs but does not hold the virtual IP %s: %s", vip, have)
		}
		owner, err := probe(ctx, env.Device, vip)
		if err == nil && owner == nil {
			err = fmt.Errorf("keepalived runs but no controller holds the virtual IP %s; here %s", vip, have)
		}
		return err
	})
}

// vipState is what a controller tells of its part in the virtual IP.
type vipState struct {
	Active bool `json:"active"` // keepalived runs
	Holds  bool `json:"holds"`  // the virtual IP is on this node
}

func vipTell(ctx context.Context, env Env) ([]byte, error) {
	active, err := env.Active(ctx)
	if err != nil {
		return nil, err
	}
	device, _, err := env.Holds(env.Node.VIP.Addr())
	if err != nil {
		return nil, err
	}
	return json.Marshal(vipState{Active: active, Holds: device != ""})
}
