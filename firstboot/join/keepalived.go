package join

import (
	"context"
	"fmt"
	"time"
)

// vipTimeout bounds the wait for the virtual IP. A lone controller takes it at
// once.
const vipTimeout = time.Minute

func keepalived() Step {
	return Step{Name: "keepalived", Done: vipHeld, Do: vipStart}
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

func vipStart(ctx context.Context, env Env) error {
	if err := env.Start(ctx); err != nil {
		return err
	}
	if !env.Node.Lab() {
		return nil
	}
	vip := env.Node.VIP.Addr()
	return until(ctx, vipTimeout, 100*time.Millisecond, func(context.Context) error {
		device, have, err := env.Holds(vip)
		if err == nil && device == "" {
			err = fmt.Errorf("keepalived runs but does not hold the virtual IP %s: %s", vip, have)
		}
		return err
	})
}
