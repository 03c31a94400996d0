package quorum

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// The set of those who found the cluster is chosen by single-decree Paxos, one
// register for each ticket. A round of it is what would do if nothing broke:
// propose, and a majority writes it down. The numbered rounds are there so that
// a proposal whose proposer died cannot block those who are left, however the
// answers were lost.

// A ballot orders proposals.
type ballot struct {
	Round uint64 `json:"round"`
	By    string `json:"by"` // name of the proposer
}

func (b ballot) compare(c ballot) int {
	return cmp.Or(cmp.Compare(b.Round, c.Round), cmp.Compare(b.By, c.By))
}

// A promise is what a disk has given its word for under one nonce. It lasts
// before the word is given.
type promise struct {
	Ballot   ballot   `json:"ballot"`            // nothing below is listened to any more
	Accepted ballot   `json:"accepted,omitzero"` // of the set below
	Set      []string `json:"set,omitempty"`     // identities, one for each controller; empty if none was accepted
}

// prepare answers a proposer who asks to be listened to: the new promise, and
// whether the answer is yes. On no the promise tells the ballot that is ahead.
func (p promise) prepare(b ballot) (promise, bool) {
	if b.compare(p.Ballot) <= 0 {
		return p, false
	}
	p.Ballot = b
	return p, true
}

// accept answers a proposer who asks to write down a set.
func (p promise) accept(b ballot, set []string) (promise, bool) {
	if b.compare(p.Ballot) < 0 {
		return p, false
	}
	return promise{b, b, slices.Clone(set)}, true
}

// choose returns the set that a proposer must propose after a majority promised
// to listen: the newest that one of them accepted, else its own.
func choose(promises []promise, own []string) []string {
	newest := promise{}
	for _, p := range promises {
		if len(p.Set) > 0 && (len(newest.Set) == 0 || p.Accepted.compare(newest.Accepted) > 0) {
			newest = p
		}
	}
	if len(newest.Set) > 0 {
		return newest.Set
	}
	return own
}

// A permit is what a disk may take part in.
type permit struct {
	cloud string
	names []string // of the declared controllers, sorted
	nonce string   // of the ticket; empty: in nothing
	why   string   // it may not
}

// bound answers whether a disk wrote down a set under a nonce. Then it may go on
// after the ticket ended: what a majority wrote down in time must be able to
// come to its end. A disk that was wiped since is not bound, so that after the
// end no wiped ones can begin anew.
func (d disk) bound(nonce string) bool { return len(d.Promises[nonce].Set) > 0 }

// judge answers a step of the agreement. If the verdict is yes, the disk must
// last before it is given.
func (d disk) judge(op string, p proposal, may permit) (disk, verdict) {
	old, known := d.Promises[p.Nonce]
	switch {
	case d.Cluster != nil:
		return d, verdict{Founding: d.Cluster}
	case may.nonce == "":
		return d, verdict{Why: may.why}
	case may.nonce != p.Nonce:
		return d, verdict{Why: "it has another formation ticket"}
	case !known && len(d.Promises) >= maxPromises:
		return d, verdict{Why: "it has seen too many formation tickets; remove its folder of the quorum"}
	case op == opAccept && !(founding{may.cloud, p.Nonce, p.Set}).valid(may.cloud, may.names):
		return d, verdict{Why: "the set is not of the declared controllers"}
	}
	next, yes := old.prepare(p.Ballot)
	if op == opAccept {
		next, yes = old.accept(p.Ballot, p.Set)
	}
	if !yes {
		return d, verdict{Promise: old}
	}
	d.Promises = maps.Clone(d.Promises)
	if d.Promises == nil {
		d.Promises = map[string]promise{}
	}
	d.Promises[p.Nonce] = next
	return d, verdict{Yes: true, Promise: next}
}

// pick returns the set to write down, once a majority listens: the one of those
// who are present, if none is perhaps chosen. One of which no majority of the
// disks is there any more is not founded: it would never work.
func pick(heard tallied, names, present, there []string) ([]string, error) {
	set := choose(heard.promises, servers(names, present))
	alive := 0
	for _, id := range set {
		if slices.Contains(there, id) {
			alive++
		}
	}
	if alive < majority(len(names)) {
		return nil, fmt.Errorf("a founding of %s is perhaps agreed on, and too few of them are there with the disks they had; if they cannot come back, make the bundles of all controllers anew", strings.Join(set, ", "))
	}
	return set, nil
}

// servers is the configuration that a set founds: those who are present, and a
// place for each controller that is not. Names are sorted.
func servers(names, present []string) []string {
	var all []string
	for _, name := range names {
		id := identity(name, absent)
		if i := slices.IndexFunc(present, func(p string) bool { return nameOf(p) == name }); i >= 0 {
			id = present[i]
		}
		all = append(all, id)
	}
	return all
}

// What the controllers said to a proposal.
type tallied struct {
	promises []promise // of those who said yes
	ahead    uint64    // the highest round of those who said no
	founding *founding // of the cluster to which somebody belongs already
}

// tally counts the verdicts; the error says why they are not enough.
func tally(got map[string]verdict, names []string) (tallied, error) {
	var t tallied
	why := ""
	for _, name := range names {
		v, answered := got[name]
		switch {
		case !answered:
			why += fmt.Sprintf("; %s did not answer", name)
		case v.Founding != nil:
			t.founding = v.Founding
			why += fmt.Sprintf("; %s belongs to a cluster already", name)
		case v.Yes:
			t.promises = append(t.promises, v.Promise)
		case v.Why != "":
			why += fmt.Sprintf("; %s: %s", name, v.Why)
		default:
			t.ahead = max(t.ahead, v.Promise.Ballot.Round)
			why += fmt.Sprintf("; %s listens to another proposal", name)
		}
	}
	if len(t.promises) < majority(len(names)) || t.founding != nil {
		return t, fmt.Errorf("the proposal has %d of the %d voices it needs%s", len(t.promises), majority(len(names)), why)
	}
	return t, nil
}
