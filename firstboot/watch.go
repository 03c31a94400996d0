package firstboot

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"trivet/firstboot/join"
	"trivet/firstboot/status"
)

// How services are watched once the node is ready.
const (
	watchPause = 15 * time.Second
	// A service is brought up again when its checks fail this often in a row, or
	// when its unit does not run,
	watchStrikes = 3
	// and then not again for as long as this.
	watchRest = time.Minute
)

// watch looks after the services until ctx ends. What fails is said, and brought
// up again by the same way as at boot.
func (a *agent) watch(ctx context.Context, env join.Env) error {
	debug.FreeOSMemory() // what the way up took and nobody needs now
	patients := make([]patient, len(a.role.Start))
	for sleep(ctx, watchPause) == nil {
		well := true
		for i, name := range a.role.Start {
			env.Service, _ = a.role.Service(name)
			if !a.attend(ctx, env, &patients[i]) {
				well = false
			}
		}
		if well && ctx.Err() == nil && a.Report.Last().State != status.Ready {
			a.Report.Say(status.Ready, status.Ready, env.Node.Name+" is ready again", nil)
		}
	}
	return nil
}

// A patient is a service that may be unwell.
type patient struct {
	strikes int
	tried   time.Time // when it was last brought up again
}

// attend looks at env.Service, brings it up again if that is due, and answers
// whether it may be called well.
func (a *agent) attend(ctx context.Context, env join.Env, p *patient) bool {
	err := join.Healthy(ctx, env)
	if err == nil || ctx.Err() != nil {
		p.strikes = 0
		return true
	}
	if p.strikes++; errors.As(err, new(join.Down)) {
		p.strikes = max(p.strikes, watchStrikes)
	}
	if p.strikes < watchStrikes {
		return true
	}
	if time.Since(p.tried) < watchRest {
		return false
	}
	a.Report.Say(env.Service.Name, status.Failed, fmt.Sprintf("%v; it is brought up again", err), nil)
	p.tried = time.Now()
	if a.start(ctx, env, env.Service.Name) != nil {
		return false
	}
	p.strikes = 0
	return true
}
