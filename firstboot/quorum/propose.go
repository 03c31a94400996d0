package quorum

import (
	"encoding/json"
	"errors"
	"sync"
	"time"

	"trivet/firstboot/bundle"
)

// mayForm returns the nonce under which this disk may take part in founding, or
// why it may not. Q.mu is held.
func (q *Quorum) mayForm() (nonce, why string) {
	c := q.config
	if c.Ticket == "" {
		return "", "it has no formation ticket"
	}
	t, err := bundle.VerifyTicket(c.Ticket, c.Signer, c.Now())
	if err == nil || errors.Is(err, bundle.ErrExpired) {
		if wrong := t.For(c.Cloud, c.names()); wrong != nil {
			return "", wrong.Error()
		}
	}
	switch {
	case err == nil, errors.Is(err, bundle.ErrExpired) && q.store.disk.bound(t.Nonce):
		return t.Nonce, ""
	}
	return "", err.Error()
}

// onProposal answers a step of the agreement, after it was written down.
func (q *Quorum) onProposal(op string, p *proposal) (any, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	nonce, why := q.mayForm()
	next, v := q.store.disk.judge(op, *p, permit{q.config.Cloud, q.config.names(), nonce, why})
	if v.Yes {
		if err := q.store.save(next); err != nil {
			return nil, err
		}
	}
	return v, nil
}

// poll asks all controllers, this one too, for their verdict on a proposal.
func (q *Quorum) poll(op string, p proposal) map[string]verdict {
	data, err := json.Marshal(p)
	if err != nil {
		return nil
	}
	var mu sync.Mutex
	var all sync.WaitGroup
	got := map[string]verdict{}
	for _, name := range q.config.names() {
		all.Go(func() {
			var v verdict
			answer, err := q.callOr(q.ctx, name, op, data)
			if err == nil {
				err = decode(answer, &v)
			}
			if err == nil && (v.Founding == nil || v.Founding.valid(q.config.Cloud, nil)) {
				mu.Lock()
				got[name] = v
				mu.Unlock()
			}
		})
	}
	all.Wait()
	return got
}

// propose tries to agree with a majority on the set that founds the cluster.
func (q *Quorum) propose(d decision) error {
	names, begun := q.config.names(), time.Now()
	p := q.nextProposal()
	if p.Nonce == "" {
		return nil
	}
	heard, err := tally(q.poll(opPrepare, p), names)
	if err != nil {
		return q.beaten(heard, err)
	}
	if p.Set, err = pick(heard, names, d.Present, d.There); err != nil {
		return err
	}
	heard, err = tally(q.poll(opAccept, p), names)
	if err != nil {
		return q.beaten(heard, err)
	}
	if time.Since(begun) > 3*q.config.Times.Call {
		return errors.New("the agreement took so long that the world may have changed; once more")
	}
	q.config.report("the controllers agreed to form the cluster of %v", p.Set)
	return q.belong(founding{q.config.Cloud, p.Nonce, p.Set})
}

// nextProposal is one whose ballot this disk has not seen.
func (q *Quorum) nextProposal() proposal {
	q.mu.Lock()
	defer q.mu.Unlock()
	nonce, _ := q.mayForm()
	round := max(q.store.disk.Promises[nonce].Ballot.Round, q.lately.round()) + 1
	return proposal{Nonce: nonce, Ballot: ballot{round, q.config.Self}}
}

// beaten handles a proposal that was not taken.
func (q *Quorum) beaten(heard tallied, err error) error {
	q.lately.heard(heard.ahead)
	if heard.founding != nil {
		q.again() // it is in that node's next greeting
	}
	return err
}
