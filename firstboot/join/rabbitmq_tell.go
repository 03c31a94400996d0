package join

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"trivet/firstboot/host"
)

// A rabbitWord is what a controller tells of its queue.
type rabbitWord struct {
	Node    string   `json:"node"`
	ID      string   `json:"id"`      // of the formation whose data is on its disk
	Running bool     `json:"running"` // the broker is up
	Sees    []string `json:"sees"`    // the other controllers that it is connected with
}

// rabbitPeers is the script that lists them; it is a health check too.
const rabbitPeers = "/etc/rabbitmq/peers.sh"

func rabbitTell(ctx context.Context, env Env) ([]byte, error) {
	id, err := rabbitDisk(env)
	if err != nil {
		return nil, err
	}
	active, err := env.Active(ctx)
	if err != nil {
		return nil, err
	}
	w := rabbitWord{Node: env.Node.Name, ID: id, Running: active, Sees: []string{}}
	if active {
		// It prints those that it sees, and fails where they are too few.
		out, _ := env.Run(ctx, host.Command{Args: []string{"/bin/sh", rabbitPeers}, Timeout: rabbitAskTimeout})
		w.Sees = append(w.Sees, strings.Fields(string(out))...)
	}
	return json.Marshal(w)
}

// ask asks all other controllers at once; who does not answer is not in it.
func (m *rabbitMember) ask(ctx context.Context) map[string]rabbitWord {
	ctx, cancel := context.WithTimeout(ctx, rabbitAskTimeout)
	defer cancel()
	words := map[string]rabbitWord{}
	var mu sync.Mutex
	var all sync.WaitGroup
	for _, name := range rabbitNames(m.env) {
		if name == m.env.Node.Name {
			continue
		}
		all.Go(func() {
			data, err := m.env.Quorum.Ask(ctx, name, "rabbitmq")
			if err != nil {
				return
			}
			w, err := parseRabbitWord(data)
			if err != nil {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			words[name] = w
		})
	}
	all.Wait()
	return words
}

// parseRabbitWord reads the answer of another controller.
func parseRabbitWord(data []byte) (rabbitWord, error) {
	var w rabbitWord
	if len(data) > 64<<10 {
		return w, fmt.Errorf("read what a controller tells of its queue: %d bytes are too many", len(data))
	}
	if err := json.Unmarshal(data, &w); err != nil {
		return w, fmt.Errorf("read what a controller tells of its queue: %w", err)
	}
	return w, nil
}

// rabbitPeer picks a member to join by, or "".
func rabbitPeer(c rabbitCluster, words map[string]rabbitWord) string {
	for _, name := range c.Members {
		if w := words[name]; w.Running && w.ID == c.ID && !slices.Contains(c.Blank, name) {
			return name
		}
	}
	return ""
}

// For how long a controller waits for others.
const (
	// rabbitSilence: a seed, or the members of an unfinished formation, that do
	// not answer for this long are given up. An agent answers within seconds of
	// its start; an hour lost would be an hour without a cloud.
	rabbitSilence = time.Minute
	// rabbitLate: so is a seed that answers and founds nothing; and the first
	// cluster goes without a controller that answers and does not join. On an
	// emulated processor, three starts one after another take some five minutes.
	rabbitLate = 10 * time.Minute
	// rabbitUnfinished: a formation that is not complete after this begins anew,
	// whatever its members answer: one whose second member lost its disk while it
	// joined has one of two, which is no majority. It is well above rabbitLate, so
	// that a controller which cannot join does not spoil the others' cluster.
	rabbitUnfinished = 2 * rabbitLate
	// rabbitDead: of a complete cluster, no member ran for this long, though more
	// than half of the controllers agree here. It held messages, which OpenStack
	// sends again; accounts come from the definitions.
	rabbitDead = 30 * time.Minute
	// rabbitAbsent: the first cluster goes without a controller that does not
	// answer for this long; it joins later.
	rabbitAbsent = 2 * time.Minute
)

// A rabbitPatience notes since when something is waited for. It starts anew with
// each attempt to come up: too much patience is no harm.
type rabbitPatience struct {
	now   func() time.Time
	begun time.Time
	id    string               // the formation that is waited for
	since time.Time            // when it was first seen
	hope  time.Time            // when it was last seen to go on
	heard map[string]time.Time // when each controller answered last
}

// note takes in what the quorum and the other controllers say.
func (p *rabbitPatience) note(c rabbitCluster, words map[string]rabbitWord) {
	now := p.now()
	if p.heard == nil {
		p.heard, p.begun = map[string]time.Time{}, now
	}
	if p.id != c.ID || p.since.IsZero() {
		p.id, p.since, p.hope = c.ID, now, now
	}
	for name, w := range words {
		p.heard[name] = now
		switch {
		case !c.Founded && name == c.Seed,
			c.Founded && !c.Complete && slices.Contains(c.Members, name),
			c.Complete && w.Running && w.ID == c.ID:
			p.hope = now
		}
	}
}

// stuck answers whether the formation was waited for long enough.
func (p *rabbitPatience) stuck(c rabbitCluster) bool {
	hopeless, waited := p.now().Sub(p.hope), p.now().Sub(p.since)
	switch {
	case c.Complete:
		return hopeless > rabbitDead
	case c.Founded:
		return hopeless > rabbitSilence || waited > rabbitUnfinished
	}
	return hopeless > rabbitSilence || waited > rabbitLate
}

// absent answers whether a controller is not to be waited for.
func (p *rabbitPatience) absent(name string) bool {
	last, ok := p.heard[name]
	if !ok {
		last = p.begun
	}
	return p.now().Sub(last) > rabbitAbsent || p.now().Sub(p.since) > rabbitLate
}
