package join

import (
	"fmt"
	"math/rand/v2"
	"slices"
)

// The model world of TestGaleraModel: machines, disks, Galera, and the quorum.
//
// What it assumes of Galera and InnoDB:
//
//   - A write set is ordered once per primary component, and is acknowledged when its
//     origin has committed it; by then every member of the view has received it
//     (safe delivery), but may commit it later. A crash loses what was received and not
//     committed; what was committed stays (innodb_flush_log_at_trx_commit=1).
//   - A primary component goes on with more than half of its last view, not counting
//     members that left in order. A change of view takes a sequence number.
//   - gvwstate.dat is written at each change of a primary view, kept by a crash,
//     removed by an orderly stop; it may be lost. A start with it is a member again
//     only when all of the view is back, one without it only by joining.
//   - A member that reports a sequence number that the component has too gets only what
//     follows, whatever its history is. This is what the decisions must guard.
//   - Members with different cluster names do not speak with each other.
//
// And of the agents: the quorum is linearizable and answers where a majority of
// agents is in reach; locks may be lost, and are then taken by others before the
// former holder notices; agents may be dead while their server runs.
type world struct {
	r        *rand.Rand
	nodes    []*machineModel
	names    []string
	parts    []*component
	record   GaleraRecord
	now      int
	lock     *machineModel
	nextID   int32
	acked    map[int32]bool // acknowledged and not given up
	lost     int            // acknowledged, and given up with no better copy reported
	accepted bool           // the operator accepted a loss
	bad      string         // the first violation
	history  []string
}

// A machineModel is a controller.
type machineModel struct {
	name           string
	power, agent   bool
	group          int // machines with different groups do not reach each other
	accept         bool
	epoch          uint64 // epochFile
	from           int64
	fresh, partial bool
	uuid           string
	log            []int32 // committed
	saved          int64   // grastate.dat's seqno
	safe, founding bool
	view           *GaleraView
	known          bool // recoveredFile is there
	tainted, lag   bool

	up, readOnly, restoring, joining bool
	name5                            uint64 // wsrep_cluster_name's epoch
	me                               string
	part                             *component
	recv                             []int32 // received by a member that is outside
	outside                          int     // since when
	memory                           agentModel
}

// An agentModel is what an agent has in memory.
type agentModel struct {
	silent map[string]int
	began  uint64 // the epoch that it is about to make primary, with the lock
}

// A component is a primary component of Galera.
type component struct {
	uuid  string
	epoch uint64
	log   []int32
	view  GaleraView
	in    []*machineModel
}

func newWorld(seed uint64, n int) *world {
	w := &world{r: rand.New(rand.NewPCG(seed, 1)), acked: map[int32]bool{}}
	for i := range n {
		w.names = append(w.names, fmt.Sprintf("c%d", i+1))
		w.nodes = append(w.nodes, &machineModel{name: fmt.Sprintf("c%d", i+1), power: true, agent: true, fresh: true, saved: -1, memory: agentModel{silent: map[string]int{}}})
	}
	return w
}

func (w *world) fail(format string, args ...any) {
	if w.bad == "" {
		w.bad = fmt.Sprintf(format, args...)
	}
}

func (w *world) note(format string, args ...any) {
	if w.history != nil {
		w.history = append(w.history, fmt.Sprintf("%4d ", w.now)+fmt.Sprintf(format, args...))
	}
}

func (w *world) id() int32 { w.nextID++; return w.nextID }

// setView makes a new view of a component; each member writes it down.
func (w *world) setView(c *component, in []*machineModel) {
	c.in = in
	c.view.Seq++
	c.view.ID = fmt.Sprintf("v%d", w.id())
	c.view.Members = nil
	for _, m := range in {
		c.view.Members = append(c.view.Members, m.me)
	}
	c.log = append(slices.Clone(c.log), -w.id())
	for _, m := range in {
		v := c.view
		v.Me = m.me
		m.part, m.view, m.restoring = c, &v, false
	}
}

// leave takes a member out of its component, with what it received.
func (m *machineModel) leave(now int) {
	if m.part != nil {
		m.recv, m.part, m.outside = m.part.log, nil, now
	}
}

// down ends the server, as a crash does.
func (m *machineModel) down() {
	m.up, m.part, m.recv, m.restoring, m.readOnly = false, nil, nil, false, false
	if m.joining {
		m.partial, m.joining = true, false
	}
	m.known = false
}

// regroup is what Galera does by itself after any change.
func (w *world) regroup() {
	for _, c := range slices.Clone(w.parts) {
		w.split(c)
	}
	w.parts = slices.DeleteFunc(w.parts, func(c *component) bool { return len(c.in) == 0 })
	for again := true; again; {
		again = false
		for _, m := range w.nodes {
			if m.up && m.part == nil && (w.merge(m) || w.reform(m)) {
				again = true
			}
		}
	}
	w.checkClusters()
}

// split keeps of a component what is more than half of its view.
func (w *world) split(c *component) {
	var stay []*machineModel
	for _, m := range c.in {
		var side []*machineModel
		for _, o := range c.in {
			if o.part == c && o.up && o.group == m.group {
				side = append(side, o)
			}
		}
		if m.part == c && m.up && 2*len(side) > len(c.view.Members) {
			stay = side
		}
	}
	if len(stay) == len(c.in) {
		return
	}
	for _, m := range c.in {
		if !slices.Contains(stay, m) && m.part == c {
			m.leave(w.now)
		}
	}
	if c.in = stay; len(stay) > 0 {
		w.setView(c, stay)
	}
}

// merge lets a server that is outside into a component that it reaches.
func (w *world) merge(m *machineModel) bool {
	for _, c := range w.parts {
		if c.in[0].group != m.group || c.epoch != m.name5 {
			continue
		}
		have := m.log
		if len(m.recv) > len(have) {
			have = m.recv
		}
		whole := m.fresh || m.partial || m.uuid == "" // gets everything
		switch {
		case !whole && m.uuid != c.uuid:
			w.fail("%s with the history %s was overwritten by %s", m.name, m.uuid, c.uuid)
		case !whole && len(have) > len(c.log):
			m.down() // Galera aborts a member that is ahead
			return true
		case !whole && !prefix(have, c.log):
			w.fail("%s joined %s with another history under the same numbers", m.name, c.uuid)
		}
		m.fresh, m.uuid, m.saved, m.recv, m.tainted = false, c.uuid, -1, nil, false
		if m.joining = whole; whole {
			m.log, m.partial = nil, true
		}
		w.setView(c, append(slices.Clone(c.in), m))
		return true
	}
	return false
}

// reform makes members of a lost view primary again, when enough of them meet.
func (w *world) reform(m *machineModel) bool {
	if m.view == nil || m.fresh {
		return false
	}
	var all, awake []*machineModel
	for _, o := range w.nodes {
		if o.up && o.part == nil && o.group == m.group && o.name5 == m.name5 && o.view != nil && o.view.ID == m.view.ID {
			all = append(all, o)
			if !o.restoring {
				awake = append(awake, o)
			}
		}
	}
	if len(all) < len(m.view.Members) {
		all = awake
	}
	if len(all) < len(m.view.Members) && 2*len(all) <= len(m.view.Members) {
		return false
	}
	c := &component{uuid: m.uuid, epoch: m.name5, view: *m.view}
	for _, o := range all {
		for _, have := range [][]int32{o.log, o.recv} {
			if len(have) > len(c.log) {
				c.log = have
			}
		}
	}
	for _, o := range all {
		if !prefix(o.log, c.log) {
			w.fail("%s restored a view with another history", o.name)
		}
		o.recv, o.saved = nil, -1
	}
	w.parts = append(w.parts, c)
	w.setView(c, all)
	return true
}

func prefix(a, b []int32) bool { return len(a) <= len(b) && slices.Equal(a, b[:len(a)]) }

// checkClusters: at most one component takes writes, and it is the recorded one.
func (w *world) checkClusters() {
	open := 0
	for _, c := range w.parts {
		if slices.ContainsFunc(c.in, func(m *machineModel) bool { return !m.readOnly && !m.joining }) {
			open++
			if c.uuid != w.record.UUID {
				w.fail("a cluster %s beside the recorded %s", c.uuid, w.record.UUID)
			}
		}
	}
	if open > 1 {
		w.fail("%d clusters take writes", open)
	}
}

// commit makes a member write what it received.
func (m *machineModel) commit(most int) {
	have := m.recv
	if m.part != nil {
		have = m.part.log
	}
	if m.up && !m.joining && len(have) > len(m.log) && !m.lag {
		m.log = have[:min(len(have), len(m.log)+most)]
	}
}

// write is a client's transaction at a member.
func (w *world) write(m *machineModel) {
	if !m.up || m.part == nil || m.readOnly || m.joining || m.lag {
		return
	}
	c, id := m.part, w.id()
	c.log = append(slices.Clone(c.log), id)
	m.log = c.log
	w.acked[id] = true
}

// stop is an orderly end of the server.
func (w *world) stop(m *machineModel) {
	if !m.up {
		return
	}
	m.lag = false
	m.commit(1 << 20)
	if c := m.part; c != nil && !m.joining {
		m.safe = len(c.in) == 1
		rest := slices.DeleteFunc(slices.Clone(c.in), func(o *machineModel) bool { return o == m })
		if c.in = rest; len(rest) > 0 {
			w.setView(c, rest)
		}
	}
	if !m.restoring && !m.joining {
		m.view, m.saved = nil, int64(len(m.log))
	}
	m.down()
	w.regroup()
}
