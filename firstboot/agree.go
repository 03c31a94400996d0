package firstboot

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"sync"

	"trivet/firstboot/join"
	"trivet/firstboot/node"
	"trivet/firstboot/quorum"
	"trivet/firstboot/status"
)

// quorumPath is where the agreement of the controllers is kept.
const quorumPath = statePath + "/quorum"

// A Cluster is the agreement among the controllers' agents, as package quorum
// makes it.
type Cluster interface {
	join.Quorum
	// WaitFormed returns when the cloud has formed and this node is part of it.
	WaitFormed(context.Context) error
	Status() quorum.Status
	Close() error
}

// An agreement is the Cluster of an agent's run, opened once for one
// description.
type agreement struct {
	mu      sync.Mutex
	cluster Cluster
	digest  [sha256.Size]byte // of what it was opened with
}

// agrees answers whether a node takes part in the agreement: one controller
// alone has nobody to agree with.
func agrees(c node.Config) bool { return c.Role == node.Controller && !c.Lab() }

// agree joins the agents of the other controllers, and waits until the cloud has
// formed.
func (a *agent) agree(ctx context.Context, known description, env *join.Env) error {
	if !agrees(known.config) {
		return nil
	}
	cluster, err := a.openQuorum(ctx, known)
	if err != nil {
		return err
	}
	env.Quorum = cluster
	a.keep(*env)
	return cluster.WaitFormed(ctx)
}

func (a *agent) openQuorum(ctx context.Context, known description) (Cluster, error) {
	c := a.quorumConfig(known)
	digest, err := digestOf(c)
	if err != nil {
		return nil, err
	}
	a.agreement.mu.Lock()
	defer a.agreement.mu.Unlock()
	if a.agreement.cluster != nil && a.agreement.digest == digest {
		return a.agreement.cluster, nil
	}
	if a.agreement.cluster != nil { // the description changed
		if err := a.agreement.cluster.Close(); err != nil {
			return nil, err
		}
		a.agreement.cluster = nil
	}
	cluster, err := a.System.OpenQuorum(ctx, c)
	if err != nil {
		return nil, err
	}
	a.agreement.cluster, a.agreement.digest = cluster, digest
	return cluster, nil
}

// quorumConfig is what the agreement is made with.
func (a *agent) quorumConfig(known description) quorum.Config {
	return quorum.Config{
		Dir: path.Join(a.Root, quorumPath), Cloud: known.cloud, Self: known.config.Name, Controllers: known.config.Controllers,
		Ticket: known.ticket, Signer: known.signer,
		CA: known.files["pki/agent/ca.crt"], Cert: known.files["pki/agent/node.crt"], Key: known.files["pki/agent/node.key"],
		Report: func(format string, args ...any) {
			a.Report.Say("quorum", status.Waiting, fmt.Sprintf(format, args...), nil)
		},
		Answer: a.answer, Log: a.Log,
	}
}

// digestOf tells one description of the agreement from another.
func digestOf(c quorum.Config) ([sha256.Size]byte, error) {
	data, err := json.Marshal([]any{c.Cloud, c.Self, c.Controllers, c.Ticket, c.Signer, c.CA, c.Cert})
	if err != nil {
		return [sha256.Size]byte{}, fmt.Errorf("compare the agreement's description: %w", err)
	}
	return sha256.Sum256(data), nil
}

// answer tells a peer of a step.
func (a *agent) answer(ctx context.Context, step string) ([]byte, error) {
	return join.Tell(ctx, a.kept(), step)
}

// disagree ends the agreement.
func (a *agent) disagree() {
	a.agreement.mu.Lock()
	defer a.agreement.mu.Unlock()
	if a.agreement.cluster != nil {
		_ = a.agreement.cluster.Close() // the agent ends
		a.agreement.cluster = nil
	}
}

// agreeable says what a controller of a cloud of several lacks, before anything
// is changed.
func agreeable(d description) error {
	if !agrees(d.config) {
		return nil
	}
	for _, path := range []string{"pki/agent/ca.crt", "pki/agent/node.crt", "pki/agent/node.key"} {
		if len(d.files[path]) == 0 {
			return errors.New("a controller of several needs the certificates of a bundle, and this description brings none; make it with: trivet cluster bundle")
		}
	}
	return nil
}

// certified answers whether a bundle's files bring the certificates of its
// node: all circles of trust, or none.
func certified(files map[string][]byte) bool { return len(files["pki/agent/node.key"]) > 0 }
