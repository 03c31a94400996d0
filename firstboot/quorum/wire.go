package quorum

import (
	"encoding/json"
	"errors"
	"fmt"
)

// Limits of what is kept and told.
const (
	maxKey     = 64       // bytes of a key's or a lock's name
	maxKeys    = 64       // keys, and as many locks
	maxValue   = 64 << 10 // bytes of a value, and of what a peer tells of a step
	maxMessage = 4 * maxValue
	maxRound   = 1 << 53 // what JSON readers hold exactly
)

// The calls of one controller to another.
const (
	opGreet   = "greet"   // greeting → greeting
	opPrepare = "prepare" // proposal without a set → verdict
	opAccept  = "accept"  // proposal → verdict
	opAdmit   = "admit"   // admitRequest → admitReply
	opReady   = "ready"   // {} → {}, by the leader, when a majority follows it
	opGet     = "get"     // keyRequest → keyReply
	opPut     = "put"     // putRequest → putReply
	opLock    = "lock"    // lockRequest → lockReply
	opRenew   = "renew"   // lockRequest → lockReply
	opUnlock  = "unlock"  // lockRequest → lockReply
	opAsk     = "ask"     // askRequest → what the step tells
)

// A proposal is a step of the agreement on the founding set.
type proposal struct {
	Nonce  string   `json:"nonce"`
	Ballot ballot   `json:"ballot"`
	Set    []string `json:"set,omitempty"`
}

// A verdict is a disk's answer to a proposal.
type verdict struct {
	Yes      bool      `json:"yes"`
	Why      string    `json:"why,omitempty"` // of a no that is not for a ballot's sake
	Promise  promise   `json:"promise"`
	Founding *founding `json:"founding,omitempty"` // the cluster to which it belongs already
}

// An admitRequest asks the leader to let the caller's disk in.
type admitRequest struct {
	Self string `json:"self"` // identity
	// Cluster is the id of the one to which the disk belongs by now. Without it
	// the leader only answers whether it would.
	Cluster string `json:"cluster"`
}

type admitReply struct {
	Founding founding `json:"founding"`
}

type keyRequest struct {
	Key string `json:"key"`
}

type keyReply struct {
	Value   []byte `json:"value"`
	Version uint64 `json:"version"` // 0: there is none
}

type putRequest struct {
	ID      string `json:"id"` // of the request: it may come twice
	Key     string `json:"key"`
	Value   []byte `json:"value"`
	Version uint64 `json:"version"`
}

type putReply struct {
	Set bool `json:"set"`
}

type lockRequest struct {
	Name    string `json:"name"`
	Token   string `json:"token"`   // of who wants or has it
	Process string `json:"process"` // of the agent
}

type lockReply struct {
	Held bool   `json:"held"` // by the token
	By   string `json:"by"`   // name of the holder
}

type askRequest struct {
	Step string `json:"step"`
}

// A checked is a message that knows what it may hold.
type checked interface{ check() error }

// decode reads a message of a peer.
func decode(data []byte, into checked) error {
	if len(data) > maxMessage {
		return errors.New("the message is too long")
	}
	if err := json.Unmarshal(data, into); err != nil {
		return errors.New("the message is not of its kind")
	}
	return into.check()
}

func (g *greeting) check() error {
	_, incarnation, ok := splitIdentity(g.Self)
	switch {
	case !ok || incarnation == absent, !uuidForm.MatchString(g.Cloud), !digestForm.MatchString(g.Controllers),
		g.Nonce != "" && !incarnationForm.MatchString(g.Nonce), g.Leader != "" && !nameForm.MatchString(g.Leader),
		g.Founding != nil && !g.Founding.valid(g.Cloud, nil):
		return errors.New("the greeting is not one")
	}
	return nil
}

func (b ballot) check() error {
	if b.Round < 1 || b.Round > maxRound || !nameForm.MatchString(b.By) {
		return errors.New("the ballot is not one")
	}
	return nil
}

func (p *proposal) check() error {
	if !incarnationForm.MatchString(p.Nonce) || len(p.Set) > 0 && !wellFormed(p.Set) {
		return errors.New("the proposal is not one")
	}
	return p.Ballot.check()
}

func (v *verdict) check() error {
	p := v.Promise
	switch {
	case p.Ballot != (ballot{}) && p.Ballot.check() != nil, len(p.Set) > 0 && (!wellFormed(p.Set) || p.Accepted.check() != nil), len(v.Why) > 1<<10:
		return errors.New("the verdict is not one")
	}
	return nil
}

func (r *admitRequest) check() error {
	if _, incarnation, ok := splitIdentity(r.Self); !ok || incarnation == absent {
		return errors.New("the one to admit has no identity")
	}
	if r.Cluster != "" && !digestForm.MatchString(r.Cluster) {
		return errors.New("the one to admit belongs to what is no cluster")
	}
	return nil
}

func (r *admitReply) check() error {
	if !r.Founding.valid(r.Founding.Cloud, nil) {
		return errors.New("the cluster has no founding")
	}
	return nil
}

func checkKey(key string) error {
	if key == "" || len(key) > maxKey {
		return fmt.Errorf("a name in the quorum has 1 to %d bytes", maxKey)
	}
	return nil
}

func (r *keyRequest) check() error { return checkKey(r.Key) }

func (r *keyReply) check() error { return checkValue(r.Value) }

func checkValue(v []byte) error {
	if len(v) > maxValue {
		return fmt.Errorf("a value of %d bytes is longer than the quorum keeps, %d", len(v), maxValue)
	}
	return nil
}

func (r *putRequest) check() error {
	if !incarnationForm.MatchString(r.ID) {
		return errors.New("the request has no name of its own")
	}
	return errors.Join(checkKey(r.Key), checkValue(r.Value))
}

func (r *putReply) check() error { return nil }

func (r *lockRequest) check() error {
	if !incarnationForm.MatchString(r.Token) || !incarnationForm.MatchString(r.Process) {
		return errors.New("the lock is of nobody")
	}
	return checkKey(r.Name)
}

func (r *lockReply) check() error {
	if len(r.By) > 128 {
		return errors.New("the lock is held by no controller")
	}
	return nil
}

func (r *askRequest) check() error { return checkKey(r.Step) }
