package join

import (
	"context"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"trivet/firstboot/host"
	"trivet/firstboot/node"
)

// How the cluster of the message queue is formed.
//
// The quorum's key says which controller is the seed. It runs alone, takes
// Khepri, and says that it has founded the cluster. The others then join a
// member that runs, one at a time, by RabbitMQ's own peer discovery with a list
// of that member and themselves. Why not `rabbitmqctl join_cluster`: that wants
// a broker that runs alone first, answering on its port as if it were one of
// the cloud's; peer discovery joins before the port opens, in one start (3.8 s
// where start, stop_app, join_cluster and start_app take four tools). Why not a
// list of all on every node: five nodes that are cut 2 to 3 form two clusters
// (rabbitmq-server #1455), and Khepri must be there before anybody joins.
//
// Measured with 4.0.5, TLS between the nodes, on two busy cores: three blank ones
// are whole after 40 to 52 s; after SIGKILL of all, two of three serve after 8 s; a
// wiped one is back after 10 s; a pulled cable is noticed after 19 s.
//
// Erlang nodes of two formations never speak to each other: each formation has a
// cookie of its own. So a seed that was given up while it was out of reach, and
// still runs, cannot bring its old Raft log among those who went on without it.
const (
	rabbitKey  = "rabbitmq" // of the quorum; also the lock of those who join
	rabbitConf = "/etc/rabbitmq/conf.d/50-formation.conf"
	// rabbitMark holds the ID of the formation whose data lies beside it. It goes
	// where the data goes.
	rabbitMark = rabbitData + "/trivet-formation"

	rabbitReadTimeout = 30 * time.Second
	rabbitAskTimeout  = 5 * time.Second
	rabbitPause       = time.Second
	rabbitWatchPause  = 5 * time.Second
	// rabbitStartTimeout bounds the start of one that founds or joins: 4 s on a
	// plain core. It ends before Debian's unit gives up (600 s).
	rabbitStartTimeout = 5 * time.Minute
)

// A rabbitMember is this controller on its way into the cluster.
type rabbitMember struct {
	env      Env
	patience rabbitPatience
	said     string // the last report, which is not said twice
}

func newRabbitMember(env Env) *rabbitMember {
	return &rabbitMember{env: env, patience: rabbitPatience{now: time.Now}}
}

// up returns when this node is a member of a cluster that is whole.
func (m *rabbitMember) up(ctx context.Context) error {
	if err := writeRabbitTLS(m.env); err != nil {
		return err
	}
	for {
		done, err := m.step(ctx)
		if err != nil || done {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("bring up the queue: %w", ctx.Err())
		case <-time.After(rabbitPause):
		}
	}
}

// step takes the next move. It answers whether that was the last one.
func (m *rabbitMember) step(ctx context.Context) (done bool, err error) {
	c, version, err := readRabbit(ctx, m.env)
	if err != nil {
		return false, err
	}
	disk, err := rabbitDisk(m.env)
	if err != nil {
		return false, err
	}
	words := m.ask(ctx)
	m.patience.note(c, words)
	view := rabbitView{self: m.env.Node.Name, cluster: c, disk: disk, stuck: m.patience.stuck(c)}
	switch move := rabbitDecide(view); move {
	case rabbitPropose:
		return false, m.propose(ctx, c, version)
	case rabbitFound:
		return false, m.found(ctx, c, version, disk)
	case rabbitConfess:
		m.say("this node lost its part of the queue")
		_, err := putJSON(ctx, m.env.Quorum, rabbitKey, c.blanked(m.env.Node.Name), version)
		return false, err
	case rabbitJoin:
		return false, m.join(ctx, c, words)
	case rabbitPlain:
		return m.plain(ctx, c, version)
	default:
		m.say("waits for %s, which founds the queue's cluster", c.Seed)
		return false, nil
	}
}

// propose begins a new formation, with this node as its seed. Another one that
// was quicker is as good.
func (m *rabbitMember) propose(ctx context.Context, c rabbitCluster, version uint64) error {
	if c.ID != "" {
		m.say("the queue's cluster of %s is given up; a new one begins", strings.Join(append(c.Members, "seed "+c.Seed), ", "))
	}
	_, err := putJSON(ctx, m.env.Quorum, rabbitKey, rabbitCluster{ID: rand.Text(), Seed: m.env.Node.Name}, version)
	return err
}

// found runs the seed, alone. What a power cut left of an earlier try was
// promised to nobody.
func (m *rabbitMember) found(ctx context.Context, c rabbitCluster, version uint64, disk string) error {
	m.say("this node founds the queue's cluster")
	if disk != c.ID {
		if err := m.clear(ctx); err != nil {
			return err
		}
	}
	if err := m.startAs(ctx, c, m.env.Node.Name); err != nil {
		return errors.Join(err, m.clear(context.WithoutCancel(ctx)))
	}
	if err := rabbitKhepri(ctx, m.env); err != nil {
		return err
	}
	if err := m.mark(c); err != nil {
		return err
	}
	c.Founded = true
	_, err := putJSON(ctx, m.env.Quorum, rabbitKey, c.with(m.env.Node.Name), version)
	return err
}

// join joins a member that runs, under the lock of those who join: two at once
// could leave Khepri with less than half of its members if both were cut short.
func (m *rabbitMember) join(ctx context.Context, c rabbitCluster, words map[string]rabbitWord) error {
	peer := rabbitPeer(c, words)
	if peer == "" {
		m.say("waits for a member of the queue's cluster that runs, among %s", strings.Join(c.Members, ", "))
		return nil
	}
	m.say("joins the queue's cluster by %s", peer)
	held, unlock, err := m.env.Quorum.Lock(ctx, rabbitKey)
	if err != nil {
		return fmt.Errorf("wait for the turn to join the queue: %w", err)
	}
	defer unlock()
	now, version, err := readRabbit(held, m.env)
	if err != nil || now.ID != c.ID {
		return err
	}
	if err := m.clear(held); err != nil {
		return err
	}
	if err := m.joinBy(held, now, peer); err != nil {
		if ctx.Err() == nil {
			m.say("%v; tries again", err)
			err = nil
		}
		return errors.Join(err, m.stop(context.WithoutCancel(ctx)))
	}
	if err := m.mark(now); err != nil {
		return err
	}
	_, err = putJSON(held, m.env.Quorum, rabbitKey, now.with(m.env.Node.Name), version)
	return err
}

// joinBy starts the broker on a blank disk, and looks whether it came where it
// should: RabbitMQ runs alone when it finds nobody.
func (m *rabbitMember) joinBy(ctx context.Context, c rabbitCluster, peer string) error {
	if err := m.prepare(c, peer, m.env.Node.Name); err != nil {
		return err
	}
	if err := m.env.Start(ctx, "epmd.socket"); err != nil {
		return err // the tool needs it before the broker brings it up
	}
	// Before that nobody used a queue, and Khepri drops an older self by itself.
	if c.Complete {
		if err := rabbitForget(ctx, m.env, peer); err != nil {
			return err
		}
	}
	if err := m.startAs(ctx, c, peer, m.env.Node.Name); err != nil {
		return err
	}
	members, err := rabbitMembers(ctx, m.env)
	if err == nil && !slices.Contains(members, peer) {
		err = fmt.Errorf("the queue here runs with %s and not with %s", strings.Join(members, ", "), peer)
	}
	return err
}

// plain starts the broker with its data, and waits until the cluster is whole.
func (m *rabbitMember) plain(ctx context.Context, c rabbitCluster, version uint64) (done bool, err error) {
	if err := m.prepare(c, rabbitNames(m.env)...); err != nil {
		return false, err
	}
	if over, err := m.startWhile(ctx, c.ID); err != nil || over {
		return false, err
	}
	name := m.env.Node.Name
	switch {
	case !slices.Contains(c.Members, name) || slices.Contains(c.Blank, name):
		_, err = putJSON(ctx, m.env.Quorum, rabbitKey, c.with(name), version)
		return false, err
	case c.Complete:
		if err := rabbitStreams(ctx, m.env); err != nil {
			m.env.Report("%v", err) // the member serves all that is not a stream
		}
		return true, nil
	case rabbitWhole(c, rabbitNames(m.env), m.patience.absent):
		c.Complete = true
		_, err = putJSON(ctx, m.env.Quorum, rabbitKey, c, version)
		return false, err
	}
	m.say("the queue's cluster has %s; waits for the other controllers", strings.Join(c.Members, ", "))
	return false, nil
}

// startWhile starts the broker with its data for as long as the formation counts,
// and answers whether that is over. A broker waits five minutes for more than
// half of its members; when those lost their data and began anew, there is
// nothing to wait for.
func (m *rabbitMember) startWhile(ctx context.Context, id string) (over bool, err error) {
	if active, err := m.env.Active(ctx); err != nil || active {
		return false, err
	}
	limited, cancel := context.WithCancel(ctx)
	var watch sync.WaitGroup
	watch.Go(func() {
		for !over {
			select {
			case <-limited.Done():
				return
			case <-time.After(rabbitWatchPause):
				c, _, err := readRabbit(limited, m.env)
				over = err == nil && c.ID != id
			}
		}
		cancel()
	})
	err = m.env.Start(limited)
	cancel()
	watch.Wait()
	if over {
		m.say("the other controllers began the queue's cluster anew")
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("%w (more than half of the queue's members must run)", err)
	}
	return false, nil
}

// startAs starts the broker with a list for its peer discovery, and ends a start
// that takes too long: the member that it waits for may be gone.
func (m *rabbitMember) startAs(ctx context.Context, c rabbitCluster, peers ...string) error {
	if err := m.prepare(c, peers...); err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, rabbitStartTimeout)
	defer cancel()
	return m.env.Start(limited)
}

// prepare writes the formation's cookie, and the list that a broker with a blank
// disk looks for peers in. One that has data does not look at it.
func (m *rabbitMember) prepare(c rabbitCluster, peers ...string) error {
	base, err := m.env.Secret("rabbitmq/cookie")
	if err != nil {
		return err
	}
	cookie, err := rabbitCookie(base, c.ID)
	if err == nil {
		err = writeCookie(m.env, cookie)
	}
	if err != nil {
		return err
	}
	var text strings.Builder
	text.WriteString("cluster_formation.peer_discovery_backend = classic_config\n")
	for i, name := range peers {
		fmt.Fprintf(&text, "cluster_formation.classic_config.nodes.%d = %s\n", i+1, rabbitNode(name))
	}
	// A broker whose tries are used up runs alone; a day of them never is.
	text.WriteString("cluster_formation.discovery_retry_limit = 86400\ncluster_formation.discovery_retry_interval = 1000\n")
	return m.env.WriteFile(rabbitConf, []byte(text.String()), 0o644, "", "")
}

// rabbitCookie derives the cookie of a formation.
func rabbitCookie(base node.Secret, id string) (node.Secret, error) {
	key, err := hkdf.Key(sha256.New, []byte(base.Reveal()), nil, "v1|rabbitmq/cookie|"+id, 32)
	if err != nil {
		return node.Secret{}, fmt.Errorf("derive the queue's cookie: %w", err)
	}
	return node.NewSecret(hex.EncodeToString(key)), nil
}

// clear stops the broker and sets its data aside.
func (m *rabbitMember) clear(ctx context.Context) error {
	if err := m.stop(ctx); err != nil {
		return err
	}
	return setAside(m.env)
}

func (m *rabbitMember) stop(ctx context.Context) error {
	for _, unit := range m.env.Service.Units {
		state, err := host.UnitState(ctx, m.env.Host, unit)
		if err == nil && state != "inactive" && state != "failed" {
			err = host.StopUnit(ctx, m.env.Host, unit)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (m *rabbitMember) mark(c rabbitCluster) error {
	return m.env.WriteFile(rabbitMark, []byte(c.ID+"\n"), 0o600, "", "")
}

// say reports what was not just reported.
func (m *rabbitMember) say(format string, args ...any) {
	if text := fmt.Sprintf(format, args...); text != m.said {
		m.said = text
		m.env.Report("%s", text)
	}
}

// rabbitDisk returns the ID of the formation whose data is on the disk.
func rabbitDisk(env Env) (string, error) {
	data, err := os.ReadFile(env.Path(rabbitMark))
	if err == nil {
		_, err = os.Stat(env.Path(rabbitData + "/" + rabbitNode(env.Node.Name)))
	}
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("look at the queue's data: %w", err)
	}
	return strings.TrimSpace(string(data)), nil
}

// readRabbit returns what the quorum knows. A quorum without a majority is an
// error after a while, so that nobody waits for it without a word.
func readRabbit(ctx context.Context, env Env) (c rabbitCluster, version uint64, err error) {
	ctx, cancel := context.WithTimeout(ctx, rabbitReadTimeout)
	defer cancel()
	version, err = getJSON(ctx, env.Quorum, rabbitKey, &c)
	return c, version, err
}

// rabbitJoined answers whether the broker that runs is a member of the cluster
// that counts, and that one is whole.
func rabbitJoined(ctx context.Context, env Env) (bool, error) {
	disk, err := rabbitDisk(env)
	if err != nil {
		return false, err
	}
	c, _, err := readRabbit(ctx, env)
	name := env.Node.Name
	return err == nil && c.Complete && disk == c.ID && slices.Contains(c.Members, name) && !slices.Contains(c.Blank, name), err
}

func rabbitNames(env Env) []string {
	var names []string
	for _, c := range env.Node.Controllers {
		names = append(names, c.Name)
	}
	return names
}
