package quorum

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// Lock waits until this node alone holds the lock, and keeps it until unlock is
// called. The context that it returns ends when ctx does, when unlock is called,
// and when no majority confirmed the lock for most of a lease: then what was
// begun under it must stop. A lock whose holder died is free after a lease
// (Times.Lease), and for the holder's own node as soon as its agent runs again.
func (q *Quorum) Lock(ctx context.Context, name string) (held context.Context, unlock func(), err error) {
	r := &lockRequest{name, random(), q.process}
	if err := r.check(); err != nil {
		return nil, nil, fmt.Errorf("lock %s: %w", name, err)
	}
	for {
		// The lease counts from before the question, which is before the leader
		// heard of it.
		asked := time.Now()
		var answer lockReply
		if err := q.atLeader(ctx, opLock, r, &answer); err != nil {
			q.background(func() { q.unlock(r) }) // it may have been given, and the answer lost
			return nil, nil, fmt.Errorf("lock %s: %w", name, err)
		}
		if answer.Held {
			held, end := context.WithCancel(ctx)
			if !q.background(func() { q.keep(held, end, r, asked) }) {
				end()
			}
			return held, sync.OnceFunc(func() { end(); q.unlock(r) }), nil
		}
		if err := q.pause(ctx, min(q.config.Times.Lease/20, time.Second)); err != nil {
			return nil, nil, fmt.Errorf("lock %s, which %s holds: %w", name, answer.By, err)
		}
	}
}

// keep renews a lock until it is given back or lost.
func (q *Quorum) keep(held context.Context, end func(), r *lockRequest, confirmed time.Time) {
	defer end()
	lease := q.config.Times.Lease
	for q.pause(held, lease/5) == nil {
		// A fifth of the lease is left for what runs under the lock to stop.
		left := time.Until(confirmed.Add(lease * 4 / 5))
		ctx, cancel := context.WithTimeout(held, left)
		asked := time.Now()
		var answer lockReply
		err := q.atLeader(ctx, opRenew, r, &answer)
		cancel()
		if err != nil || !answer.Held {
			return
		}
		confirmed = asked
	}
}

// unlock gives a lock back; if nobody takes it for a lease, it ends by itself.
func (q *Quorum) unlock(r *lockRequest) {
	ctx, cancel := context.WithTimeout(q.ctx, q.config.Times.Call)
	defer cancel()
	_ = q.atLeader(ctx, opUnlock, r, &lockReply{})
}

// onLock is the leader's part.
func (q *Quorum) onLock(peer, op string, r *lockRequest) (any, error) {
	leader, err := q.ready()
	if err != nil {
		return nil, err
	}
	now := q.fsm.holder(r.Name)
	switch {
	case op == opUnlock && now.Token != r.Token:
		return lockReply{}, nil // nothing to give back, and nothing to write
	case op == opUnlock:
		_, err := q.commit(leader, command{Op: opUnlock, Name: r.Name, Lock: now})
		return lockReply{}, err
	case now.Token == r.Token:
		q.leader.renew(r.Token)
		return lockReply{Held: true, By: now.Holder}, nil
	case op == opRenew:
		return lockReply{By: now.Holder}, nil
	}
	// Another run of the same node's agent holds it: that run is over.
	over := now.Token == "" || now.Holder == peer && now.Process != r.Process
	if !over && !q.leader.expired(now.Token, q.config.Times.Lease) {
		return lockReply{By: now.Holder}, nil
	}
	// Before it is in the log, so that it never stands there without a time.
	q.leader.renew(r.Token)
	o, err := q.commit(leader, command{Op: opLock, Name: r.Name, Lock: lock{r.Token, peer, r.Process}, Over: now.Token})
	return lockReply{Held: o.yes, By: o.lock.Holder}, err
}

// renew notes that a lock's holder was heard of now.
func (l *leadership) renew(token string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.renewed) > 2*maxKeys {
		clear(l.renewed) // of locks that are gone, mostly; those held count from now
		l.since = time.Now()
	}
	l.renewed[token] = time.Now()
}

// expired answers whether a holder was silent for a lease. A new leader counts
// from when it began to lead.
func (l *leadership) expired(token string, lease time.Duration) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	last := l.since
	if t := l.renewed[token]; t.After(last) {
		last = t
	}
	return time.Since(last) > lease
}
