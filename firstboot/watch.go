package firstboot

import (
	"context"
	"fmt"
	"runtime/debug"
	"time"

	"trivet/firstboot/join"
	"trivet/firstboot/status"
)

// How services are watched once the node is ready.
const (
	watchPause = 15 * time.Second
	// A service is brought up again when it fails this often in a row.
	watchStrikes = 3
	// and then not again for as long as this.
	watchRest = time.Minute
)

// watch looks after the services until ctx ends. What fails is said, and brought
// up again by the same way as at boot.
func (a *agent) watch(ctx context.Context, env join.Env) error {
	debug.FreeOSMemory() // what the way up took and nobody needs now
	strikes, tried := map[string]int{}, map[string]time.Time{}
	for sleep(ctx, watchPause) == nil {
		sick := false
		for _, name := range a.role.Start {
			env.Service, _ = a.role.Service(name)
			err := join.Healthy(ctx, env)
			if ctx.Err() != nil {
				return nil
			}
			if err == nil {
				strikes[name] = 0
				continue
			}
			if strikes[name]++; strikes[name] < watchStrikes || time.Since(tried[name]) < watchRest {
				sick = sick || strikes[name] >= watchStrikes
				continue
			}
			sick = true
			a.Report.Say(name, status.Failed, fmt.Sprintf("%v; it is brought up again", err), nil)
			tried[name] = time.Now()
			if a.start(ctx, env, name) == nil {
				strikes[name] = 0
			}
		}
		if !sick && a.Report.Last().State != status.Ready {
			a.Report.Say(status.Ready, status.Ready, env.Node.Name+" is ready again", nil)
		}
	}
	return nil
}
