package join

import (
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// historiesVariable sets how many histories TestGaleraModel tries.
const historiesVariable = "TRIVET_GALERA_HISTORIES"

// TestGaleraModel tries random histories of three and five controllers: no second
// cluster, no copy of another history among the members, no choice that gives up an
// acknowledged write that a reported copy has; and when all is healed, all members are
// back with every write that was not given up.
func TestGaleraModel(t *testing.T) {
	count := uint64(100_000)
	if text := os.Getenv(historiesVariable); text != "" {
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatalf("%s: %v", historiesVariable, err)
		}
		count = n
	}
	var next, lost, halted, failed atomic.Uint64
	var all sync.WaitGroup
	for range 2 {
		all.Go(func() {
			for seed := next.Add(1); seed <= count && failed.Load() < 3; seed = next.Add(1) {
				w := play(seed, nil)
				lost.Add(uint64(w.lost))
				if w.accepted {
					halted.Add(1)
				}
				if w.bad != "" {
					failed.Add(1)
					t.Errorf("seed %d: %s\n%s", seed, w.bad, strings.Join(play(seed, []string{}).history, "\n"))
				}
			}
		})
	}
	all.Wait()
	t.Logf("%d histories; %d writes given up that no reported copy had; in %d the operator had to decide", count, lost.Load(), halted.Load())
}

// play runs one history. A history that is not nil is filled.
func play(seed uint64, history []string) *world {
	n := 3
	if seed%4 == 0 {
		n = 5
	}
	w := newWorld(seed, n)
	w.history = history
	if seed%8 != 1 { // most begin with a cluster
		for range 12 {
			if w.pass(20); w.whole() {
				break
			}
		}
	}
	for range 8 + w.r.IntN(30) {
		w.event()
		if w.bad != "" {
			return w
		}
	}
	w.heal()
	return w
}

// pass lets time pass and every agent have its turn.
func (w *world) pass(seconds int) {
	w.now += 1 + w.r.IntN(seconds)
	for _, i := range w.r.Perm(len(w.nodes)) {
		w.turn(w.nodes[i])
	}
}

// event is one thing that happens.
func (w *world) event() {
	m := w.nodes[w.r.IntN(len(w.nodes))]
	switch n := w.r.IntN(100); {
	case n < 30:
		w.pass(60)
	case n < 35:
		w.now += 130
		w.pass(1)
	case n < 55:
		w.write(m)
	case n < 60:
		m.commit(1 + w.r.IntN(3))
	case n < 70:
		w.crash(m)
	case n < 73: // the power of all
		for _, o := range w.nodes {
			if w.r.IntN(8) > 0 {
				w.crash(o)
			}
		}
	case n < 78:
		w.note("%s is shut down", m.name)
		w.stop(m)
		m.power, m.memory = false, agentModel{silent: map[string]int{}}
	case n < 90:
		if !m.power || !m.agent {
			m.power, m.agent = true, true
			m.memory = agentModel{silent: map[string]int{}}
		}
	default:
		w.seldom(m)
	}
}

func (w *world) crash(m *machineModel) {
	w.note("%s loses its power with %d", m.name, len(m.log))
	if m.lag && m.up {
		m.saved = int64(len(m.log))
	}
	m.lag = false
	m.down()
	m.power, m.accept, m.memory = false, false, agentModel{silent: map[string]int{}}
	w.regroup()
}

// seldom is what happens less often.
func (w *world) seldom(m *machineModel) {
	switch w.r.IntN(10) {
	case 0, 1, 2:
		for _, o := range w.nodes {
			o.group = w.r.IntN(2) * w.r.IntN(2)
		}
		w.note("partition")
		w.regroup()
	case 3:
		for _, o := range w.nodes {
			o.group = 0
		}
		w.regroup()
	case 4:
		if !m.up {
			m.view = nil // lost or empty
		}
	case 5:
		m.lag = m.up && !m.joining && m.part != nil
	case 6:
		w.note("the agent of %s dies", m.name)
		m.agent, m.memory = false, agentModel{silent: map[string]int{}}
	case 7:
		w.kill(m)
	case 8:
		if !m.power && w.r.IntN(2) == 0 {
			w.note("%s is wiped", m.name)
			w.wipe(m)
		}
	case 9:
		if !m.power && !m.fresh && w.r.IntN(4) == 0 {
			w.note("%s gets a stranger's disk", m.name)
			m.uuid, m.log, m.saved = "stranger", []int32{w.id(), w.id(), w.id()}, 3
		}
	}
}

func (w *world) wipe(m *machineModel) {
	*m = machineModel{name: m.name, group: m.group, fresh: true, saved: -1, memory: agentModel{silent: map[string]int{}}}
}

// heal ends all trouble, and expects all members back.
func (w *world) heal() {
	for _, m := range w.nodes {
		m.lag, m.group = false, 0
		if !m.power || !m.agent {
			m.power, m.agent, m.memory = true, true, agentModel{silent: map[string]int{}}
		}
	}
	w.regroup()
	for round := range 60 {
		w.pass(80)
		if w.bad != "" || w.whole() {
			break
		}
		if round > 25 {
			w.operate()
		}
	}
	if w.bad == "" && !w.whole() && !w.hopeless() {
		w.fail("not all members are back: %+v", GaleraDecide(w.situation(w.nodes[0])))
	}
}

func (w *world) whole() bool {
	if len(w.parts) != 1 || len(w.parts[0].in) != len(w.nodes) {
		return false
	}
	for _, m := range w.nodes {
		m.commit(1 << 20)
		if m.joining || m.readOnly {
			return false
		}
	}
	for id := range w.acked {
		if !slices.Contains(w.parts[0].log, id) {
			w.fail("write %d is gone", id)
		}
	}
	return true
}

// operate does what the plan tells the operator.
func (w *world) operate() {
	p := GaleraDecide(w.situation(w.nodes[0]))
	for _, m := range w.nodes {
		if !m.up && !m.fresh && m.uuid == "stranger" {
			w.wipe(m)
			m.power, m.agent = true, true
		}
	}
	if p.Verdict == GaleraHalt || p.Verdict == GaleraWait && len(p.Commands) > 0 {
		w.accepted = true
		w.nodes[0].accept = true
	}
}

// hopeless answers whether no copy is left.
func (w *world) hopeless() bool {
	for _, m := range w.nodes {
		if !m.fresh && !m.partial && m.uuid == w.record.UUID {
			return false
		}
	}
	return w.record.Formed
}
