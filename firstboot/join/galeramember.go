package join

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"
)

// How a member waits.
const (
	galeraPause = 2 * time.Second // between two looks at the cluster
	// galeraQuorum is how long one look waits for the majority of the agents.
	galeraQuorum = 15 * time.Second
	// galeraOutside is how long a server may run in no primary component. Galera
	// itself declares a silent member dead after some 10 s and finds it again as fast.
	galeraOutside = time.Minute
	// galeraRestore is how long the members of the last view may take to restore it.
	galeraRestore = 3 * time.Minute
	// galeraKey is the record in the quorum, galeraLock what founder, bootstrapper
	// and joiner hold, one at a time: a change of the membership during a joiner's
	// incremental transfer ends that for good (LP#2161773).
	galeraKey, galeraLock = "mariadb", "mariadb"
	galeraPort            = "4567"
)

// A galeraMember brings up this node's member of a cluster of several controllers.
type galeraMember struct {
	env     Env
	pause   time.Duration
	said    string
	silent  map[string]time.Time // since when a peer does not answer
	outside time.Time            // since when the server here runs outside of a primary component
	size    int64                // of the data folder, when it last grew
	failed  int                  // joins that did not come to their end
}

func newGaleraMember(env Env) *galeraMember {
	return &galeraMember{env: env, pause: galeraPause, silent: map[string]time.Time{}}
}

// A galeraTurn is one look at the cluster.
type galeraTurn struct {
	GaleraSituation
	own     GaleraReport
	version uint64 // of the record
}

// bringUp returns when the member is Synced and takes writes.
func (m *galeraMember) bringUp(ctx context.Context) error {
	for {
		done, err := m.turn(ctx)
		if done || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(m.pause):
		}
	}
}

// turn looks once, decides, and acts if it is this node's turn.
func (m *galeraMember) turn(ctx context.Context) (done bool, err error) {
	t, err := m.look(ctx)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return false, m.withoutQuorum(ctx, t)
	}
	if err != nil {
		return false, err
	}
	if t.own.State == GaleraRunning {
		return m.whileRunning(ctx, t)
	}
	m.outside = time.Time{}
	plan := GaleraDecide(t.GaleraSituation)
	if t.own.State == GaleraBusy && plan.Verdict != GaleraJoin || plan.Verdict == GaleraJoin && m.mustKnow(t) {
		return false, m.recover(ctx)
	}
	m.say(plan)
	switch {
	case plan.Verdict == GaleraHalt:
		return false, plan.err()
	case plan.Verdict == GaleraJoin, plan.Verdict != GaleraWait && slices.Contains(plan.Nodes, t.own.Node):
		return false, m.locked(ctx, plan.Verdict)
	}
	return false, nil
}

// withoutQuorum waits for the majority of the agents. A server that is outside of a
// primary component is stopped even now: the others may go on without it.
func (m *galeraMember) withoutQuorum(ctx context.Context, t galeraTurn) error {
	if t.own.State == GaleraRunning && !t.own.Primary && !m.progress() {
		return m.whileOutside(ctx, t, false)
	}
	m.tell("waiting for the agents of most controllers")
	return nil
}

// mustKnow answers whether the position of the copy here decides if it may be kept.
func (m *galeraMember) mustKnow(t galeraTurn) bool {
	return t.own.State == GaleraBusy && t.own.Epoch < t.Record.Epoch
}

func (m *galeraMember) say(p GaleraPlan) {
	text := p.Why
	if p.Verdict == GaleraWait && len(p.Nodes) > 0 {
		text = "waiting for " + listed(p.Nodes) + ": " + text
	}
	if len(p.Commands) > 0 {
		text += "; the operator may run: " + strings.Join(p.Commands, "; ")
	}
	m.tell(text)
}

// tell reports what is new.
func (m *galeraMember) tell(text string) {
	if text != m.said {
		m.said = text
		m.env.Report("%s", text)
	}
}

func (p GaleraPlan) err() error {
	text := p.Why + ". " + strings.Join(p.Table, "; ")
	if len(p.Commands) > 0 {
		text += ". The operator must decide: " + strings.Join(p.Commands, "; ")
	}
	return errors.New(text)
}

// look reads the record and asks every controller.
func (m *galeraMember) look(ctx context.Context) (galeraTurn, error) {
	var t galeraTurn
	var err error
	if t.own, err = galeraLook(ctx, m.env); err != nil {
		return t, err
	}
	read, cancel := context.WithTimeout(ctx, galeraQuorum)
	defer cancel()
	if t.version, err = getJSON(read, m.env.Quorum, galeraKey, &t.Record); err != nil {
		return t, err
	}
	peers := make([]GaleraReport, len(m.env.Node.Controllers))
	var all sync.WaitGroup
	for i, c := range m.env.Node.Controllers {
		t.Controllers = append(t.Controllers, c.Name)
		if c.Name == t.own.Node {
			peers[i] = t.own
			continue
		}
		all.Go(func() { peers[i] = m.ask(ctx, c.Name, c.Address.String()) })
	}
	all.Wait()
	for i, r := range peers {
		peers[i].SilentSeconds = m.silence(r)
	}
	t.Reports = peers
	return t, ctx.Err()
}

// silence returns for how many seconds a peer did not answer.
func (m *galeraMember) silence(r GaleraReport) int {
	if r.State != GaleraSilent {
		delete(m.silent, r.Node)
		return 0
	}
	if _, ok := m.silent[r.Node]; !ok {
		m.silent[r.Node] = time.Now()
	}
	return int(time.Since(m.silent[r.Node]) / time.Second)
}

// ask asks a peer. One that does not answer, or not as it should, is silent.
func (m *galeraMember) ask(ctx context.Context, name, address string) GaleraReport {
	ctx, cancel := context.WithTimeout(ctx, 2*galeraAnswer)
	defer cancel()
	data, err := m.env.Quorum.Ask(ctx, name, "mariadb")
	var r GaleraReport
	if err == nil {
		err = json.Unmarshal(data, &r)
	}
	if err == nil {
		err = r.check()
	}
	if err == nil && r.Node == name {
		return r
	}
	r = GaleraReport{Node: name, State: GaleraSilent}
	dialer := net.Dialer{Timeout: time.Second}
	if conn, err := dialer.DialContext(ctx, "tcp", net.JoinHostPort(address, galeraPort)); err == nil {
		r.Answers = conn.Close() == nil
	}
	return r
}

// recover asks InnoDB for its position, so that this node can report all.
func (m *galeraMember) recover(ctx context.Context) error {
	m.tell("reading the position of the data here")
	r := galeraRecovery{}
	var err error
	if r.Position, err = recoverPosition(ctx, m.env); err != nil && unfinished(err) {
		r.Tainted = true
		if err = rollBack(ctx, m.env); err == nil {
			r.Position, err = recoverPosition(ctx, m.env)
		}
	}
	if err != nil {
		return errors.Join(err, writeJSON(m.env, recoveredFile, galeraRecovery{Failed: true}))
	}
	return writeJSON(m.env, recoveredFile, r)
}

// locked takes the lock, looks again, and acts if the decision is still the same.
func (m *galeraMember) locked(ctx context.Context, verdict string) error {
	held, unlock, err := m.env.Quorum.Lock(ctx, galeraLock)
	if err != nil {
		return fmt.Errorf("wait for the other controllers' databases: %w", err)
	}
	defer unlock()
	t, err := m.look(held)
	if err != nil {
		return err
	}
	plan := GaleraDecide(t.GaleraSituation)
	if t.own.State == GaleraRunning || plan.Verdict != verdict {
		return nil
	}
	switch {
	case verdict == GaleraJoin:
		// An own context: the transfer goes on when the majority is away for a
		// moment; what it could disturb is another transfer, never data.
		return m.join(ctx, t)
	case slices.Contains(plan.Nodes, t.own.Node):
		return m.begin(held, t, plan)
	}
	return nil
}

// intend writes the intent of a plan into the record, or finds it there.
func (m *galeraMember) intend(ctx context.Context, t *galeraTurn, p GaleraPlan) (bool, error) {
	i := t.Record.Intent
	if i != nil && i.Verdict == p.Verdict && slices.Equal(i.Nodes, p.Nodes) && i.Base == p.Base {
		return true, nil
	}
	t.Record.Tried = max(t.Record.Tried, t.Record.Epoch) + 1
	t.Record.Intent = &GaleraIntent{Verdict: p.Verdict, Nodes: p.Nodes, Epoch: t.Record.Tried, Base: p.Base}
	set, err := putJSON(ctx, m.env.Quorum, galeraKey, t.Record, t.version)
	t.version++
	return set, err
}

// done records that an intent came to its end: its epoch is the newest.
func (m *galeraMember) done(ctx context.Context, t galeraTurn, uuid string) (bool, error) {
	r := t.Record
	r.Prior, r.Epoch, r.Base = r.Epoch, r.Intent.Epoch, r.Intent.Base
	r.UUID, r.Formed, r.Intent, r.Alone = uuid, true, nil, false
	return putJSON(ctx, m.env.Quorum, galeraKey, r, t.version)
}
