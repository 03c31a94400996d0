// Package quorum is the agreement among the agents of a cloud's controllers: a
// few small keys and locks in a Raft log that every controller has, changed by a
// majority and by nothing less.
//
// # Forming
//
// A controller's disk has an incarnation, 128 random bits, and belongs to no
// cluster or, for good, to one. A blank one asks all others who they are. If one
// belongs to a cluster, it asks that cluster's leader to be let in. If none does
// and the operator's ticket allows it, the blank ones agree by Paxos, one round
// of which each member writes down before it answers, on the set of those that
// are there, and each of the set founds the cluster with that identical
// configuration.
//
// Why there are never two clusters that work at the same time: a cluster's
// configuration has a voter for each declared controller but one at most, under
// a name that says "absent" if it was not there. So whatever a majority of the
// configuration is, it is a majority of the declared controllers' names. Two
// majorities share a name, a name has one disk at a time, and a disk belongs to
// one cluster. Raft's messages are bound to the incarnation of both ends and to
// the cluster, so that a disk that was wiped cannot speak for the lost one.
//
// What a wipe can do is bounded by the ticket's end: where most disks that
// belonged to a cluster are lost and the rest is switched off, nobody is left
// that knows of it.
//
// # Trust
//
// One port with TLS 1.3, both sides by certificates of the domain agent. Every
// node of the cloud has such a certificate; only the names of controllers are
// let in.
package quorum

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// A Quorum is this node's part in the agreement.
type Quorum struct {
	config  Config
	trust   *trust
	port    *port
	calls   *caller
	store   *store
	process string // random, of this run of the agent
	ctx     context.Context
	stop    context.CancelFunc
	tasks   sync.WaitGroup
	wake    chan struct{} // the formation's loop should look again now
	leader  leadership
	lately  meetings

	mu     sync.Mutex // guards what follows and store's content
	raft   *raft.Raft // nil while this disk belongs to no cluster
	fsm    *machine
	wait   waiting
	closed bool
}

// Open begins to take part: it listens, greets the other controllers and forms
// or joins the cluster in the background. WaitFormed waits for that. Close must
// be called; when ctx ends before, nothing goes on but what others ask for.
func Open(ctx context.Context, c Config) (*Quorum, error) {
	c.Times = c.Times.filled()
	if c.Port == 0 {
		c.Port = DefaultPort
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	c.Controllers = slices.Clone(c.Controllers)
	slices.SortFunc(c.Controllers, byName)
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("open the quorum: %w", err)
	}
	q, err := open(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("open the quorum: %w", err)
	}
	return q, nil
}

func open(ctx context.Context, c Config) (*Quorum, error) {
	t, err := newTrust(c)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return nil, err
	}
	s, err := openStore(c.Dir)
	if err != nil {
		return nil, err
	}
	q := &Quorum{config: c, trust: t, store: s, process: random(), wake: make(chan struct{}, 1)}
	q.ctx, q.stop = context.WithCancel(ctx)
	q.lately.start(c.names())
	q.calls = newCaller(q.ctx, t, c.Times.Call)
	if q.port, err = listen(q.ctx, t, q.greeted); err != nil {
		q.stop()
		return nil, errors.Join(err, s.close())
	}
	if q.store.disk.Cluster != nil {
		if err := q.startRaft(); err != nil {
			q.shut()
			return nil, err
		}
	}
	q.tasks.Go(func() { q.port.serve(q.handler()) })
	q.tasks.Go(q.form)
	return q, nil
}

// Close ends this node's part; a leader hands over first. It returns when
// nothing of the quorum runs any more.
func (q *Quorum) Close() error {
	if r := q.running(); r != nil && r.State() == raft.Leader && len(q.config.Controllers) > 1 {
		// Spares the others the time until they miss the leader. Without one to
		// take over they find out by themselves.
		_ = r.LeadershipTransfer().Error()
	}
	return q.shut()
}

// shut ends everything, at once.
func (q *Quorum) shut() error {
	q.stop()
	q.port.close()
	q.mu.Lock()
	q.closed = true
	r := q.raft
	q.mu.Unlock()
	var err error
	if r != nil {
		err = r.Shutdown().Error()
	}
	q.tasks.Wait()
	q.calls.close()
	return errors.Join(err, q.store.close())
}

// enter counts what Close waits for, until tasks.Done; false: it is closed.
func (q *Quorum) enter() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.closed {
		q.tasks.Add(1)
	}
	return !q.closed
}

// background runs what Close waits for, and answers whether it does.
func (q *Quorum) background(do func()) bool {
	if !q.enter() {
		return false
	}
	go func() {
		defer q.tasks.Done()
		do()
	}()
	return true
}

// running returns Raft, or nil while this disk belongs to no cluster.
func (q *Quorum) running() *raft.Raft {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.raft
}

// Formed answers whether this node is a voting member of the cluster. That a
// majority is there now is not said.
func (q *Quorum) Formed() bool {
	r := q.running()
	return r != nil && voter(r, q.self())
}

// WaitFormed waits until this node is a member and a majority answers.
func (q *Quorum) WaitFormed(ctx context.Context) error {
	for {
		if q.Formed() {
			if err := q.atLeader(ctx, opReady, struct{}{}, nil); err == nil {
				return nil
			}
		}
		if err := q.pause(ctx, q.config.Times.Heartbeat/5); err != nil {
			return fmt.Errorf("wait for the quorum, which waits for %s: %w", cmp.Or(q.Status().Waits, noLeader), err)
		}
	}
}

// self is this node's identity in the cluster: name/incarnation.
func (q *Quorum) self() string { return identity(q.config.Self, q.store.incarnation) }

// pause waits for a while, or until ctx or the quorum ends.
func (q *Quorum) pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-q.ctx.Done():
		return errClosed
	case <-timer.C:
		return nil
	}
}

// errClosed ends what waits when the quorum is closed.
var errClosed = errors.New("the quorum was closed")
