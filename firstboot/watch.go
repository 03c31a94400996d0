package firstboot

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime/debug"
	"sync"
	"time"

	"trivet/firstboot/join"
	"trivet/firstboot/status"
)

// How services are watched once the node is ready.
const (
	// A service is brought up again when its checks fail this often in a row, or
	// when its unit does not run,
	watchStrikes = 3
	// and then not again for as long as this, twice as long after each time that
	// did not help, up to the longest.
	watchRest    = time.Minute
	watchLongest = 16 * time.Minute
)

// watch looks after the services until ctx ends, each by itself: bringing one up
// again may take until a peer comes back. What fails is said, and brought up
// again by the same way as at boot.
func (a *agent) watch(ctx context.Context, env join.Env) error {
	// What the way up took and nobody needs now.
	debug.FreeOSMemory()
	if err := a.System.ReleaseProgram(); err != nil {
		a.Report.Say("agent", status.Waiting, err.Error(), nil)
	}
	var all sync.WaitGroup
	for _, name := range a.role.Start {
		one := env // each goroutine has its own
		one.Service, _ = a.role.Service(name)
		all.Go(func() { a.watchService(ctx, one) })
	}
	all.Wait()
	return nil
}

// watchService looks after env.Service.
func (a *agent) watchService(ctx context.Context, env join.Env) {
	var p patient
	for sleep(ctx, a.Watch) == nil {
		if a.attend(ctx, env, &p) && a.ward.well(env.Service.Name) && ctx.Err() == nil {
			a.Report.Say(status.Ready, status.Ready, env.Node.Name+" is ready again", nil)
		}
	}
}

// A ward is who is unwell, and with what.
type ward struct {
	mu  sync.Mutex
	ill map[string]string
}

// unwell notes that a service is.
func (w *ward) unwell(service string, what error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ill == nil {
		w.ill = map[string]string{}
	}
	w.ill[service] = what.Error()
}

// all returns what is wrong, by service.
func (w *ward) all() map[string]string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return maps.Clone(w.ill)
}

// well notes that a service is, and answers whether it was the last to get so.
func (w *ward) well(service string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	was := len(w.ill)
	delete(w.ill, service)
	return was > 0 && len(w.ill) == 0
}

// A patient is a service that may be unwell.
type patient struct {
	strikes int
	tried   time.Time     // when it was last brought up again
	rest    time.Duration // before that is done once more
}

// attend looks at env.Service, brings it up again if that is due, and answers
// whether it may be called well.
func (a *agent) attend(ctx context.Context, env join.Env, p *patient) bool {
	err := join.Healthy(ctx, env)
	if err == nil || ctx.Err() != nil {
		p.strikes = 0
		if time.Since(p.tried) > 2*watchLongest {
			p.rest = 0
		}
		return true
	}
	down := errors.As(err, new(join.Down))
	if p.strikes++; down {
		p.strikes = max(p.strikes, watchStrikes)
	}
	if p.strikes < watchStrikes {
		return true
	}
	a.ward.unwell(env.Service.Name, err)
	if time.Since(p.tried) < p.rest {
		return false
	}
	a.Report.Say(env.Service.Name, status.Failed, fmt.Sprintf("%v; it is brought up again", err), nil)
	p.tried, p.rest = time.Now(), min(max(2*p.rest, watchRest), watchLongest)
	if !down {
		// It runs and does not work: to start what runs would change nothing.
		if err := join.Stop(ctx, env); err != nil {
			a.fail(ctx, env.Service.Name, err)
			return false
		}
	}
	if a.start(ctx, env, env.Service.Name) != nil {
		return false
	}
	p.strikes = 0
	return true
}
