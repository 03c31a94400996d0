package firstboot

import (
	"context"
	"errors"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"trivet/firstboot/bundle"
	"trivet/firstboot/host"
	"trivet/firstboot/join"
	"trivet/firstboot/node"
	"trivet/firstboot/quorum"
	"trivet/firstboot/status"
	"trivet/roles"
)

// A testCluster is an agreement that forms when it is told to.
type testCluster struct {
	join.Quorum // no service of these tests asks it
	config      quorum.Config
	formed      chan struct{}

	mu     sync.Mutex
	closed int
}

func (c *testCluster) WaitFormed(ctx context.Context) error {
	select {
	case <-c.formed:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c *testCluster) Status() quorum.Status { return quorum.Status{} }

func (c *testCluster) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed++
	return nil
}

// TestAgreement: a controller of three takes its bundle into the agreement, and
// starts no service before the cloud has formed.
func TestAgreement(t *testing.T) {
	o, n := newOperator(t), newNode(t)
	k := o.key()
	three := strings.Replace(goodSeed, "  - {name: ctl1, address: 192.0.2.11}\n", "  - {name: ctl1, address: 192.0.2.11}\n  - {name: ctl2, address: 192.0.2.12}\n  - {name: ctl3, address: 192.0.2.13}\n", 1)
	n.seed(o.sign(three, k, bundle.Contents{
		Cloud: testCloud, Cluster: "lab", Node: "ctl1", Role: "controller", Generation: 1, Ticket: "the ticket",
		Secrets: bundle.Secrets{"front/admin": "canary-of-the-bundle", "back/word": "given-to-every-node"},
		Files:   bundle.Files{"pki/agent/ca.crt": []byte("ca"), "pki/agent/node.crt": []byte("cert"), "pki/agent/node.key": []byte("key")},
	}))
	n.handKey(k)
	cluster := &testCluster{formed: make(chan struct{})}
	n.openQuorum = func(_ context.Context, c quorum.Config) (Cluster, error) {
		cluster.config = c
		c.Report("waits for %s", "ctl2")
		return cluster, nil
	}
	records := n.boot(said("quorum", status.Waiting, "waits for ctl2"))
	if slices.Contains(short(records), "back start") {
		t.Errorf("a service is started before the cloud has formed: %v", short(records))
	}
	if cluster.closed != 1 {
		t.Errorf("the agreement was closed %d times at the agent's end, want 1", cluster.closed)
	}
	close(cluster.formed)
	n.boot(ready)
	got := cluster.config
	got.Report, got.Answer = nil, nil
	want := quorum.Config{
		Dir: filepath.Join(n.root, "/var/lib/trivet/quorum"), Cloud: testCloud, Self: "ctl1", Ticket: "the ticket", Signer: k.Signer,
		CA: []byte("ca"), Cert: []byte("cert"), Key: []byte("key"),
	}
	var names []string
	for _, m := range got.Controllers {
		names = append(names, m.Name+" "+m.Address.String())
	}
	got.Controllers = nil
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("the agreement's description: %s", d)
	}
	if d := cmp.Diff([]string{"ctl1 192.0.2.11", "ctl2 192.0.2.12", "ctl3 192.0.2.13"}, names); d != "" {
		t.Error(d)
	}
}

// TestAttend: a unit that is down is brought up at once, one that runs and does
// not work is stopped first, after three strikes, and each not too often.
func TestAttend(t *testing.T) {
	n := newNode(t)
	in := n.inputs()
	a := &agent{Inputs: in, took: map[string]any{}, said: map[string]time.Time{}}
	a.role = roles.Role{Name: "controller", Services: []roles.Service{{
		Name: "api", Units: []string{"api.service"}, Health: []roles.Check{{Unit: "api.service"}, {Run: []string{"/bin/ask"}}},
	}}, Start: []string{"api"}}
	sick := &sickHost{Runner: n}
	a.Host = sick
	env := join.Env{Root: n.root, Host: sick, Role: a.role, Service: a.role.Services[0], Node: node.Config{Name: "ctl1"}}
	var p patient
	if a.attend(t.Context(), env, &p) != true || n.units["api.service"] != "active" {
		t.Errorf("a unit that is down: not brought up again; %v", n.log)
	}
	sick.asked = errors.New("answers 500")
	a.ward.well("api")
	n.log, p = nil, patient{}
	for range watchStrikes - 1 {
		if !a.attend(t.Context(), env, &p) {
			t.Error("it is called ill after one unlucky probe")
		}
	}
	if len(n.log) != 0 || len(a.ward.all()) != 0 {
		t.Errorf("something was done before the strikes: %v, %v", n.log, a.ward.all())
	}
	sick.heals = 1
	if !a.attend(t.Context(), env, &p) || !slices.Contains(n.log, "systemctl stop api.service") || !slices.Contains(n.log, "systemctl start api.service") {
		t.Errorf("a service that does not work: %v; want a stop and a start", n.log)
	}
	if got := a.ward.all()["api"]; !strings.Contains(got, "answers 500") || !a.ward.well("api") || a.ward.well("api") {
		t.Errorf("the ward says %q", got)
	}
	n.log, p.strikes, sick.asked = nil, watchStrikes, errors.New("answers 500")
	if a.attend(t.Context(), env, &p) || len(n.log) != 0 {
		t.Errorf("it is restarted again at once: %v", n.log)
	}
}

// A sickHost fails /bin/ask until the next start of a unit.
type sickHost struct {
	host.Runner
	asked error
	heals int
}

func (s *sickHost) Run(ctx context.Context, c host.Command) ([]byte, error) {
	if c.Args[0] == "/bin/ask" {
		return nil, s.asked
	}
	if len(c.Args) > 1 && c.Args[1] == "start" && s.heals > 0 {
		s.asked = nil
	}
	return s.Runner.Run(ctx, c)
}

// TestSystemIsWhole: no part of the machine is left out, where a test's own
// would hide it.
func TestSystemIsWhole(t *testing.T) {
	s, err := NewSystem()
	if err != nil {
		t.Fatal(err)
	}
	v := reflect.ValueOf(s)
	for i := range v.NumField() {
		if v.Field(i).IsNil() {
			t.Errorf("System.%s is nil", v.Type().Field(i).Name)
		}
	}
}

// TestWatch: each service of a ready node is looked at, and the one that is down
// is brought up again.
func TestWatch(t *testing.T) {
	n := newNode(t)
	n.seed(goodSeed)
	down := map[string]bool{}
	n.boot(func(r status.Record) bool {
		// Called with n.mu held, for all records again and again.
		for _, unit := range []string{"back.service", "front.service"} {
			if r.State == status.Ready && !down[unit] && n.units[unit] == "active" {
				n.units[unit], down[unit] = "failed", true
				return false
			}
		}
		return len(down) == 2 && n.units["back.service"] == "active" && n.units["front.service"] == "active"
	})
}
