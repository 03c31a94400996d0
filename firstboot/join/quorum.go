package join

import (
	"context"
	"encoding/json"
	"fmt"
)

// A Quorum is the agreement among the agents of a cloud's controllers. What is
// in it survives as long as a majority of them does; a call that needs the
// majority waits for it until its context ends.
type Quorum interface {
	// Get returns the value of a key, and its version, 0 if there is none. It is
	// the newest: no Put that came to its end before is missed.
	Get(ctx context.Context, key string) (value []byte, version uint64, err error)
	// Put sets a key that still has this version, 0 for one that is not there,
	// and answers whether it did: false says that somebody else was first.
	Put(ctx context.Context, key string, value []byte, version uint64) (bool, error)
	// Lock waits until this node alone holds the lock, and keeps it until unlock
	// is called. The context that it returns ends too when the lock was lost,
	// because the majority was out of reach for longer than a lock lasts: then
	// what was begun under it must stop.
	Lock(ctx context.Context, name string) (held context.Context, unlock func(), err error)
	// Ask returns what the agent of another controller tells of a step (Step.Tell).
	Ask(ctx context.Context, node, step string) ([]byte, error)
}

// getJSON reads a key of the quorum into a value, which it leaves as it is where
// the key is not there.
func getJSON(ctx context.Context, q Quorum, key string, into any) (version uint64, err error) {
	data, version, err := q.Get(ctx, key)
	if err == nil && version != 0 {
		err = json.Unmarshal(data, into)
	}
	if err != nil {
		return version, fmt.Errorf("read %s of the quorum: %w", key, err)
	}
	return version, nil
}

// putJSON sets a key of the quorum, as Quorum.Put does.
func putJSON(ctx context.Context, q Quorum, key string, value any, version uint64) (bool, error) {
	data, err := json.Marshal(value)
	set := false
	if err == nil {
		set, err = q.Put(ctx, key, data, version)
	}
	if err != nil {
		return false, fmt.Errorf("write %s of the quorum: %w", key, err)
	}
	return set, nil
}
