package quorum

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// leadership is what only the leader knows, and only as long as it leads.
type leadership struct {
	mu      sync.Mutex
	term    uint64               // in which what follows holds
	since   time.Time            // when it was noticed; monotonic
	renewed map[string]time.Time // by token of a lock: when its holder was last heard; monotonic
	change  sync.Mutex           // held while the configuration is changed
}

// errNotLeader is of a node that cannot answer for the cluster now.
var errNotLeader = errors.New("this node does not lead the quorum")

// ready answers whether this node leads, a majority follows it now, and its
// state has all that was ever acknowledged.
func (q *Quorum) ready() (*raft.Raft, error) {
	r := q.running()
	if r == nil || r.State() != raft.Leader {
		return nil, errNotLeader
	}
	term := r.CurrentTerm()
	l := &q.leader
	l.mu.Lock()
	known := l.term == term
	l.mu.Unlock()
	if !known {
		// What leaders before this one committed is applied when the barrier is.
		// Once a term is enough: whatever this leader commits itself, it has
		// applied before it says so.
		since := time.Now()
		if err := r.Barrier(q.config.Times.Call).Error(); err != nil {
			return nil, fmt.Errorf("%w: %w", errNotLeader, err)
		}
		l.mu.Lock()
		if l.term < term {
			l.term, l.since, l.renewed = term, since, map[string]time.Time{}
		}
		l.mu.Unlock()
	}
	if err := r.VerifyLeader().Error(); err != nil {
		return nil, fmt.Errorf("%w: %w", errNotLeader, err)
	}
	if r.CurrentTerm() != term {
		return nil, errNotLeader
	}
	return r, nil
}

// commit puts a command into the log and returns what it came to.
func (q *Quorum) commit(r *raft.Raft, c command) (outcome, error) {
	data, err := json.Marshal(c)
	if err != nil {
		return outcome{}, err
	}
	f := r.Apply(data, q.config.Times.Call)
	if err := f.Error(); err != nil {
		// Perhaps it was done: every command may be given twice.
		return outcome{}, fmt.Errorf("%w: %w", errNotLeader, err)
	}
	o := f.Response().(outcome)
	return o, o.err
}

// atLeader asks the leader, wherever it is, until it answers or ctx ends. An
// answer of no is an error at once; that there is no leader is waited for. What
// is asked may be asked twice. Reply may be nil.
func (q *Quorum) atLeader(ctx context.Context, op string, request any, reply checked) error {
	data, err := json.Marshal(request)
	if err != nil {
		return err
	}
	last := errNotLeader
	for {
		if leader := q.leaderName(); leader != "" {
			answer, err := q.callOr(ctx, leader, op, data)
			if err == nil && reply != nil {
				err = decode(answer, reply)
			}
			if err == nil || errors.Is(err, errRefused) {
				return err
			}
			last = err
		}
		if err := q.pause(ctx, q.config.Times.Heartbeat/10); err != nil {
			return fmt.Errorf("ask the quorum's leader: %w; the last answer was: %w", err, last)
		}
	}
}

// callOr calls a controller, which may be this one.
func (q *Quorum) callOr(ctx context.Context, name, op string, data []byte) ([]byte, error) {
	if name != q.config.Self {
		return q.calls.call(ctx, name, op, data)
	}
	reply, err := q.answer(ctx, name, op, data)
	if err != nil {
		if errors.Is(err, errNotLeader) || ctx.Err() != nil {
			return nil, err
		}
		return nil, fmt.Errorf("%w: %w", errRefused, err)
	}
	return reply, nil
}

// leaderName returns who leads as far as this node knows.
func (q *Quorum) leaderName() string {
	r := q.running()
	if r == nil {
		return ""
	}
	_, id := r.LeaderWithID()
	return nameOf(string(id))
}
