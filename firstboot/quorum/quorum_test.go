package quorum

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"trivet/firstboot/bundle"
)

func TestForm(t *testing.T) {
	t.Parallel()
	for _, order := range [][]string{
		{"ctl1", "ctl2", "ctl3"},
		{"ctl1", "ctl3", "ctl2"},
		{"ctl2", "ctl1", "ctl3"},
		{"ctl2", "ctl3", "ctl1"},
		{"ctl3", "ctl1", "ctl2"},
		{"ctl3", "ctl2", "ctl1"},
	} {
		t.Run(strings.Join(order, " "), func(t *testing.T) {
			t.Parallel()
			c := newControllers(t, 3)
			for i, name := range order {
				c.start(name)
				if i > 0 {
					until(t, name+" greets "+order[0], func() bool { return reaches(c.nodes[name], order[0]) })
				}
			}
			c.formed(order...)
			first := c.nodes["ctl1"].Status()
			for _, name := range order {
				s := c.nodes[name].Status()
				if !s.Formed || s.Cluster != first.Cluster || len(s.Members) != 3 {
					t.Errorf("%s: %+v", name, s)
				}
				for _, m := range s.Members {
					if !m.Voter || m.Incarnation == absent {
						t.Errorf("%s: all were there, and %+v", name, m)
					}
				}
			}
		})
	}
}

// reaches answers whether another one answered a node's last greeting.
func reaches(q *Quorum, name string) bool {
	m := q.Status().Members
	return m[slices.IndexFunc(m, func(m MemberStatus) bool { return m.Name == name })].Reachable
}

func TestOneAndFive(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, 5} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			t.Parallel()
			c := newControllers(t, n)
			c.start(c.names...)
			c.formed(c.names...)
			if !c.put(c.names[n-1], "a", "1", 0) {
				t.Error("the first put of a key was refused")
			}
		})
	}
}

func TestKeys(t *testing.T) {
	t.Parallel()
	c := newControllers(t, 3)
	c.start(c.names...)
	c.formed(c.names...)
	if v, n := c.get("ctl1", "a"); v != "" || n != 0 {
		t.Errorf("a key that is not there: %q, version %d", v, n)
	}
	if !c.put("ctl1", "a", "1", 0) {
		t.Error("the first put of a key was refused")
	}
	for _, name := range c.names {
		if v, n := c.get(name, "a"); v != "1" || n != 1 {
			t.Errorf("%s reads %q, version %d", name, v, n)
		}
	}
	if c.put("ctl2", "a", "2", 0) {
		t.Error("a put over a version that is gone was done")
	}
	if !c.put("ctl3", "a", "2", 1) {
		t.Error("a put over the right version was refused")
	}
	ctx := t.Context()
	q := c.nodes["ctl2"]
	if _, err := q.Put(ctx, strings.Repeat("k", maxKey+1), nil, 0); err == nil {
		t.Error("a long key was taken")
	}
	if _, err := q.Put(ctx, "long", make([]byte, maxValue+1), 0); err == nil {
		t.Error("a long value was taken")
	}
	if !c.put("ctl2", "long", strings.Repeat("v", maxValue), 0) {
		t.Error("the longest value was refused")
	}
	for i := range maxKeys - 2 {
		c.put("ctl1", fmt.Sprint("key", i), "", 0)
	}
	for _, name := range c.names {
		if _, err := c.nodes[name].Put(ctx, "more", nil, 0); err == nil || !strings.Contains(err.Error(), "no more than") {
			t.Errorf("%s: one key too many: %v", name, err)
		}
	}
}

func TestPutOnce(t *testing.T) {
	m := newMachine()
	first := command{Op: opPut, ID: random(), Name: "a", Value: []byte("1")}
	if o := m.state.put(first); !o.yes {
		t.Error("the put was refused")
	}
	if o := m.state.put(first); !o.yes || m.get("a").Version != 1 {
		t.Errorf("the same put again: %+v, version %d", o, m.get("a").Version)
	}
	for range maxDone {
		m.state.put(command{Op: opPut, ID: random(), Name: "b"})
	}
	if len(m.state.Done) != maxDone {
		t.Errorf("%d puts are remembered", len(m.state.Done))
	}
}

func TestAbsentJoinsLater(t *testing.T) {
	t.Parallel()
	c := newControllers(t, 3)
	begun := time.Now()
	c.start("ctl3", "ctl2")
	c.formed("ctl2", "ctl3")
	if d := time.Since(begun); d < testTimes().Silence {
		t.Errorf("two formed after %s, before the third was silent for long", d)
	}
	c.put("ctl2", "a", "1", 0)
	// The newcomer's ticket may have ended: it joins, it does not form.
	c.set("ctl1", func(c *Config) { c.Ticket = "" })
	c.start("ctl1")
	c.formed("ctl1")
	if v, _ := c.get("ctl1", "a"); v != "1" {
		t.Errorf("the newcomer reads %q", v)
	}
	// It counts: the two others are not needed both.
	c.kill("ctl3")
	c.formed("ctl1", "ctl2")
}

func TestMajorityLost(t *testing.T) {
	t.Parallel()
	c := newControllers(t, 3)
	c.start(c.names...)
	c.formed(c.names...)
	c.put("ctl1", "a", "1", 0)
	c.kill("ctl2", "ctl3")
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, _, err := c.nodes["ctl1"].Get(ctx, "a"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("without a majority a key was read: %v", err)
	}
	if _, err := c.nodes["ctl1"].Put(ctx, "a", nil, 1); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("without a majority a key was set: %v", err)
	}
	until(t, "ctl1 says that it waits for a majority", func() bool { return strings.Contains(c.nodes["ctl1"].Status().Waits, "majority") })
	c.start("ctl3")
	if v, _ := c.get("ctl1", "a"); v != "1" {
		t.Errorf("with a majority again: %q", v)
	}
}

func TestPowerLoss(t *testing.T) {
	t.Parallel()
	c := newControllers(t, 3)
	c.start(c.names...)
	c.formed(c.names...)
	for i := range 20 {
		c.put("ctl2", "a", fmt.Sprint(i), uint64(i))
	}
	before := c.nodes["ctl1"].Status().Self
	c.kill(c.names...)
	c.start("ctl3", "ctl1") // the third one comes later
	c.formed("ctl1", "ctl3")
	if v, n := c.get("ctl1", "a"); v != "19" || n != 20 {
		t.Errorf("after the loss of power: %q, version %d", v, n)
	}
	c.start("ctl2")
	c.formed("ctl2")
	if now := c.nodes["ctl1"].Status().Self; now != before {
		t.Errorf("a reboot made %s of %s", now, before)
	}
}

func TestLeaderLost(t *testing.T) {
	t.Parallel()
	c := newControllers(t, 3)
	for _, name := range c.names {
		c.set(name, func(c *Config) { c.Times.Heartbeat = 0 }) // as on a real node
	}
	c.start(c.names...)
	c.formed(c.names...)
	leader := c.nodes["ctl1"].Status().Leader
	other := c.names[(slices.Index(c.names, leader)+1)%3]
	c.put(other, "a", "1", 0)
	begun := time.Now()
	c.kill(leader)
	c.get(other, "a")
	d := time.Since(begun)
	t.Logf("a new leader answered after %s", d)
	if d > 10*time.Second {
		t.Errorf("it took %s to replace a leader", d)
	}
}

func TestWipedIsLetIn(t *testing.T) {
	t.Parallel()
	c := newControllers(t, 3)
	c.start(c.names...)
	c.formed(c.names...)
	c.put("ctl1", "a", "1", 0)
	for _, name := range c.names {
		was := c.nodes[name].Status()
		c.kill(name)
		c.wipe(name)
		c.start(name)
		c.formed(name)
		is := c.nodes[name].Status()
		if is.Self == was.Self || is.Cluster != was.Cluster {
			t.Errorf("%s was %s in %s, is %s in %s", name, was.Self, was.Cluster, is.Self, is.Cluster)
		}
		if v, _ := c.get(name, "a"); v != "1" {
			t.Errorf("%s was wiped and reads %q", name, v)
		}
		until(t, "all know the new disk", func() bool {
			for _, q := range c.nodes {
				if ids, _, err := voters(q.running()); err != nil || len(ids) != 3 || !slices.Contains(ids, is.Self) {
					return false
				}
			}
			return true
		})
	}
}

// TestOldDisk puts a disk back that was replaced.
func TestOldDisk(t *testing.T) {
	t.Parallel()
	c := newControllers(t, 3)
	c.start(c.names...)
	c.formed(c.names...)
	old := c.nodes["ctl3"].Status().Self
	c.kill("ctl3")
	dir := c.config["ctl3"].Dir
	must(t, os.Rename(dir, dir+".old"))
	c.start("ctl3")
	c.formed("ctl3")
	c.put("ctl3", "a", "1", 0)
	c.kill("ctl3")
	c.wipe("ctl3")
	must(t, os.Rename(dir+".old", dir))
	c.start("ctl3")
	c.formed("ctl3")
	if now := c.nodes["ctl3"].Status().Self; now != old {
		t.Errorf("the old disk is %s, not %s", now, old)
	}
	if v, _ := c.get("ctl3", "a"); v != "1" {
		t.Errorf("the old disk reads %q", v)
	}
}

func TestExpiredTicketForms(t *testing.T) {
	t.Parallel()
	c := newControllers(t, 3)
	ended := c.newTicket(-time.Hour)
	for _, name := range c.names {
		c.set(name, func(c *Config) { c.Ticket = ended })
	}
	c.start(c.names...)
	until(t, "all wait for somebody to join", func() bool {
		for _, q := range c.nodes {
			if s := q.Status(); !strings.Contains(s.Waits, "may only join") || s.Formed || !reaches(q, "ctl1") {
				return false
			}
		}
		return true
	})
	if s := c.nodes["ctl2"].Status(); !strings.Contains(s.TicketFault, bundle.ErrExpired.Error()) || !s.TicketEnd.Before(time.Now()) {
		t.Errorf("the ticket has ended: %+v", s)
	}
}

// TestTwoWiped is the case that the ticket's end is for: most disks of a cluster
// are new, and the one that knows of it is off.
func TestTwoWiped(t *testing.T) {
	t.Parallel()
	c := newControllers(t, 3)
	c.start(c.names...)
	c.formed(c.names...)
	c.kill(c.names...)
	for _, name := range []string{"ctl2", "ctl3"} {
		c.wipe(name)
		c.set(name, func(c *Config) { c.Now = func() time.Time { return time.Now().Add(2 * time.Hour) } })
	}
	c.start("ctl2", "ctl3")
	until(t, "both met and wait", func() bool {
		return reaches(c.nodes["ctl2"], "ctl3") && reaches(c.nodes["ctl3"], "ctl2") && strings.Contains(c.nodes["ctl3"].Status().Waits, "may only join")
	})
	time.Sleep(2 * testTimes().Silence) // nothing may happen, which has no sign
	c.start("ctl1")
	until(t, "they see the one that is left", func() bool { return strings.Contains(c.nodes["ctl2"].Status().Waits, "the leader of the cluster") })
	for name, q := range c.nodes {
		if q.Status().Leader != "" || q.Formed() != (name == "ctl1") {
			t.Errorf("%s: %+v", name, q.Status())
		}
	}
}

func TestConflicts(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*testControllers, *Config){
		"another formation ticket": func(t *testControllers, c *Config) { c.Ticket = t.newTicket(time.Hour) },
		"of the cloud": func(t *testControllers, c *Config) {
			c.Cloud = "00000000-0000-4000-8000-000000000000"
		},
		"other controllers": func(t *testControllers, c *Config) {
			c.Controllers = slices.Clone(c.Controllers)
			c.Controllers[0].Name = "ctl0"
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newControllers(t, 3)
			good := c.config["ctl3"]
			c.set("ctl3", func(config *Config) { change(c, config) })
			c.start(c.names...)
			until(t, "ctl1 or ctl2 tells of the conflict", func() bool {
				s := c.nodes["ctl2"].Status()
				return s.Conflict && strings.Contains(s.Waits, name)
			})
			for _, q := range c.nodes {
				if q.Formed() {
					t.Errorf("%s formed", q.config.Self)
				}
			}
			// An operator mends it.
			c.kill("ctl3")
			c.config["ctl3"] = good
			c.start("ctl3")
			c.formed(c.names...)
			if s := c.nodes["ctl2"].Status(); s.Conflict {
				t.Errorf("after it was mended: %+v", s)
			}
		})
	}
}

func TestLock(t *testing.T) {
	t.Parallel()
	c := newControllers(t, 3)
	c.start(c.names...)
	c.formed(c.names...)
	held, unlock, err := c.nodes["ctl1"].Lock(t.Context(), "x")
	must(t, err)
	short, cancel := context.WithTimeout(t.Context(), 2*testTimes().Lease)
	defer cancel()
	for _, name := range []string{"ctl1", "ctl2"} {
		if _, _, err := c.nodes[name].Lock(short, "x"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: a lock that ctl1 holds: %v", name, err)
		}
	}
	if held.Err() != nil {
		t.Error("a lock that is renewed was lost")
	}
	unlock()
	unlock() // does no harm
	if held.Err() == nil {
		t.Error("the lock was given back and its context goes on")
	}
	held, unlock, err = c.nodes["ctl2"].Lock(t.Context(), "x")
	must(t, err)
	defer unlock()
	begun := time.Now()
	c.kill("ctl2")
	if held.Err() == nil {
		t.Error("the holder was closed and the lock's context goes on")
	}
	_, again, err := c.nodes["ctl3"].Lock(t.Context(), "x")
	must(t, err)
	t.Logf("the lock of the dead passed on after %s", time.Since(begun))
	again()
}

func TestLockLostWithoutMajority(t *testing.T) {
	t.Parallel()
	c := newControllers(t, 3)
	c.start(c.names...)
	c.formed(c.names...)
	held, unlock, err := c.nodes["ctl1"].Lock(t.Context(), "x")
	must(t, err)
	defer unlock()
	c.kill("ctl2", "ctl3")
	select {
	case <-held.Done():
	case <-time.After(testTimes().Lease + 5*time.Second):
		t.Error("the majority is gone for a lease, and the lock is held")
	}
}

func TestLockOfOwnPast(t *testing.T) {
	t.Parallel()
	c := newControllers(t, 3)
	for _, name := range c.names {
		c.set(name, func(c *Config) { c.Times.Lease = time.Hour })
	}
	c.start(c.names...)
	c.formed(c.names...)
	_, _, err := c.nodes["ctl1"].Lock(t.Context(), "x")
	must(t, err)
	c.kill("ctl1")
	c.start("ctl1")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	_, unlock, err := c.nodes["ctl1"].Lock(ctx, "x")
	if err != nil {
		t.Fatalf("the lock of this node's own past run: %v", err)
	}
	unlock()
}

func TestAsk(t *testing.T) {
	t.Parallel()
	c := newControllers(t, 3)
	c.set("ctl2", func(c *Config) {
		c.Answer = func(ctx context.Context, step string) ([]byte, error) {
			switch step {
			case "long":
				return make([]byte, maxValue+1), nil
			case "slow":
				<-ctx.Done()
				return nil, ctx.Err()
			case "fault":
				return nil, errors.New("no such thing here")
			}
			return []byte{0, 1, 2}, nil
		}
		c.Times.Call = 300 * time.Millisecond
	})
	c.start("ctl1", "ctl2") // Ask needs no cluster
	ask := func(of, step string) ([]byte, error) { return c.nodes["ctl1"].Ask(t.Context(), of, step) }
	if data, err := ask("ctl1", "x"); err != nil || string(data) != "ctl1 tells of x" {
		t.Errorf("of itself: %q, %v", data, err)
	}
	if data, err := ask("ctl2", "x"); err != nil || !slices.Equal(data, []byte{0, 1, 2}) {
		t.Errorf("of a peer: %q, %v", data, err)
	}
	for step, want := range map[string]string{"long": "longer than", "slow": "deadline", "fault": "ask ctl2 about fault: ask ctl2: refused: no such thing here"} {
		if _, err := ask("ctl2", step); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", step, err)
		}
	}
	if _, err := ask("ctl3", "x"); err == nil {
		t.Error("one that is down answered")
	}
	if _, err := ask("cmp1", "x"); err == nil || !strings.Contains(err.Error(), "none of the controllers") {
		t.Errorf("a stranger: %v", err)
	}
}

func TestStatusIsJSON(t *testing.T) {
	t.Parallel()
	c := newControllers(t, 3)
	c.start("ctl1")
	until(t, "ctl1 waits", func() bool { return c.nodes["ctl1"].Status().Waits != "" })
	data, err := json.Marshal(c.nodes["ctl1"].Status())
	must(t, err)
	if strings.Contains(string(data), "PRIVATE") || strings.Contains(string(data), c.ticket) || !strings.Contains(string(data), `"waits_for":"ctl2, ctl3`) {
		t.Errorf("status: %s", data)
	}
}

func TestCloseLeavesNothing(t *testing.T) {
	c := newControllers(t, 3)
	c.start(c.names...)
	c.formed(c.names...)
	_, _, err := c.nodes["ctl1"].Lock(t.Context(), "x")
	must(t, err)
	for _, name := range c.names {
		must(t, c.nodes[name].Close())
		delete(c.nodes, name)
	}
	until(t, "no goroutine is left", func() bool {
		stacks := make([]byte, 1<<20)
		stacks = stacks[:runtime.Stack(stacks, true)]
		for _, s := range strings.Split(string(stacks), "\n\n")[1:] {
			if strings.Contains(s, "firstboot/quorum.(") || strings.Contains(s, "hashicorp/raft.") || strings.Contains(s, "net/http.") {
				return false
			}
		}
		return true
	})
}

func TestLostSnapshot(t *testing.T) {
	t.Parallel()
	c := newControllers(t, 1)
	c.start("ctl1")
	c.formed("ctl1")
	for i := range 3 {
		c.put("ctl1", "a", fmt.Sprint(i), uint64(i))
	}
	q := c.nodes["ctl1"]
	config := q.running().ReloadableConfig()
	config.TrailingLogs = 0
	must(t, q.running().ReloadConfig(config))
	must(t, q.running().Snapshot().Error())
	c.kill("ctl1")
	c.start("ctl1")
	c.formed("ctl1")
	if v, n := c.get("ctl1", "a"); v != "2" || n != 3 {
		t.Errorf("from a snapshot: %q, version %d", v, n)
	}
	c.kill("ctl1")
	must(t, os.RemoveAll(filepath.Join(c.config["ctl1"].Dir, "snapshots")))
	if _, err := Open(t.Context(), c.config["ctl1"]); err == nil || !strings.Contains(err.Error(), "snapshot") {
		t.Errorf("a log without its snapshot: %v", err)
	}
}

// TestHalfFounded cuts the power between the two writes of Raft's beginning.
func TestHalfFounded(t *testing.T) {
	t.Parallel()
	c := newControllers(t, 1)
	config := c.config["ctl1"]
	must(t, os.MkdirAll(config.Dir, 0o700))
	s, err := openStore(config.Dir)
	must(t, err)
	d := s.disk
	d.Cluster = &founding{testCloud, random(), []string{identity("ctl1", d.Incarnation)}}
	must(t, s.save(d))
	must(t, s.bolt.SetUint64([]byte("CurrentTerm"), 1))
	must(t, s.close())
	c.start("ctl1")
	c.formed("ctl1")
}

// accepted writes onto a controller's disk that it promised a set under the
// ticket's nonce and no more, as when the power went then.
func (c *testControllers) accepted(name string, set func(own string) []string) {
	c.t.Helper()
	ticket, err := bundle.VerifyTicket(c.ticket, c.signer.Public().(ed25519.PublicKey), time.Now())
	must(c.t, err)
	dir := c.config[name].Dir
	must(c.t, os.MkdirAll(dir, 0o700))
	s, err := openStore(dir)
	must(c.t, err)
	d := s.disk
	if own := set(identity(name, d.Incarnation)); own != nil {
		b := ballot{1, "ctl1"}
		d.Promises = map[string]promise{ticket.Nonce: {b, b, own}}
	}
	must(c.t, s.save(d))
	must(c.t, s.close())
}

// TestPromiseIsKept cuts the power after two had promised a set, and lets the
// tickets end before it comes back.
func TestPromiseIsKept(t *testing.T) {
	t.Parallel()
	c := newControllers(t, 3)
	var ids []string
	for _, name := range c.names {
		c.accepted(name, func(own string) []string {
			ids = append(ids, own)
			return nil
		})
	}
	set := []string{identity("ctl1", absent), ids[1], ids[2]}
	for _, name := range []string{"ctl1", "ctl2"} { // the third one's answer was lost
		c.accepted(name, func(string) []string { return set })
	}
	for _, name := range c.names {
		c.set(name, func(c *Config) { c.Now = func() time.Time { return time.Now().Add(2 * time.Hour) } })
	}
	c.start(c.names...)
	c.formed(c.names...)
	if got := c.nodes["ctl3"].own().Founding.Servers; !slices.Equal(got, set) {
		t.Errorf("founded by %v, and %v was promised", got, set)
	}
}

// TestPromiseOfTheLost has a promised set most of whose disks are gone: nothing
// is founded until the operator gives another ticket.
func TestPromiseOfTheLost(t *testing.T) {
	t.Parallel()
	c := newControllers(t, 3)
	c.accepted("ctl1", func(own string) []string {
		return []string{own, identity("ctl2", random()), identity("ctl3", random())}
	})
	c.start(c.names...)
	until(t, "ctl1 says what is wrong", func() bool {
		return strings.Contains(c.nodes["ctl1"].Status().Fault, "make the bundles of all controllers anew")
	})
	again := c.newTicket(time.Hour)
	c.kill(c.names...)
	for _, name := range c.names {
		c.set(name, func(c *Config) { c.Ticket = again })
	}
	c.start(c.names...)
	c.formed(c.names...)
}

// TestLeftBehind has a disk of a cluster that is lost beside one that works.
func TestLeftBehind(t *testing.T) {
	t.Parallel()
	c := newControllers(t, 3)
	c.start(c.names...)
	c.formed(c.names...)
	c.kill(c.names...)
	c.wipe("ctl2")
	c.wipe("ctl3")
	c.start("ctl2", "ctl3") // with tickets that are still good, and nobody who knows
	c.formed("ctl2", "ctl3")
	c.start("ctl1")
	until(t, "ctl1 says what to do", func() bool {
		s := c.nodes["ctl1"].Status()
		return s.Conflict && strings.Contains(s.Fault, "remove its folder")
	})
	c.put("ctl2", "a", "1", 0)
	c.kill("ctl1")
	c.wipe("ctl1")
	c.start("ctl1")
	c.formed("ctl1")
	if v, _ := c.get("ctl1", "a"); v != "1" {
		t.Errorf("after it was wiped it reads %q", v)
	}
}

func TestSparseLog(t *testing.T) {
	var got []string
	l := quiet(func(line string) { got = append(got, line) })
	for i := range 3 {
		l.Info("nothing")
		l.Error("failed to heartbeat to", "peer", "ctl1/x", "backoff time", time.Duration(i), "error", fmt.Errorf("try %d", i))
		l.Error("failed to heartbeat to", "peer", "ctl2/x", "backoff time", time.Duration(i), "error", fmt.Errorf("try %d", i))
	}
	if len(got) != 2 || !strings.Contains(got[1], "ctl2/x") || !strings.Contains(got[1], "try 0") {
		t.Errorf("%q", got)
	}
}
