package quorum

import (
	"errors"
	"math/rand/v2"
	"time"
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
