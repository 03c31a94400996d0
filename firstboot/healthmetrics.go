package firstboot

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"trivet/firstboot/join"
	"trivet/firstboot/status"
)

// metricsType is that of Prometheus' text format (Prometheus documentation,
// exposition formats).
const metricsType = "text/plain; version=0.0.4; charset=utf-8"

// Checks run programs, so that /metrics runs them seldom.
const (
	servicesLimit = 5 * time.Second
	servicesKeep  = 10 * time.Second
)

// nodeMetrics is what /metrics tells:
//
//	trivet_ready                     1 when the newest record says so
//	trivet_step_seconds{step}        how long each step took that was done
//	trivet_service_healthy{service}  1 when all checks of a service pass that the agent starts
//	trivet_vip_held                  1 when the virtual IP is on this node; controllers only
//	trivet_galera_…                  of the database member; controllers only
type nodeMetrics struct {
	ready    bool
	steps    map[string]float64
	services map[string]bool
	vip      bool // whether vipHeld is known
	vipHeld  bool
	galera   []gauge
}

func (m nodeMetrics) text() []byte {
	var b bytes.Buffer
	family(&b, "ready", "Whether the node is ready.")
	sample(&b, "ready", "", "", truth(m.ready))
	if len(m.steps) > 0 {
		family(&b, "step_seconds", "How long a step of bringing the node up took.")
	}
	for _, name := range slices.Sorted(maps.Keys(m.steps)) {
		sample(&b, "step_seconds", "step", name, m.steps[name])
	}
	if len(m.services) > 0 {
		family(&b, "service_healthy", "Whether all checks of a service pass.")
	}
	for _, name := range slices.Sorted(maps.Keys(m.services)) {
		sample(&b, "service_healthy", "service", name, truth(m.services[name]))
	}
	if m.vip {
		family(&b, "vip_held", "Whether the virtual IP is on this node.")
		sample(&b, "vip_held", "", "", truth(m.vipHeld))
	}
	for _, g := range m.galera {
		family(&b, "galera_"+g.name, g.help)
		sample(&b, "galera_"+g.name, "", "", g.value)
	}
	return b.Bytes()
}

func family(b *bytes.Buffer, name, help string) {
	fmt.Fprintf(b, "# HELP trivet_%s %s\n# TYPE trivet_%s gauge\n", name, help, name)
}

func sample(b *bytes.Buffer, name, label, of string, value float64) {
	b.WriteString("trivet_" + name)
	if label != "" {
		fmt.Fprintf(b, `{%s="%s"}`, label, strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(of))
	}
	b.WriteString(" " + strconv.FormatFloat(value, 'g', -1, 64) + "\n")
}

// servicesWell runs the checks of all services that the agent starts, side by
// side.
func servicesWell(ctx context.Context, env join.Env) map[string]bool {
	well := map[string]bool{}
	var mu sync.Mutex
	var all sync.WaitGroup
	for _, name := range env.Role.Start {
		service, ok := env.Role.Service(name)
		if !ok {
			continue
		}
		all.Go(func() {
			env := env
			env.Service = service
			is := join.Healthy(ctx, env) == nil
			mu.Lock()
			defer mu.Unlock()
			well[name] = is
		})
	}
	all.Wait()
	return well
}

// stepTimes keeps how long each step took, out of the records. Steps have names
// of ours, so there are not many.
type stepTimes struct {
	mu   sync.Mutex
	took map[string]float64
}

func (s *stepTimes) put(r status.Record) {
	seconds, ok := r.Fields["seconds"].(float64)
	if r.State != status.Done || !ok {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.took == nil {
		s.took = map[string]float64{}
	}
	s.took[r.Step] = seconds
}

func (s *stepTimes) all() map[string]float64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.took)
}
