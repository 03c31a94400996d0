package firstboot

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"trivet/firstboot/join"
	"trivet/firstboot/render"
	"trivet/firstboot/status"
	"trivet/roles"
)

// startServices brings up the services that the role starts, side by side where
// they do not need each other. One that fails holds up only those that need it.
func (a *agent) startServices(ctx context.Context, env join.Env) error {
	up := map[string]chan struct{}{}
	for _, name := range a.role.Start {
		up[name] = make(chan struct{})
	}
	var mu sync.Mutex
	failed := map[string]error{}
	var all sync.WaitGroup
	for _, name := range a.role.Start {
		all.Go(func() {
			defer close(up[name])
			for _, need := range needs(a.role, name) {
				<-up[need]
				mu.Lock()
				err := failed[need]
				mu.Unlock()
				if err != nil {
					mu.Lock()
					failed[name] = fmt.Errorf("%s waits for %s: %w", name, need, err)
					mu.Unlock()
					return
				}
			}
			if err := a.start(ctx, env, name); err != nil {
				mu.Lock()
				failed[name] = err
				mu.Unlock()
			}
		})
	}
	all.Wait()
	for _, name := range a.role.Start {
		if failed[name] != nil {
			return failed[name] // each was reported
		}
	}
	return nil
}

// needs returns the services of the start list that must be up before one is:
// those that it comes after, and the one before it with the same step, since a
// step prepares what its services share.
func needs(role roles.Role, name string) []string {
	s, _ := role.Service(name)
	var before []string
	for _, other := range role.Start[:slices.Index(role.Start, name)] {
		o, _ := role.Service(other)
		if slices.Contains(s.After, other) || s.Join != "" && s.Join == o.Join {
			before = append(before, other)
		}
	}
	return before
}

// start brings up one service and waits until it is healthy.
func (a *agent) start(ctx context.Context, env join.Env, name string) error {
	service, ok := a.role.Service(name)
	if !ok {
		return fmt.Errorf("start %s: the role has no such service", name)
	}
	env.Service = service
	env.Report = func(format string, args ...any) {
		a.Report.Say(name, status.Waiting, fmt.Sprintf(format, args...), nil)
	}
	return a.steps(ctx, plain(name, func(ctx context.Context) error { return join.Up(ctx, env) }))
}

// publishes answers whether the role starts HAProxy, which publishes services on
// the virtual IP.
func (a *agent) publishes() bool { return slices.Contains(a.role.Start, "haproxy") }

// frontTimeout bounds the wait for the virtual IP's ports. HAProxy takes a
// server back after two good checks.
const frontTimeout = 2 * time.Minute

// waitForFronts waits until every port that HAProxy publishes is answered on the
// virtual IP, as a user of the cloud would reach it.
func (a *agent) waitForFronts(ctx context.Context, env join.Env) error {
	ctx, cancel := context.WithTimeout(ctx, frontTimeout)
	defer cancel()
	for _, f := range render.NewData(env.Node, env.Device, a.role).Fronts {
		check := roles.Check{TCP: fmt.Sprintf("{vip}:%d", f.Port)}
		if f.HTTP {
			check = roles.Check{HTTP: fmt.Sprintf("http://{vip}:%d%s", f.Port, f.Check)}
		}
		for {
			err := join.Check(ctx, env, check)
			if err == nil {
				break
			}
			if sleep(ctx, 200*time.Millisecond) != nil {
				return fmt.Errorf("%s of %s is not answered on the virtual IP: %w", f.Name, f.Service, errors.Join(err, ctx.Err()))
			}
		}
	}
	return nil
}
