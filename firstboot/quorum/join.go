package quorum

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hashicorp/raft"
)

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
		if !errors.Is(err, errRefused) { // what the leader said is not lost over what others did not know
			err = callErr
		}
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
	if time.Since(r.LastContact()) < 4*q.config.Times.Heartbeat {
		q.waits(noLeader, false, nil)
		return false
	}
	switch _, err := q.askAll(admitRequest{q.self(), q.own().Founding.id()}); {
	case q.ctx.Err() != nil:
	case errors.Is(err, errRefused):
		q.waits("an operator, since the others do not let this node in", true, err)
	default:
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
