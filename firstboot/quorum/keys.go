package quorum

import (
	"context"
	"fmt"
)

// Get returns the value of a key and its version, 0 if there is none. It is the
// newest: no Put that came to its end before is missed. It waits for a majority
// until ctx ends.
func (q *Quorum) Get(ctx context.Context, key string) (value []byte, version uint64, err error) {
	r := &keyRequest{key}
	var answer keyReply
	if err = r.check(); err == nil {
		err = q.atLeader(ctx, opGet, r, &answer)
	}
	if err != nil {
		return nil, 0, fmt.Errorf("get %s: %w", key, err)
	}
	return answer.Value, answer.Version, nil
}

// Put sets a key that still has this version, 0 for one that is not there, and
// answers whether it did. It waits for a majority until ctx ends; after an error
// it is open whether the key was set. A value has at most 64 KiB, a key's name
// 64 bytes, and there are at most 64 keys.
func (q *Quorum) Put(ctx context.Context, key string, value []byte, version uint64) (bool, error) {
	r := &putRequest{random(), key, value, version}
	var answer putReply
	err := r.check()
	if err == nil {
		err = q.atLeader(ctx, opPut, r, &answer)
	}
	if err != nil {
		return false, fmt.Errorf("put %s: %w", key, err)
	}
	return answer.Set, nil
}

func (q *Quorum) onGet(r *keyRequest) (any, error) {
	if _, err := q.ready(); err != nil {
		return nil, err
	}
	e := q.fsm.get(r.Key)
	return keyReply(e), nil
}

func (q *Quorum) onPut(r *putRequest) (any, error) {
	leader, err := q.ready()
	if err != nil {
		return nil, err
	}
	o, err := q.commit(leader, command{Op: opPut, ID: r.ID, Name: r.Key, Value: r.Value, Version: r.Version})
	return putReply{o.yes}, err
}
