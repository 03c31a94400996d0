package quorum

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"

	"github.com/hashicorp/raft"
)

// A machine is what the log says, line for line the same on every controller.
type machine struct {
	mu    sync.Mutex
	state state
}

// A state is what a snapshot holds.
type state struct {
	Keys  map[string]entry `json:"keys"`
	Locks map[string]lock  `json:"locks"`
	// Done are the last puts with what became of them, oldest first: a put whose
	// answer was lost is asked again and must not be done twice.
	Done []donePut `json:"done"`
}

type entry struct {
	Value   []byte `json:"value"`
	Version uint64 `json:"version"`
}

// A lock's time is not in the log: who leads watches over it.
type lock struct {
	Token   string `json:"token"`
	Holder  string `json:"holder"` // name of the controller
	Process string `json:"process"`
}

type donePut struct {
	ID  string `json:"id"`
	Set bool   `json:"set"`
}

const (
	maxDone     = 256
	maxSnapshot = maxKeys*2*maxValue + 1<<20 // values are base64 in it
)

// A command is a line of the log.
type command struct {
	Op      string `json:"op"` // opPut, opLock or opUnlock
	ID      string `json:"id,omitempty"`
	Name    string `json:"name"`
	Value   []byte `json:"value,omitempty"`
	Version uint64 `json:"version,omitempty"`
	Lock    lock   `json:"lock,omitzero"`
	Over    string `json:"over,omitempty"` // token of the lock that is taken over
}

// A outcome is what a command came to.
type outcome struct {
	yes  bool
	lock lock // as it is now
	err  error
}

// decodeCommand reads a line of the log.
func decodeCommand(data []byte) (command, error) {
	var c command
	if len(data) > maxMessage || json.Unmarshal(data, &c) != nil {
		return command{}, errors.New("the log holds something else than a command")
	}
	return c, errors.Join(checkKey(c.Name), checkValue(c.Value))
}

func newMachine() *machine {
	return &machine{state: state{Keys: map[string]entry{}, Locks: map[string]lock{}}}
}

// Apply does a command. Its answer depends on nothing but the log.
func (m *machine) Apply(l *raft.Log) any {
	c, err := decodeCommand(l.Data)
	if err != nil {
		return outcome{err: err}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	switch c.Op {
	case opPut:
		return m.state.put(c)
	case opLock:
		return m.state.take(c)
	case opUnlock:
		return m.state.release(c)
	}
	return outcome{err: fmt.Errorf("the log holds an unknown command %q; a newer agent wrote it", c.Op)}
}

func (s *state) put(c command) outcome {
	if i := slices.IndexFunc(s.Done, func(d donePut) bool { return d.ID == c.ID }); i >= 0 {
		return outcome{yes: s.Done[i].Set}
	}
	old, there := s.Keys[c.Name]
	if !there && len(s.Keys) >= maxKeys {
		return outcome{err: fmt.Errorf("the quorum holds no more than %d keys", maxKeys)}
	}
	set := old.Version == c.Version
	if set {
		s.Keys[c.Name] = entry{c.Value, c.Version + 1}
	}
	s.Done = append(s.Done, donePut{c.ID, set})
	if over := len(s.Done) - maxDone; over > 0 {
		s.Done = slices.Delete(s.Done, 0, over)
	}
	return outcome{yes: set}
}

func (s *state) take(c command) outcome {
	now, held := s.Locks[c.Name]
	switch {
	case held && now.Token == c.Lock.Token:
		return outcome{yes: true, lock: now}
	case held && now.Token != c.Over:
		return outcome{lock: now}
	case !held && len(s.Locks) >= maxKeys:
		return outcome{err: fmt.Errorf("the quorum holds no more than %d locks", maxKeys)}
	}
	s.Locks[c.Name] = c.Lock
	return outcome{yes: true, lock: c.Lock}
}

func (s *state) release(c command) outcome {
	if now, held := s.Locks[c.Name]; held && now.Token == c.Lock.Token {
		delete(s.Locks, c.Name)
	}
	return outcome{yes: true}
}

func (m *machine) get(key string) entry {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.state.Keys[key]
	return entry{bytes.Clone(e.Value), e.Version}
}

func (m *machine) holder(name string) lock {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.state.Locks[name]
}

// Snapshot copies the state.
func (m *machine) Snapshot() (raft.FSMSnapshot, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	data, err := json.Marshal(m.state)
	return snapshot(data), err
}

// Restore takes a snapshot's state.
func (m *machine) Restore(r io.ReadCloser) error {
	defer r.Close()
	data, err := io.ReadAll(io.LimitReader(r, maxSnapshot+1))
	if err != nil {
		return fmt.Errorf("read a snapshot of the quorum: %w", err)
	}
	s, err := decodeState(data)
	if err != nil {
		return fmt.Errorf("read a snapshot of the quorum: %w", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.state = s
	return nil
}

func decodeState(data []byte) (state, error) {
	s := state{}
	if len(data) > maxSnapshot || json.Unmarshal(data, &s) != nil {
		return state{}, errors.New("it is none")
	}
	if len(s.Keys) > maxKeys || len(s.Locks) > maxKeys || len(s.Done) > maxDone {
		return state{}, errors.New("it holds more than the quorum does")
	}
	for key, e := range s.Keys {
		if err := errors.Join(checkKey(key), checkValue(e.Value)); err != nil {
			return state{}, err
		}
	}
	// A snapshot of an empty machine has no maps to write to.
	return state{cloneOr(s.Keys), cloneOr(s.Locks), s.Done}, nil
}

func cloneOr[V any](m map[string]V) map[string]V {
	if m == nil {
		return map[string]V{}
	}
	return maps.Clone(m)
}

type snapshot []byte

// Persist writes the snapshot.
func (s snapshot) Persist(sink raft.SnapshotSink) error {
	if _, err := sink.Write(s); err != nil {
		return errors.Join(err, sink.Cancel())
	}
	return sink.Close()
}

// Release has nothing to release.
func (snapshot) Release() {}
