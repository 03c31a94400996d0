package quorum

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"trivet/firstboot/bundle"
)

// form brings this disk into a cluster and then watches over it.
func (q *Quorum) form() {
	for {
		period := q.config.Times.Greet
		q.greetAll()
		if q.running() == nil {
			q.formBlank()
		} else if q.rejoin() {
			period = q.config.Times.Watch
		}
		// 1 to 3 times the period, so that controllers do not move in step.
		timer := time.NewTimer(period + rand.N(2*period))
		select {
		case <-q.ctx.Done():
			timer.Stop()
			return
		case <-q.wake:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// again makes the loop look at once.
func (q *Quorum) again() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

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

// mayForm returns the nonce under which this disk may take part in founding, or
// why it may not. Q.mu is held.
func (q *Quorum) mayForm() (nonce, why string) {
	c := q.config
	if c.Ticket == "" {
		return "", "it has no formation ticket"
	}
	t, err := bundle.VerifyTicket(c.Ticket, c.Signer, c.Now())
	if err == nil || errors.Is(err, bundle.ErrExpired) {
		if wrong := t.For(c.Cloud, c.names()); wrong != nil {
			return "", wrong.Error()
		}
	}
	switch {
	case err == nil, errors.Is(err, bundle.ErrExpired) && q.store.disk.bound(t.Nonce):
		return t.Nonce, ""
	}
	return "", err.Error()
}

// formBlank takes one step of a disk that belongs to no cluster.
func (q *Quorum) formBlank() {
	d := decide(q.situation())
	q.lately.leave(d.Others)
	var err error
	switch d.Do {
	case found:
		err = q.belong(*d.Founding)
	case join:
		err = q.askIn()
	case propose:
		err = q.propose(d)
	}
	if q.ctx.Err() == nil && q.running() == nil {
		q.waits(d.Why, d.Conflict, err)
	}
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

func (q *Quorum) situation() situation {
	own := q.own()
	q.mu.Lock()
	_, why := q.mayForm()
	q.mu.Unlock()
	s := situation{Own: own, Names: q.config.names(), NoForm: why, Silence: q.config.Times.Silence, Turn: 10 * q.config.Times.Greet}
	m := &q.lately
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.left.IsZero() {
		s.Waited = time.Since(m.left)
	}
	for _, name := range s.Names {
		if name != q.config.Self {
			s.Peers = append(s.Peers, seen{name, m.greetings[name], time.Since(m.could[name])})
		}
	}
	return s
}

// belong gives this disk to a cluster, for good, and starts to work in it.
func (q *Quorum) belong(f founding) error {
	if !f.valid(q.config.Cloud, nil) {
		return errors.New("the cluster's founding is not one of this cloud")
	}
	q.mu.Lock()
	if q.store.disk.Cluster == nil {
		d := q.store.disk
		d.Cluster = &f
		if err := q.store.save(d); err != nil {
			q.mu.Unlock()
			return err
		}
	}
	q.mu.Unlock()
	if err := q.startRaft(); err != nil {
		return err
	}
	q.config.report("this controller belongs to the cluster %.12s of the controllers now", f.id())
	q.again() // so that the others hear of it
	return nil
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

// onProposal answers a step of the agreement, after it was written down.
func (q *Quorum) onProposal(op string, p *proposal) (any, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	nonce, why := q.mayForm()
	next, v := q.store.disk.judge(op, *p, permit{q.config.Cloud, q.config.names(), nonce, why})
	if v.Yes {
		if err := q.store.save(next); err != nil {
			return nil, err
		}
	}
	return v, nil
}

// poll asks all controllers, this one too, for their verdict on a proposal.
func (q *Quorum) poll(op string, p proposal) map[string]verdict {
	data, err := json.Marshal(p)
	if err != nil {
		return nil
	}
	var mu sync.Mutex
	var all sync.WaitGroup
	got := map[string]verdict{}
	for _, name := range q.config.names() {
		all.Go(func() {
			var v verdict
			answer, err := q.callOr(q.ctx, name, op, data)
			if err == nil {
				err = decode(answer, &v)
			}
			if err == nil && (v.Founding == nil || v.Founding.valid(q.config.Cloud, nil)) {
				mu.Lock()
				got[name] = v
				mu.Unlock()
			}
		})
	}
	all.Wait()
	return got
}

// propose tries to agree with a majority on the set that founds the cluster.
func (q *Quorum) propose(d decision) error {
	names, begun := q.config.names(), time.Now()
	p := q.nextProposal()
	if p.Nonce == "" {
		return nil
	}
	heard, err := tally(q.poll(opPrepare, p), names)
	if err != nil {
		return q.beaten(heard, err)
	}
	if p.Set, err = pick(heard, names, d.Present, d.There); err != nil {
		return err
	}
	heard, err = tally(q.poll(opAccept, p), names)
	if err != nil {
		return q.beaten(heard, err)
	}
	if time.Since(begun) > 3*q.config.Times.Call {
		return errors.New("the agreement took so long that the world may have changed; once more")
	}
	q.config.report("the controllers agreed to form the cluster of %v", p.Set)
	return q.belong(founding{q.config.Cloud, p.Nonce, p.Set})
}

// nextProposal is one whose ballot this disk has not seen.
func (q *Quorum) nextProposal() proposal {
	q.mu.Lock()
	defer q.mu.Unlock()
	nonce, _ := q.mayForm()
	round := max(q.store.disk.Promises[nonce].Ballot.Round, q.lately.round()) + 1
	return proposal{Nonce: nonce, Ballot: ballot{round, q.config.Self}}
}

// beaten handles a proposal that was not taken.
func (q *Quorum) beaten(heard tallied, err error) error {
	q.lately.heard(heard.ahead)
	if heard.founding != nil {
		q.again() // it is in that node's next greeting
	}
	return err
}

// askIn asks the leader to let this disk in, in two steps: the disk belongs to
// the cluster only if it has a leader, whom a majority follows.
func (q *Quorum) askIn() error {
	f, err := q.askAll(admitRequest{Self: q.self()})
	if err != nil {
		return err
	}
	if err := q.belong(f); err != nil {
		return err
	}
	_, err = q.askAll(admitRequest{q.self(), f.id()})
	return err
}

// askAll finds the leader by asking everybody who belongs to a cluster.
func (q *Quorum) askAll(r admitRequest) (founding, error) {
	data, err := json.Marshal(r)
	if err != nil {
		return founding{}, err
	}
	err = errors.New("no member answers")
	for _, name := range q.lately.members() {
		answer, callErr := q.calls.call(q.ctx, name, opAdmit, data)
		var a admitReply
		if callErr == nil {
			callErr = decode(answer, &a)
		}
		if callErr == nil {
			return a.Founding, nil
		}
		err = callErr
	}
	return founding{}, err
}

const noLeader = "a majority of the controllers, to have a leader"

// rejoin answers whether this member is where it should be, and asks to be let
// in where it is not.
func (q *Quorum) rejoin() bool {
	r := q.running()
	if voter(r, q.self()) && q.leaderName() != "" {
		q.waits("", false, nil)
		return true
	}
	q.waits(noLeader, false, nil)
	if time.Since(r.LastContact()) < 4*q.config.Times.Heartbeat {
		return false
	}
	if _, err := q.askAll(admitRequest{q.self(), q.own().Founding.id()}); err != nil && q.ctx.Err() == nil {
		q.waits(noLeader, false, err)
	}
	return false
}

// onAdmit is the leader's part in letting a disk in.
func (q *Quorum) onAdmit(peer string, r *admitRequest) (any, error) {
	if nameOf(r.Self) != peer || peer == q.config.Self || !slices.Contains(q.config.names(), peer) {
		return nil, fmt.Errorf("%s may not be let in as %s", peer, r.Self)
	}
	leader, err := q.ready()
	if err != nil {
		return nil, err
	}
	f := *q.own().Founding
	switch r.Cluster {
	case "":
		return admitReply{f}, nil
	case f.id():
		return admitReply{f}, q.admit(leader, r.Self)
	}
	return nil, fmt.Errorf("%s belongs to another cluster, which cannot be mended here: end its agent, remove its folder of the quorum, and start it again", peer)
}

// admit makes a disk a voter.
func (q *Quorum) admit(leader *raft.Raft, id string) error {
	q.leader.change.Lock()
	defer q.leader.change.Unlock()
	for range 2*len(q.config.Controllers) + 2 {
		all, index, err := voters(leader)
		if err != nil {
			return err
		}
		c := admission(all, q.config.names(), id)
		if c == (change{}) {
			return nil
		}
		q.config.report("the cluster's controllers change: %s", c)
		if err := q.apply(leader, c, index); err != nil {
			return fmt.Errorf("%w: %w", errNotLeader, err)
		}
	}
	return errors.New("the members of the cluster change all the time")
}
