package quorum

import (
	"encoding/json"
	"fmt"
	"sync"
	"time"
)

// meetings are when the other controllers were met, and how.
type meetings struct {
	mu        sync.Mutex
	greetings map[string]*greeting // of the last round
	faults    map[string]error     // and why there is none
	met       map[string]time.Time // last answer; monotonic
	could     map[string]time.Time // when it could last have formed with this node, at first when this node began
	left      time.Time            // since when the proposal is another's; zero: it is not
	ahead     uint64               // the highest round that others listened to
}

func (m *meetings) round() uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.ahead
}

func (m *meetings) heard(round uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ahead = max(m.ahead, round)
}

func (m *meetings) start(names []string) {
	m.greetings, m.faults, m.met, m.could = map[string]*greeting{}, map[string]error{}, map[string]time.Time{}, map[string]time.Time{}
	for _, name := range names {
		m.could[name] = time.Now()
	}
}

// greetAll asks all others who they are.
func (q *Quorum) greetAll() {
	own := q.own()
	data, err := json.Marshal(own)
	if err != nil {
		return
	}
	var all sync.WaitGroup
	for _, c := range q.config.Controllers {
		if c.Name == q.config.Self {
			continue
		}
		all.Go(func() {
			g := &greeting{}
			answer, err := q.calls.call(q.ctx, c.Name, opGreet, data)
			if err == nil {
				err = decode(answer, g)
			}
			if err == nil && nameOf(g.Self) != c.Name {
				err = fmt.Errorf("%s answers as %s", c.Name, nameOf(g.Self))
			}
			if err != nil {
				g = nil
			}
			q.lately.note(c.Name, g, err, own.Nonce)
		})
	}
	all.Wait()
}

func (m *meetings) note(name string, g *greeting, fault error, nonce string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.greetings[name], m.faults[name] = g, fault
	if g == nil {
		return
	}
	m.met[name] = time.Now()
	if g.Founding == nil && nonce != "" && g.Nonce == nonce {
		m.could[name] = time.Now()
	}
}

// own is what this node tells of itself.
func (q *Quorum) own() greeting {
	q.mu.Lock()
	defer q.mu.Unlock()
	nonce, _ := q.mayForm()
	g := greeting{
		Cloud: q.config.Cloud, Controllers: digest(q.config.names()...), Self: q.self(), Nonce: nonce, Founding: q.store.disk.Cluster,
	}
	if q.raft != nil {
		_, id := q.raft.LeaderWithID()
		g.Leader = nameOf(string(id))
	}
	return g
}

// leave notes since when another one is to propose.
func (m *meetings) leave(others bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case !others:
		m.left = time.Time{}
	case m.left.IsZero():
		m.left = time.Now()
	}
}

// onGreet answers who this node is.
func (q *Quorum) onGreet(peer string, g *greeting) (any, error) {
	if nameOf(g.Self) != peer {
		return nil, fmt.Errorf("%s greets as %s", peer, nameOf(g.Self))
	}
	if q.running() == nil && g.Founding != nil {
		q.again()
	}
	return q.own(), nil
}
