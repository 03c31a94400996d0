package join

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"testing"
)

// A memoryQuorum is a Quorum among nodes of one test.
type memoryQuorum struct {
	mu    sync.Mutex
	keys  map[string]memoryKey
	locks map[string]chan struct{}
	tell  map[string]func(step string) ([]byte, error) // by node; one that is not there is out of reach
}

type memoryKey struct {
	value   []byte
	version uint64
}

func newMemoryQuorum() *memoryQuorum {
	return &memoryQuorum{keys: map[string]memoryKey{}, locks: map[string]chan struct{}{}, tell: map[string]func(string) ([]byte, error){}}
}

func (q *memoryQuorum) Get(ctx context.Context, key string) ([]byte, uint64, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	k := q.keys[key]
	return bytes.Clone(k.value), k.version, ctx.Err()
}

func (q *memoryQuorum) Put(ctx context.Context, key string, value []byte, version uint64) (bool, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if err := ctx.Err(); err != nil || q.keys[key].version != version {
		return false, err
	}
	q.keys[key] = memoryKey{bytes.Clone(value), version + 1}
	return true, nil
}

func (q *memoryQuorum) Lock(ctx context.Context, name string) (context.Context, func(), error) {
	q.mu.Lock()
	lock, ok := q.locks[name]
	if !ok {
		lock = make(chan struct{}, 1)
		q.locks[name] = lock
	}
	q.mu.Unlock()
	select {
	case lock <- struct{}{}:
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	}
	held, cancel := context.WithCancel(ctx)
	return held, sync.OnceFunc(func() { cancel(); <-lock }), nil
}

func (q *memoryQuorum) Ask(ctx context.Context, node, step string) ([]byte, error) {
	q.mu.Lock()
	tell := q.tell[node]
	q.mu.Unlock()
	if tell == nil {
		return nil, fmt.Errorf("ask %s about %s: it does not answer", node, step)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return tell(step)
}

func TestQuorumJSON(t *testing.T) {
	q := newMemoryQuorum()
	type value struct{ A int }
	got := value{7}
	if version, err := getJSON(t.Context(), q, "x", &got); version != 0 || err != nil || got.A != 7 {
		t.Errorf("a key that is not there: %d, %v, %+v; want 0, nil, the value as it was", version, err, got)
	}
	if set, err := putJSON(t.Context(), q, "x", value{8}, 0); !set || err != nil {
		t.Errorf("first put: %v, %v", set, err)
	}
	if set, err := putJSON(t.Context(), q, "x", value{9}, 0); set || err != nil {
		t.Errorf("second put over the same version: %v, %v; want false", set, err)
	}
	if version, err := getJSON(t.Context(), q, "x", &got); version != 1 || err != nil || got.A != 8 {
		t.Errorf("after a put: %d, %v, %+v", version, err, got)
	}
	q.keys["x"] = memoryKey{[]byte("{"), 2}
	if _, err := getJSON(t.Context(), q, "x", &got); err == nil {
		t.Error("a broken value is no error")
	}
}
