package qemutests

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"trivet/qemu-tests/nspawn"
)

// tokenAfter waits until the cloud gives a token to a client, and returns how
// long after began that was.
func (c *testCloud) tokenAfter(began time.Time, limit time.Duration) time.Duration {
	c.t.Helper()
	ctx, cancel := context.WithDeadline(c.t.Context(), began.Add(limit))
	defer cancel()
	client := &http.Client{Timeout: loadLimit, Transport: &http.Transport{DisableKeepAlives: true, DialContext: c.client.Dial}}
	body := fmt.Appendf(nil, `{"auth":{"identity":{"methods":["password"],"password":{"user":{"name":"admin","domain":{"id":"default"},"password":%q}}}}}`, c.secret("keystone/admin"))
	for {
		err := token(ctx, client, bytes.Clone(body))
		if err == nil {
			return time.Since(began)
		}
		if ctx.Err() != nil {
			c.t.Fatalf("no token through the virtual IP after %v: %v", limit, err)
		}
		time.Sleep(200 * time.Millisecond)
	}
}

// TestCloudOfThree forms a cloud of three blank controllers and breaks it in
// every way of the table, under load. Nothing that was promised to the load may
// be lost.
func TestCloudOfThree(t *testing.T) {
	c := newCloud(t)
	began := time.Now()
	c.start(0, c.nodes...)
	t.Logf("a token %.1f s after the power-on of three blank controllers", c.tokenAfter(began, readyLimit).Seconds())
	c.waitReady()
	c.whole()
	t.Run("lets in whom its roles say", func(t *testing.T) { testClosed(t, c) })
	l := c.work()
	l.flows(time.Minute)
	for _, s := range scenarios() {
		ok := t.Run(s.name, func(t *testing.T) {
			c.t = t
			defer func() { c.t = t }()
			l.begin()
			s.act(c, l)
			l.flows(2 * time.Minute)
			l.report(s.name)
			c.waitReady()
			c.whole()
		})
		c.t = t
		if !ok {
			t.Fatalf("%s: the cloud is not whole, so that what would follow tells nothing", s.name)
		}
	}
	l.flows(time.Minute)
	l.kept(t)
}

// A scenario is one way to break a cloud. What it turns off it turns on again;
// then all must be as before, by itself.
type scenario struct {
	name string
	act  func(*testCloud, *load)
}

func scenarios() []scenario {
	return append([]scenario{
		{"power cut of the holder of the virtual IP", func(c *testCloud, l *load) {
			holder := c.holder()
			holder.Kill()
			l.flows(time.Minute)
			l.report("the holder of the virtual IP without power")
			holder.Start()
		}},
		{"power cut of another controller", func(c *testCloud, l *load) {
			other := c.others(c.holder())[0]
			other.Kill()
			l.flows(time.Minute)
			l.report("another controller without power")
			other.Start()
		}},
		{"reboot of each in turn", func(c *testCloud, l *load) {
			for _, n := range c.nodes {
				n.Stop(2 * time.Minute)
				n.Start()
				c.waitReady(n)
			}
		}},
		{"a wiped disk", func(c *testCloud, _ *load) {
			c.nodes[1].Kill()
			c.nodes[1].Wipe()
			c.nodes[1].Start()
		}},
		{"cable of the holder pulled for half a minute", func(c *testCloud, l *load) {
			holder := c.holder()
			holder.Cut()
			l.flows(time.Minute)
			l.report("the holder of the virtual IP without its cable")
			time.Sleep(30 * time.Second)
			holder.Heal()
		}},
		{"all stopped in order, and started in it", func(c *testCloud, _ *load) {
			for _, n := range c.nodes {
				n.Stop(2 * time.Minute)
			}
			c.start(2*time.Second, c.nodes...)
		}},
		{"power cut of all", func(c *testCloud, _ *load) {
			c.killAll()
			began := time.Now()
			c.start(3*time.Second, c.nodes[2], c.nodes[0], c.nodes[1])
			c.t.Logf("a token %.1f s after the power came back", c.tokenAfter(began, readyLimit).Seconds())
		}},
		{"power cut of all, one comes back late", func(c *testCloud, l *load) {
			c.killAll()
			began := time.Now()
			c.start(0, c.nodes[1], c.nodes[2])
			c.t.Logf("a token %.1f s after the power came back to two of three", c.tokenAfter(began, readyLimit).Seconds())
			l.flows(time.Minute)
			c.nodes[0].Start()
		}},
	}, processScenarios()...)
}

// processScenarios kill one service's processes on the holder of the virtual IP,
// where it hurts most.
func processScenarios() []scenario {
	var all []scenario
	for _, p := range []struct{ name, unit string }{
		{"mariadbd killed", "mariadb.service"},
		{"beam killed", "rabbitmq-server.service"},
		{"haproxy killed", "haproxy.service"},
		{"keepalived killed", "keepalived.service"},
		{"keystone killed", "keystone.service"},
		{"the agent killed", "trivet-agent.service"},
	} {
		all = append(all, scenario{p.name, func(c *testCloud, _ *load) {
			holder := c.holder()
			was := mainPID(holder, p.unit)
			holder.Must("/usr/bin/systemctl", "kill", "--signal=KILL", p.unit)
			for began := time.Now(); time.Since(began) < time.Minute; time.Sleep(200 * time.Millisecond) {
				if now := mainPID(holder, p.unit); now != was && now != "0" {
					c.t.Logf("%s runs again %.1f s after it was killed", p.unit, time.Since(began).Seconds())
					return
				}
			}
			c.t.Errorf("%s does not run again on %s", p.unit, holder.Name)
		}})
	}
	return all
}

// mainPID is the number of a unit's first process, 0 if there is none.
func mainPID(n *nspawn.Node, unit string) string {
	return strings.TrimSpace(n.Must("/usr/bin/systemctl", "show", "--property=MainPID", "--value", unit))
}

// TestCloudFormsWithOneAbsent: a majority forms the cloud, and who comes later is
// let in.
func TestCloudFormsWithOneAbsent(t *testing.T) {
	c := newCloud(t)
	began := time.Now()
	c.start(time.Second, c.nodes[0], c.nodes[2])
	t.Logf("a token %.1f s after the power-on of two of three blank controllers", c.tokenAfter(began, 2*readyLimit).Seconds())
	c.waitReady(c.nodes[0], c.nodes[2])
	c.nodes[1].Start()
	c.waitReady()
	c.whole()
}

// TestCloudIsNotFormedWithoutTicket: bundles that permit no forming, as those of
// a cloud that formed long ago, make blank controllers wait and say so.
func TestCloudIsNotFormedWithoutTicket(t *testing.T) {
	c := newCloud(t)
	c.trivet("cluster", "bundle", "cloud.yaml", "--passphrase-file", "passphrase", "--source", absolute(t, repository), "--force")
	c.start(0, c.nodes...)
	for _, n := range c.nodes {
		c.waits(n, "quorum", "ticket")
	}
	time.Sleep(10 * time.Second) // three of them that form would have by now
	for _, n := range c.nodes {
		if s, err := n.State(); err != nil || s.Ready || !strings.Contains(string(s.Quorum), `"formed":false`) {
			t.Errorf("%s without a ticket: %v, quorum %s; want it to wait", n.Name, err, s.Quorum)
		}
	}
}

// waits waits until a node says of a step that it waits, and why.
func (c *testCloud) waits(n *nspawn.Node, step, why string) {
	c.t.Helper()
	last := ""
	for began := time.Now(); time.Since(began) < time.Minute; time.Sleep(250 * time.Millisecond) {
		s, err := n.State()
		if err != nil {
			last = err.Error()
			continue
		}
		for _, o := range s.Unfinished {
			if last = o.Step + ": " + o.Message; o.Step == step && strings.Contains(o.Message, why) {
				return
			}
		}
	}
	c.t.Fatalf("%s does not say that %s waits for %q; it says %q", n.Name, step, why, last)
}
