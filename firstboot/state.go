package firstboot

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"trivet/firstboot/join"
	"trivet/firstboot/status"
)

// LocalSocket is where the agent tells its node's own about itself, to root.
const LocalSocket = "/run/trivet/agent.sock"

// tellTimeout bounds what one cluster may take to tell of itself.
const tellTimeout = 3 * time.Second

// state looks at the node.
func (a *agent) state(ctx context.Context) status.State {
	env := a.kept()
	s := status.State{
		Time: time.Now().UTC().Truncate(time.Millisecond), Cloud: env.Node.Cluster, Node: env.Node.Name, Role: a.role.Name, Image: a.image,
		Ready: a.Report.Ready(), Unfinished: a.Report.Unfinished(), Unwell: a.ward.all(), Clusters: map[string]json.RawMessage{},
	}
	if vip := env.Node.VIP; vip.IsValid() {
		s.VIP = vip.Addr().String()
		device, _, err := a.System.Holds(vip.Addr())
		s.HoldsVIP = err == nil && device != ""
	}
	a.agreement.mu.Lock()
	if a.agreement.cluster != nil {
		s.Quorum, _ = json.Marshal(a.agreement.cluster.Status()) // of our own type
	}
	a.agreement.mu.Unlock()
	for _, step := range join.All() {
		ctx, cancel := context.WithTimeout(ctx, tellTimeout)
		if told, err := join.Tell(ctx, env, step.Name); err == nil {
			s.Clusters[step.Name] = told
		}
		cancel()
	}
	return s
}

// stateHandler answers GET /status with the node's state, as JSON.
func stateHandler(state func(context.Context) status.State) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(state(r.Context())) // the asker went away
	})
	return mux
}
