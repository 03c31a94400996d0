package firstboot

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"trivet/firstboot/join"
	"trivet/firstboot/status"
)

// healthPort is where the agent answers, on the node's address. It is the port
// `health` of roles/services/base.yaml.
const healthPort = 9200

// A healthServer answers, without secrets and to reads only:
//
//	/         200 when the node is ready, else 503; the newest record as JSON
//	/galera   200 when the database member takes reads and writes, else 503 and
//	          why not, within a second; HAProxy asks
//	/status   all that the node has to tell about itself, as JSON: status.State
//	/metrics  the node for Prometheus; see nodeMetrics
//
// It is a sink of records too: what /metrics tells of steps comes from them.
type healthServer struct {
	steps stepTimes

	mu sync.Mutex
	at netip.AddrPort
	s  *http.Server
}

// Put takes a record.
func (h *healthServer) Put(r status.Record) { h.steps.put(r) }

// serve listens on the node's address. A listener at the same address stays.
func (h *healthServer) serve(env join.Env, report *status.Reporter, state http.Handler) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	at := netip.AddrPortFrom(env.Node.Address.Addr(), healthPort)
	if h.s != nil && h.at == at {
		return nil
	}
	if h.s != nil {
		_ = h.s.Close()
		h.s = nil
	}
	l, err := net.Listen("tcp", at.String())
	if err != nil {
		return fmt.Errorf("listen for health checks: %w", err)
	}
	h.at = at
	h.s = &http.Server{
		Handler: h.handler(env, report, state), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 5 * time.Second,
		WriteTimeout: 15 * time.Second, IdleTimeout: 30 * time.Second, MaxHeaderBytes: 8 << 10,
	}
	go func(s *http.Server) { _ = s.Serve(l) }(h.s) // ends by Close
	return nil
}

func (h *healthServer) handler(env join.Env, report *status.Reporter, state http.Handler) http.Handler {
	ask := func(ctx context.Context) galeraReport { return askGalera(ctx, env.Database) }
	galera := remembered[galeraReport]{ask: ask, limit: galeraLimit, keep: galeraKeep}
	services := remembered[map[string]bool]{
		ask: func(ctx context.Context) map[string]bool { return servicesWell(ctx, env) }, limit: servicesLimit, keep: servicesKeep,
	}
	mux := http.NewServeMux()
	mux.Handle("GET /status", state)
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if !report.Ready() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		_, _ = w.Write(report.Last().JSON())
	})
	mux.HandleFunc("GET /galera", func(w http.ResponseWriter, _ *http.Request) {
		if err := galera.get().takesWrites(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "Galera takes reads and writes")
	})
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		m := nodeMetrics{ready: report.Ready(), steps: h.steps.all(), services: services.get()}
		if _, ok := env.Role.Service("mariadb"); ok {
			m.galera = galera.get().numbers()
		}
		if _, ok := env.Role.Service("keepalived"); ok {
			device, _, err := env.Holds(env.Node.VIP.Addr())
			m.vip, m.vipHeld = err == nil, device != ""
		}
		w.Header().Set("Content-Type", metricsType)
		_, _ = w.Write(m.text())
	})
	return mux
}

// A remembered answer is asked for by one at a time and is good for all who ask
// within a short while: three HAProxies ask twice a second, and a stranger on
// the network may ask as often as he likes.
type remembered[T any] struct {
	ask   func(context.Context) T
	limit time.Duration // how long ask may take
	keep  time.Duration // how long its answer is good

	mu   sync.Mutex
	when time.Time
	last T
}

// get does not end with the request that caused it, since its answer is for
// others too.
func (r *remembered[T]) get() T {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.when.IsZero() || time.Since(r.when) > r.keep {
		ctx, cancel := context.WithTimeout(context.Background(), r.limit)
		defer cancel()
		r.last, r.when = r.ask(ctx), time.Now()
	}
	return r.last
}
