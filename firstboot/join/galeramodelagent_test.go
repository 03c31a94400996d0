package join

import (
	"cmp"
	"slices"
)

// The agents of the model: they do what galeraMember does, with the very decisions.

func (w *world) quorum(m *machineModel) bool {
	n := 0
	for _, o := range w.nodes {
		if o.power && o.agent && o.group == m.group {
			n++
		}
	}
	return m.power && m.agent && 2*n > len(w.nodes)
}

func (m *machineModel) report() GaleraReport {
	r := GaleraReport{Node: m.name, State: GaleraRunning, Epoch: m.epoch, From: m.from, Founding: m.founding, AcceptLoss: m.accept}
	if m.up {
		if m.part != nil && !m.joining {
			r.Primary, r.UUID = true, m.uuid
		}
		return r
	}
	r.State, r.Fresh, r.Partial, r.Tainted = GaleraStopped, m.fresh, m.partial, m.tainted
	r.Saved, r.Recovered = nowhere(), nowhere()
	if m.fresh || m.partial {
		return r
	}
	r.Saved, r.Safe, r.View = GaleraPosition{cmp.Or(m.uuid, noUUID), m.saved}, m.safe, m.view
	r.Recovered = GaleraPosition{cmp.Or(m.uuid, noUUID), int64(len(m.log))}
	if m.uuid == "" {
		r.Recovered.Seqno = -1
	}
	if !m.known {
		r.State, r.Recovered = GaleraBusy, GaleraPosition{}
	}
	return r
}

func (w *world) situation(m *machineModel) GaleraSituation {
	s := GaleraSituation{Record: w.record, Controllers: w.names, Reports: make([]GaleraReport, 0, len(w.nodes))}
	for _, o := range w.nodes {
		r := o.report()
		if o != m && (!o.power || !o.agent || o.group != m.group) {
			if _, ok := m.memory.silent[o.name]; !ok {
				m.memory.silent[o.name] = w.now
			}
			r = GaleraReport{Node: o.name, State: GaleraSilent, SilentSeconds: w.now - m.memory.silent[o.name], Answers: o.power && o.up && o.group == m.group}
		} else {
			delete(m.memory.silent, o.name)
		}
		s.Reports = append(s.Reports, r)
	}
	return s
}

// turn is one turn of galeraMember.
func (w *world) turn(m *machineModel) {
	if !m.power || !m.agent {
		return
	}
	if w.lock == m && (!w.quorum(m) || m.memory.began == 0) {
		w.lock = nil
	}
	if !w.quorum(m) {
		if m.memory.began != 0 || m.up && m.part == nil && !m.joining && w.now-m.outside > 60 {
			w.kill(m) // what was begun under the lock, or is outside for a minute
		}
		m.memory.began = 0
		return
	}
	if m.up {
		w.whileUp(m)
		return
	}
	s := w.situation(m)
	own := m.report()
	m.memory.began = 0
	plan := GaleraDecide(s)
	if own.State == GaleraBusy {
		if plan.Verdict != GaleraJoin || m.epoch < w.record.Epoch {
			m.known = true
			return
		}
	}
	if w.lock != nil && w.lock != m && w.quorum(w.lock) && w.r.IntN(50) > 0 {
		return // held; seldom it was lost without its holder's notice
	}
	switch {
	case plan.Verdict == GaleraJoin:
		w.join(m, own)
	case plan.Verdict != GaleraWait && plan.Verdict != GaleraHalt && slices.Contains(plan.Nodes, m.name):
		w.begin(m, s, plan)
	}
}

func (w *world) kill(m *machineModel) {
	w.note("%s is killed", m.name)
	m.down()
	w.regroup()
}

func (w *world) join(m *machineModel, own GaleraReport) {
	keep, why, err := GaleraRejoin(own, w.record)
	w.note("%s joins: %s %v", m.name, why, err)
	if err != nil {
		return
	}
	if !keep {
		*m = machineModel{name: m.name, power: true, agent: true, group: m.group, accept: m.accept, fresh: true, saved: -1, memory: m.memory}
	}
	m.view = nil
	if w.r.IntN(20) == 0 {
		return // power fails here, in effect
	}
	w.start(m, w.record.Epoch, int64(len(m.log)))
}

func (w *world) start(m *machineModel, epoch uint64, from int64) {
	m.epoch, m.from, m.name5, m.known, m.safe = epoch, from, epoch, false, false
	m.saved = -1
	m.up, m.readOnly, m.outside, m.part, m.recv = true, false, w.now, nil, nil
	m.restoring = m.view != nil
	if m.restoring {
		m.me = m.view.Me
	} else {
		m.me = m.name + "/" + string(rune('a'+w.id()%26)) + string(rune('a'+w.id()/26%26)) + string(rune('a'+w.id()/676))
	}
	w.regroup()
}

// begin writes the intent and starts.
func (w *world) begin(m *machineModel, s GaleraSituation, p GaleraPlan) {
	w.checkChoice(s, p)
	i := w.record.Intent
	if i == nil || i.Verdict != p.Verdict || !slices.Equal(i.Nodes, p.Nodes) || i.Base != p.Base {
		w.record.Tried = max(w.record.Tried, w.record.Epoch) + 1
		w.record.Intent = &GaleraIntent{Verdict: p.Verdict, Nodes: p.Nodes, Epoch: w.record.Tried, Base: p.Base}
		w.note("%s writes the intent %+v: %s", m.name, *w.record.Intent, p.Why)
		if w.r.IntN(10) == 0 {
			return
		}
	}
	epoch := w.record.Intent.Epoch
	from := galeraTable(s).at(m.report())
	w.note("%s begins epoch %d, %s", m.name, epoch, p.Verdict)
	w.lock, m.memory.began = m, epoch
	switch p.Verdict {
	case GaleraFound:
		if !m.founding || m.epoch != epoch {
			m.fresh, m.uuid, m.log, m.view, m.founding, m.partial = false, "", nil, nil, true, false
		}
		from = -1
		fallthrough
	case GaleraBootstrap:
		m.view = nil
		if m.uuid == "" {
			m.uuid = string(rune('A' + w.id()))
		}
		w.start(m, epoch, from)
		if m.part == nil {
			c := &component{uuid: m.uuid, epoch: epoch, log: m.log}
			w.parts = append(w.parts, c)
			m.readOnly = true
			w.setView(c, []*machineModel{m})
		}
	case GaleraTogether:
		w.lock, m.memory.began = nil, 0
		w.start(m, epoch, from)
	}
	m.readOnly = true
	w.checkClusters()
}

// checkChoice: no acknowledged write is given up that a reported copy has.
func (w *world) checkChoice(s GaleraSituation, p GaleraPlan) {
	var chosen []int32
	for _, m := range w.nodes {
		if slices.Contains(p.Nodes, m.name) && len(m.log) >= len(chosen) {
			chosen = m.log
		}
	}
	for i, r := range s.Reports {
		if r.State != GaleraStopped || r.AcceptLoss || w.accepted {
			continue
		}
		for _, id := range w.nodes[i].log {
			if w.acked[id] && !slices.Contains(chosen, id) {
				w.fail("%s of %v loses write %d, which %s has reported", p.Verdict, p.Nodes, id, r.Node)
			}
		}
	}
}

func (w *world) whileUp(m *machineModel) {
	i := w.record.Intent
	mine := i != nil && i.Epoch == m.epoch && slices.Contains(i.Nodes, m.name)
	primary := m.part != nil && !m.joining
	switch {
	case primary && mine:
		w.complete(m)
	case primary && w.record.Formed && m.uuid == w.record.UUID && m.epoch == w.record.Epoch:
		m.readOnly, m.founding, m.memory.began = false, false, 0
		if w.lock == m {
			w.lock = nil
		}
		w.checkClusters()
	case primary:
		w.note("%s runs epoch %d, which is not the record's", m.name, m.epoch)
		w.stop(m)
	case m.joining:
		if m.part == nil {
			w.kill(m) // the transfer broke off
		} else if w.r.IntN(2) == 0 { // or is whole
			m.joining, m.partial, m.log = false, false, m.part.log
		}
	default:
		w.whileLost(m, mine && i.Verdict == GaleraTogether)
	}
}

func (w *world) whileLost(m *machineModel, restoring bool) {
	limit := 60
	if restoring {
		limit = 180
	}
	if w.now-m.outside < limit {
		return
	}
	if restoring {
		w.record.Alone, w.record.Intent = true, nil
	}
	w.kill(m)
}

// complete records the epoch. What is not in its history is given up.
func (w *world) complete(m *machineModel) {
	i := w.record.Intent
	r := &w.record
	r.Prior, r.Epoch, r.Base, r.UUID = r.Epoch, i.Epoch, i.Base, m.uuid
	r.Formed, r.Intent, r.Alone = true, nil, false
	for id := range w.acked {
		if !slices.Contains(m.part.log, id) {
			delete(w.acked, id)
			w.lost++
		}
	}
	w.note("%s records epoch %d of %s from %d", m.name, r.Epoch, r.UUID, r.Base)
}
