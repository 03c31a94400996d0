package quorum

import (
	"slices"
	"time"

	"trivet/firstboot/bundle"
)

// A Status is what a node's status page shows of its quorum. It has no secret.
type Status struct {
	Formed      bool           `json:"formed"`                 // this node is a voting member
	Cluster     string         `json:"cluster,omitempty"`      // 64 hexadecimal digits, equal on all members
	Self        string         `json:"self"`                   // name/incarnation
	Leader      string         `json:"leader,omitempty"`       // name
	LastContact time.Time      `json:"last_contact,omitzero"`  // with the leader, or now on the leader itself
	Members     []MemberStatus `json:"members"`                // a line for each declared controller, by name
	Waits       string         `json:"waits_for,omitempty"`    // empty: for nothing
	Since       time.Time      `json:"waits_since,omitzero"`   // for this
	Conflict    bool           `json:"conflict,omitempty"`     // nothing goes on until an operator mends it
	Fault       string         `json:"fault,omitempty"`        // what went wrong at the last try
	TicketEnd   time.Time      `json:"ticket_ends,omitzero"`   // of the formation ticket
	TicketFault string         `json:"ticket_fault,omitempty"` // why it permits nothing
}

// A MemberStatus is one controller as this node sees it.
type MemberStatus struct {
	Name        string    `json:"name"`
	Incarnation string    `json:"incarnation,omitempty"` // of the disk that votes, "absent" if none did ever; or that answered
	Voter       bool      `json:"voter"`
	Reachable   bool      `json:"reachable"`       // it answered when it was greeted last, some seconds ago
	Met         time.Time `json:"met,omitzero"`    // its last answer
	Fault       string    `json:"fault,omitempty"` // why it did not answer
}

// waiting is what the formation waits for.
type waiting struct {
	what     string
	since    time.Time
	conflict bool
	fault    string
}

// waits notes what is waited for and what went wrong at the last try. It tells
// the first when it changes; the second may change with every try.
func (q *Quorum) waits(what string, conflict bool, fault error) {
	q.mu.Lock()
	changed := q.wait.what != what
	if changed {
		q.wait = waiting{what: what, since: q.config.Now(), conflict: conflict}
	}
	q.wait.fault = ""
	if fault != nil {
		q.wait.fault = fault.Error()
	}
	q.mu.Unlock()
	if changed && what != "" {
		q.config.report("the quorum waits for %s", what)
	}
}

// Status tells how the quorum is now, as far as this node knows.
func (q *Quorum) Status() Status {
	r := q.running()
	q.mu.Lock()
	s := Status{Self: q.self(), Waits: q.wait.what, Since: q.wait.since, Conflict: q.wait.conflict, Fault: q.wait.fault}
	if q.wait.what == "" {
		s.Since = time.Time{}
	}
	if q.store.disk.Cluster != nil {
		s.Cluster = q.store.disk.Cluster.id()
	} else {
		_, s.TicketFault = q.mayForm()
	}
	q.mu.Unlock()
	if t, _ := bundle.VerifyTicket(q.config.Ticket, q.config.Signer, q.config.Now()); q.config.Ticket != "" {
		s.TicketEnd = t.NotAfter
	}
	var ids []string
	if r != nil {
		ids, _, _ = voters(r) // none while Raft ends
		s.Formed = slices.Contains(ids, q.self())
		s.Leader = q.leaderName()
		s.LastContact = r.LastContact()
		if s.Leader == q.config.Self {
			s.LastContact = q.config.Now()
		}
	}
	s.Members = q.lately.statuses(q.config.names(), q.self(), ids)
	return s
}

func (m *meetings) statuses(names []string, self string, voters []string) []MemberStatus {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []MemberStatus
	for _, name := range names {
		s := MemberStatus{Name: name, Reachable: m.greetings[name] != nil || name == nameOf(self), Met: m.met[name]}
		if err := m.faults[name]; err != nil {
			s.Fault = err.Error()
		}
		id := ""
		if g := m.greetings[name]; g != nil {
			id = g.Self
		} else if name == nameOf(self) {
			id = self
		}
		if i := slices.IndexFunc(voters, func(v string) bool { return nameOf(v) == name }); i >= 0 {
			id, s.Voter = voters[i], true
		}
		_, s.Incarnation, _ = splitIdentity(id)
		all = append(all, s)
	}
	return all
}

// members lists who answered last that it belongs to a cluster, those who lead first.
func (m *meetings) members() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var leaders, others []string
	for name, g := range m.greetings {
		switch {
		case g == nil || g.Founding == nil:
		case g.Leader == name:
			leaders = append(leaders, name)
		default:
			others = append(others, name)
		}
	}
	return append(leaders, others...)
}
