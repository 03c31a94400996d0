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

// healthPort is where the agent answers, on the node's address.
const healthPort = 9200

// A healthServer answers, without secrets and to reads only:
//
//	/        200 when the node is ready, else 503; the newest record as JSON
//	/galera  200 when the database member takes writes, else 503; HAProxy asks
type healthServer struct {
	mu sync.Mutex
	at netip.AddrPort
	s  *http.Server
}

// serve listens on the node's address. A listener at the same address stays.
func (h *healthServer) serve(env join.Env, report *status.Reporter) error {
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
		Handler: handler(env, report), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 5 * time.Second,
		WriteTimeout: 10 * time.Second, IdleTimeout: 30 * time.Second, MaxHeaderBytes: 8 << 10,
	}
	go func(s *http.Server) { _ = s.Serve(l) }(h.s) // ends by Close
	return nil
}

func handler(env join.Env, report *status.Reporter) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		last := report.Last()
		w.Header().Set("Content-Type", "application/json")
		if last.State != status.Ready {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		_, _ = w.Write(last.JSON())
	})
	mux.HandleFunc("GET /galera", func(w http.ResponseWriter, r *http.Request) {
		// HAProxy asks every 2 s; a database that does not answer is not well.
		ctx, cancel := context.WithTimeout(r.Context(), 1500*time.Millisecond)
		defer cancel()
		if err := join.GaleraState(ctx, env.Database); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "Galera takes reads and writes")
	})
	return mux
}
