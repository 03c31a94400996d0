package join

import (
	"os"
	"slices"
	"testing"
	"time"

	"trivet/firstboot/node"
)

func TestRabbitMQ(t *testing.T) {
	m, env := controller(t, "rabbitmq", "rabbitmq-server.service")
	m.put("/var/lib/rabbitmq/.erlang.cookie", "that of the image")
	if err := rabbitmq().Do(t.Context(), env); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(env.Path("/var/lib/rabbitmq/.erlang.cookie"))
	if err != nil || info.Mode().Perm() != 0o400 || m.read("/var/lib/rabbitmq/.erlang.cookie") != "canary-rabbitmq-cookie" {
		t.Errorf("cookie: %v %v", info.Mode(), err)
	}
	if m.read(rabbitFormed) == "missing" {
		t.Error("nothing tells that the queue ran")
	}
	if done, err := rabbitmq().Done(t.Context(), env); !done || err != nil {
		t.Errorf("done %t %v", done, err)
	}
}

// TestRabbitMQHalfMade: a queue that never ran begins anew; one that ran is
// never thrown away.
func TestRabbitMQHalfMade(t *testing.T) {
	m, env := controller(t, "rabbitmq", "rabbitmq-server.service")
	m.put("/var/lib/rabbitmq/mnesia/rabbit@ctl1/schema.DAT", "half")
	m.fails["systemctl start"] = 1
	if err := rabbitmq().Do(t.Context(), env); err != nil {
		t.Fatal(err)
	}
	if m.read("/var/lib/rabbitmq/mnesia/rabbit@ctl1/schema.DAT") != "missing" {
		t.Error("the half schema stays")
	}
	m.put("/var/lib/rabbitmq/mnesia/rabbit@ctl1/schema.DAT", "whole")
	m.fails["systemctl start"] = 1
	if err := rabbitmq().Do(t.Context(), env); err == nil {
		t.Error("a start that failed is called good")
	}
	if m.read("/var/lib/rabbitmq/mnesia/rabbit@ctl1/schema.DAT") != "whole" {
		t.Error("the queue's data was thrown away")
	}
}

func TestRabbitDecide(t *testing.T) {
	founded := rabbitCluster{ID: "x", Seed: "a", Founded: true, Members: []string{"a", "b", "c"}, Complete: true}
	blank := func(names ...string) rabbitCluster {
		c := founded
		c.Blank = names
		return c
	}
	for name, c := range map[string]struct {
		view rabbitView
		want rabbitMove
	}{
		"nobody began":                      {rabbitView{self: "a"}, rabbitPropose},
		"the seed":                          {rabbitView{self: "a", cluster: rabbitCluster{ID: "x", Seed: "a"}}, rabbitFound},
		"the seed, cut after it founded":    {rabbitView{self: "a", disk: "x", cluster: rabbitCluster{ID: "x", Seed: "a"}}, rabbitFound},
		"another is the seed":               {rabbitView{self: "b", cluster: rabbitCluster{ID: "x", Seed: "a"}}, rabbitWait},
		"the seed is silent":                {rabbitView{self: "b", stuck: true, cluster: rabbitCluster{ID: "x", Seed: "a"}}, rabbitPropose},
		"a blank one joins":                 {rabbitView{self: "d", cluster: founded}, rabbitJoin},
		"one of another formation joins":    {rabbitView{self: "d", disk: "w", cluster: founded}, rabbitJoin},
		"a member starts":                   {rabbitView{self: "b", disk: "x", cluster: founded}, rabbitPlain},
		"a member has patience":             {rabbitView{self: "b", disk: "x", stuck: true, cluster: founded}, rabbitPlain},
		"a member was wiped":                {rabbitView{self: "b", cluster: founded}, rabbitConfess},
		"and said so":                       {rabbitView{self: "b", cluster: blank("b")}, rabbitJoin},
		"two of three were wiped":           {rabbitView{self: "b", cluster: blank("b", "c")}, rabbitPropose},
		"the third has its data":            {rabbitView{self: "a", disk: "x", cluster: blank("b", "c")}, rabbitPlain},
		"no member runs for half an hour":   {rabbitView{self: "b", stuck: true, cluster: blank("b")}, rabbitPropose},
		"the seed founded and was wiped":    {rabbitView{self: "a", cluster: rabbitCluster{ID: "x", Seed: "a", Founded: true, Members: []string{"a"}, Blank: []string{"a"}}}, rabbitPropose},
		"a formation that was given up":     {rabbitView{self: "a", disk: "w", cluster: rabbitCluster{ID: "x", Seed: "b"}}, rabbitWait},
		"the seed holds a formation before": {rabbitView{self: "a", disk: "w", cluster: rabbitCluster{ID: "x", Seed: "a"}}, rabbitFound},
	} {
		if got := rabbitDecide(c.view); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

func TestRabbitWhole(t *testing.T) {
	three := []string{"a", "b", "c"}
	for _, c := range []struct {
		members, blank, absent []string
		want                   bool
	}{
		{members: three, want: true},
		{members: []string{"a", "b"}, want: false},
		{members: []string{"a", "b"}, absent: []string{"c"}, want: true},
		{members: []string{"a"}, absent: []string{"b", "c"}, want: false},
		{members: three, blank: []string{"c"}, want: false},
		{members: three, blank: []string{"c"}, absent: []string{"c"}, want: true},
	} {
		absent := func(name string) bool { return slices.Contains(c.absent, name) }
		if got := rabbitWhole(rabbitCluster{Members: c.members, Blank: c.blank}, three, absent); got != c.want {
			t.Errorf("%+v: %t", c, got)
		}
	}
}

// TestRabbitPatience: what is waited for, and for how long.
func TestRabbitPatience(t *testing.T) {
	clock := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	begun := rabbitCluster{ID: "x", Seed: "a"}
	complete := rabbitCluster{ID: "x", Seed: "a", Founded: true, Members: []string{"a", "b", "c"}, Complete: true}
	for _, c := range []struct {
		what    string
		cluster rabbitCluster
		words   map[string]rabbitWord
		limit   time.Duration // when it is stuck
	}{
		{"a silent seed", begun, nil, rabbitSilence},
		{"a seed that answers", begun, map[string]rabbitWord{"a": {}}, rabbitLate},
		{"members that answer", rabbitCluster{ID: "x", Founded: true, Members: []string{"a"}}, map[string]rabbitWord{"a": {}}, rabbitUnfinished},
		{"members that are silent", rabbitCluster{ID: "x", Founded: true, Members: []string{"a"}}, map[string]rabbitWord{"b": {}}, rabbitSilence},
		{"another answers", begun, map[string]rabbitWord{"b": {}}, rabbitSilence},
		{"no member runs", complete, map[string]rabbitWord{"a": {}, "b": {ID: "w", Running: true}}, rabbitDead},
		{"a member runs", complete, map[string]rabbitWord{"a": {ID: "x", Running: true}}, 1000 * time.Hour},
	} {
		now := clock
		p := rabbitPatience{now: func() time.Time { return now }}
		for p.note(c.cluster, c.words); now.Sub(clock) < 2*time.Hour && !p.stuck(c.cluster); p.note(c.cluster, c.words) {
			now = now.Add(10 * time.Second)
		}
		if took := now.Sub(clock); took != min(c.limit+10*time.Second, 2*time.Hour) {
			t.Errorf("%s: stuck after %s, want more than %s", c.what, took, c.limit)
		}
	}
}

// TestRabbitForms lets controllers come up at once and in turn, as in a cloud
// where all goes well, and one of them absent.
func TestRabbitForms(t *testing.T) {
	w := newRabbitWorld(t, 1, "a", "b", "c", "d", "e")
	for _, b := range w.boxes[:4] {
		b.boot()
	}
	w.settle(w.boxes[:4])
	if c := w.value(); len(c.Members) != 4 || len(w.members) != 1 {
		t.Errorf("%+v, of %v", c, w.members)
	}
	w.boxes[4].boot()
	w.settle(w.boxes)
	if c := w.value(); len(c.Members) != 5 || len(w.members) != 1 || len(w.members[1]) != 5 {
		t.Errorf("%+v, of %v", c, w.members)
	}
	for _, b := range w.boxes {
		if done, err := rabbitDone(t.Context(), b.env); !done || err != nil {
			t.Errorf("%s: done %t, %v", b.name, done, err)
		}
	}
	b := w.boxes[2]
	b.wipe()
	b.boot()
	w.settle(w.boxes)
	if len(w.members) != 1 || b.instance() != 1 {
		t.Errorf("the wiped one is in %d, of %v", b.instance(), w.members)
	}
}

// settle lets controllers step in turn until all are done.
func (w *rabbitWorld) settle(boxes []*rabbitBox) {
	w.t.Helper()
	done := map[string]bool{}
	for range 2000 {
		for _, b := range boxes {
			ok, _ := b.member.step(w.t.Context())
			done[b.name] = ok && b.running
		}
		if err := w.check(); err != nil {
			w.t.Fatal(err)
		}
		if !slices.ContainsFunc(boxes, func(b *rabbitBox) bool { return !done[b.name] }) {
			return
		}
		w.clock = w.clock.Add(10 * time.Second)
	}
	w.t.Fatalf("it never comes to an end: %v, %+v, %v", done, w.value(), w.members)
}

// TestRabbitHistories plays random histories of power cuts, wiped disks and
// silence while clusters form and run: there are never two, a complete one is
// not given up while more than half of it is there, and in the end all controllers
// are in one.
func TestRabbitHistories(t *testing.T) {
	for seed := range uint64(60) {
		names := []string{"a", "b", "c", "d", "e"}[:3+2*(seed%2)]
		w := newRabbitWorld(t, seed, names...)
		w.danger = 0.05
		before := rabbitCluster{}
		for range 120 {
			w.someEvent()
			w.clock = w.clock.Add(time.Duration(w.random.IntN(14)) * time.Second)
			if err := w.check(); err != nil {
				t.Fatalf("history %d: %v", seed, err)
			}
			now := w.value()
			if before.Complete && now.ID != before.ID && !w.wasLost(before) {
				t.Fatalf("history %d: %+v was given up for %+v", seed, before, now)
			}
			before = now
		}
		w.danger = 0
		for _, b := range w.boxes {
			b.boot()
		}
		w.settle(w.boxes)
	}
}

// wasLost answers whether no more than half of the members has its data.
func (w *rabbitWorld) wasLost(c rabbitCluster) bool {
	have := 0
	for _, name := range c.Members {
		if id, err := rabbitDisk(w.box(name).env); err == nil && id == c.ID {
			have++
		}
	}
	return 2*have <= len(c.Members)
}

// someEvent does something to some controller.
func (w *rabbitWorld) someEvent() {
	b := w.boxes[w.random.IntN(len(w.boxes))]
	switch n := w.random.IntN(100); {
	case !b.up && n < 50:
		b.boot()
	case n < 3:
		b.cut()
	case n == 3:
		b.wipe()
	case n == 4 && b.up:
		b.boot() // the agent alone begins again
	default:
		w.someStep()
	}
}

func TestParseRabbitMembers(t *testing.T) {
	got, err := parseRabbitMembers([]byte(`{"disk_nodes":["rabbit@c1","rabbit@c2"],"ram_nodes":[]}`))
	if err != nil || !slices.Equal(got, []string{"c1", "c2"}) {
		t.Errorf("%v %v", got, err)
	}
	for _, text := range []string{"", "{", `{"disk_nodes":["x@c1"]}`, `{"disk_nodes":["rabbit@"]}`, `{"disk_nodes":1}`} {
		if _, err := parseRabbitMembers([]byte(text)); err == nil {
			t.Errorf("%q is no error", text)
		}
	}
}

func FuzzParseRabbit(f *testing.F) {
	f.Add([]byte(`{"disk_nodes":["rabbit@c1"]}`))
	f.Add([]byte(`{"node":"c1","id":"x","running":true,"sees":["c2"]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		names, err := parseRabbitMembers(data)
		if err == nil && slices.Contains(names, "") {
			t.Errorf("a member without a name in %q", data)
		}
		_, _ = parseRabbitWord(data)
	})
}

// TestRabbitCookie: formations have cookies of their own, the same everywhere.
func TestRabbitCookie(t *testing.T) {
	base := node.NewSecret("base")
	one, err := rabbitCookie(base, "one")
	two, err2 := rabbitCookie(base, "two")
	if err != nil || err2 != nil || one.Reveal() == two.Reveal() || len(one.Reveal()) != 64 {
		t.Errorf("%q, %q, %v, %v", one.Reveal(), two.Reveal(), err, err2)
	}
}

// TestRabbitTLS: certificates are for the broker alone, and new ones are taken up.
func TestRabbitTLS(t *testing.T) {
	m, env := controller(t, "rabbitmq", "rabbitmq-server.service")
	env.Files = map[string][]byte{"pki/rabbit/ca.crt": []byte("ca"), "pki/rabbit/node.crt": []byte("crt"), "pki/rabbit/node.key": []byte("key"), "pki/api/node.key": []byte("no")}
	if err := rabbitmq().Do(t.Context(), env); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(env.Path(rabbitTLS + "/node.key"))
	if err != nil || info.Mode().Perm() != 0o440 || m.read(rabbitTLS+"/node.key") != "key" || m.read(rabbitTLS+"/ca.crt") != "ca" {
		t.Errorf("%v %v", info, err)
	}
}
