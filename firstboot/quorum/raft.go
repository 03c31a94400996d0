package quorum

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hashicorp/raft"
)

// startRaft begins to work in the cluster to which this disk belongs. It founds
// it where this disk is of those who do and has not done it yet: what it writes
// then is the same on all, so it does not matter who is first or how late.
func (q *Quorum) startRaft() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.raft != nil {
		return nil
	}
	cluster := *q.store.disk.Cluster
	q.port.raft.mine = preamble{Cluster: cluster.id(), From: q.self()}
	logger := quiet(q.config.Log)
	transport := raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream: q.port.raft, MaxPool: 2, Timeout: q.config.Times.Call, Logger: logger,
	})
	c := q.raftConfig()
	c.Logger = logger
	bolt, snapshots := q.store.bolt, q.store.snapshots
	if err := q.store.unbegun(); err != nil {
		return fmt.Errorf("start the quorum's log: %w", err)
	}
	old, err := raft.HasExistingState(bolt, bolt, snapshots)
	if err == nil && !old && slices.Contains(cluster.Servers, q.self()) {
		err = raft.BootstrapCluster(c, bolt, bolt, snapshots, transport, configuration(cluster.Servers))
	}
	var r *raft.Raft
	m := newMachine()
	if err == nil {
		r, err = raft.NewRaft(c, m, bolt, bolt, snapshots, transport)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("start the quorum's log: %w", err), transport.Close())
	}
	q.raft, q.fsm = r, m
	return nil
}

func (q *Quorum) raftConfig() *raft.Config {
	c := raft.DefaultConfig()
	c.LocalID = raft.ServerID(q.self())
	beat := q.config.Times.Heartbeat
	c.HeartbeatTimeout, c.ElectionTimeout, c.LeaderLeaseTimeout = beat, beat, beat*2/3
	// How often an idle leader tells its followers what is committed: nothing
	// waits for that here, since the leader answers all questions.
	c.CommitTimeout = max(beat/3, 5*time.Millisecond)
	c.SnapshotThreshold, c.TrailingLogs = 1024, 256
	c.NoLegacyTelemetry = true
	return c
}

// configuration has all servers as voters; their addresses are their identities.
func configuration(servers []string) raft.Configuration {
	var c raft.Configuration
	for _, id := range servers {
		c.Servers = append(c.Servers, raft.Server{Suffrage: raft.Voter, ID: raft.ServerID(id), Address: raft.ServerAddress(id)})
	}
	return c
}

// voters lists the identities that vote, as this node knows.
func voters(r *raft.Raft) ([]string, uint64, error) {
	f := r.GetConfiguration()
	if err := f.Error(); err != nil {
		return nil, 0, err
	}
	var ids []string
	for _, s := range f.Configuration().Servers {
		if s.Suffrage == raft.Voter {
			ids = append(ids, string(s.ID))
		}
	}
	return ids, f.Index(), nil
}

func voter(r *raft.Raft, id string) bool {
	ids, _, err := voters(r)
	return err == nil && slices.Contains(ids, id)
}

// greeted answers whether a connection of Raft's is for this disk.
func (q *Quorum) greeted(p preamble) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case p.To != q.self():
		return fmt.Errorf("this is %s", q.self())
	case q.raft == nil:
		return errors.New("this node belongs to no cluster")
	case p.Cluster != q.store.disk.Cluster.id():
		return errors.New("this node belongs to another cluster")
	}
	return nil
}

// apply changes the configuration, if it is still the one of this index.
func (q *Quorum) apply(r *raft.Raft, c change, index uint64) error {
	if c.Remove != "" {
		return r.RemoveServer(raft.ServerID(c.Remove), index, q.config.Times.Call).Error()
	}
	return r.AddVoter(raft.ServerID(c.Add), raft.ServerAddress(c.Add), index, q.config.Times.Call).Error()
}
