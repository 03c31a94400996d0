package quorum

import (
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// The model runs the decisions of decide.go, agreement.go and admit.go against a
// world that breaks. Raft is taken as given: a cluster works where a majority of
// its configuration is up, connected and has the disks that it means.
//
// A disk is not exchanged while a call of one controller to another lasts.
//
// What is never seen, whatever is lost:
//
//  1. two clusters of which each has a majority of its configuration's disks in
//     place, so that both could work;
//  2. a cluster founded under a nonce while another of that nonce has a majority
//     of its configuration's disks in place;
//  3. a disk that belongs to two clusters;
//  4. a majority of a configuration that is none of the declared controllers.
//
// And what is never seen while no disk was wiped or exchanged:
//
//  5. two sets chosen under one nonce;
//  6. after everything is up, connected, and has one ticket, which is valid or
//     was when a set was chosen, controllers that do not come together in one cluster of all.
//
// With wiped disks, in place of 6: if a cluster can work in the end, every blank
// disk comes into it.

const modelNonces = 2

type modelDisk struct{ disk }

type modelNode struct {
	disks   []*modelDisk
	now     int // which disk is in
	up      bool
	nonce   int  // of its ticket
	expired bool // as its clock says
	waited  int
	others  bool
	away    []int // ticks since another one could form with it
	round   uint64
	run     int // proposals begun, to tell late answers from those of now
	// a proposal under way
	phase   string // "", opPrepare or opAccept
	asked   proposal
	present []string
	there   []string
	got     map[string]verdict
}

type modelMessage struct {
	from, to, run, phase int // phase 0: prepare, 1: accept
	p                    proposal
	reply                bool
	v                    verdict
}

type modelCluster struct {
	founding founding
	voters   []string
}

type world struct {
	r        *rand.Rand
	names    []string
	nodes    []*modelNode
	cut      [][]bool
	queue    []modelMessage
	clusters []*modelCluster
	chosen   map[string][]string // by nonce
	gentle   bool                // no disk is lost
	hard     bool                // many are, and much is cut short
	healed   bool                // nothing breaks any more
	wiped    bool
	tickets  bool // somebody got another ticket
	trace    []string
	tracing  bool
	fault    string
}

func newWorld(r *rand.Rand, tracing bool) *world {
	n := 3
	if r.IntN(4) == 0 {
		n = 5
	}
	w := &world{r: r, chosen: map[string][]string{}, tracing: tracing}
	for i := range n {
		w.names = append(w.names, "c"+strconv.Itoa(i))
		w.nodes = append(w.nodes, &modelNode{up: r.IntN(4) > 0, away: make([]int, n)})
		w.cut = append(w.cut, make([]bool, n))
		w.wipe(i)
	}
	w.wiped = false
	return w
}

func (w *world) log(format string, args ...any) {
	if w.tracing {
		w.trace = append(w.trace, fmt.Sprintf(format, args...))
	}
}

func (w *world) fail(format string, args ...any) {
	if w.fault == "" {
		w.fault = fmt.Sprintf(format, args...)
	}
}

func (w *world) disk(i int) *modelDisk { return w.nodes[i].disks[w.nodes[i].now] }

func (w *world) self(i int) string { return identity(w.names[i], w.disk(i).Incarnation) }

// settle ends every proposal under way, with what was heard or without: a disk
// is not exchanged while a call lasts.
func (w *world) settle() {
	for j, n := range w.nodes {
		for n.phase != "" {
			if w.r.IntN(2) == 0 {
				n.phase, n.got = "", nil
			}
			w.finish(j)
		}
	}
	w.queue = nil
}

// wipe gives a node a new disk.
func (w *world) wipe(i int) {
	n := w.nodes[i]
	incarnation := fmt.Sprintf("%032x", i<<16+len(n.disks)+1)
	n.disks = append(n.disks, &modelDisk{disk: disk{Incarnation: incarnation}})
	n.now = len(n.disks) - 1
	w.wiped = true
	w.log("%s has the new disk %s", w.names[i], incarnation[24:])
}

func (w *world) crash(i int) {
	n := w.nodes[i]
	n.up, n.phase, n.got, n.waited, n.others, n.round = false, "", nil, 0, false, 0
	n.run++
	w.log("%s is down", w.names[i])
}

func (w *world) boot(i int) {
	w.nodes[i].up = true
	clear(w.nodes[i].away)
	w.log("%s is up", w.names[i])
}

func (w *world) linked(i, j int) bool {
	return i == j || w.nodes[i].up && w.nodes[j].up && !w.cut[i][j]
}

func nonceText(k int) string {
	return [modelNonces]string{"0123456789abcdef0123456789abcde0", "0123456789abcdef0123456789abcde1"}[k]
}

func (w *world) permit(i int) permit {
	n := w.nodes[i]
	nonce := nonceText(n.nonce)
	if n.expired && !w.disk(i).bound(nonce) {
		return permit{testCloud, w.names, "", "its ticket has ended"}
	}
	return permit{testCloud, w.names, nonce, ""}
}

func (w *world) greeting(i int) greeting {
	return greeting{Cloud: testCloud, Controllers: "x", Self: w.self(i), Nonce: w.permit(i).nonce, Founding: w.disk(i).Cluster}
}

// event lets one thing happen.
func (w *world) event() {
	i := w.r.IntN(len(w.nodes))
	n := w.nodes[i]
	k := w.r.IntN(200)
	if w.hard && k < 6 && len(w.clusters) > 0 {
		k = 190
	}
	switch {
	case k < 70:
		w.tick(i, 10)
	case k < 150:
		w.deliver(5)
	case k < 168:
		w.finish(i)
	case k < 174:
		w.crash(i)
	case k < 184:
		if !n.up {
			w.boot(i)
		}
	case k < 188:
		j := w.r.IntN(len(w.nodes))
		w.cut[i][j] = !w.cut[i][j]
		if w.r.IntN(3) > 0 {
			w.cut[j][i] = w.cut[i][j]
		}
	case k < 192 && w.gentle:
	case k < 191:
		w.crash(i)
		w.settle()
		w.wipe(i)
	case k < 192 && len(n.disks) > 1:
		w.crash(i)
		w.settle()
		n.now = w.r.IntN(len(n.disks))
		w.wiped = true
		w.log("%s has its disk %s again", w.names[i], w.disk(i).Incarnation[24:])
	case k < 195:
		n.expired = !n.expired
	case k < 196:
		n.nonce, w.tickets = w.r.IntN(modelNonces), true
	case k < 198:
		for _, j := range w.r.Perm(len(w.nodes)) {
			w.crash(j)
		}
	default:
		for _, c := range w.cut {
			clear(c)
		}
	}
	w.check()
}

// tick is a round of the formation's loop. One greeting of loss is lost; none
// if loss is 0.
func (w *world) tick(i, loss int) {
	n := w.nodes[i]
	if !n.up {
		return
	}
	may := w.permit(i)
	s := situation{Own: w.greeting(i), Names: w.names, NoForm: may.why, Silence: 3, Turn: 2, Waited: time.Duration(n.waited)}
	var met []int
	for j := range w.nodes {
		if j == i {
			continue
		}
		p := seen{Name: w.names[j]}
		n.away[j]++
		if w.linked(i, j) && w.linked(j, i) && (loss == 0 || w.r.IntN(loss) > 0) {
			g := w.greeting(j)
			p.Greeting = &g
			met = append(met, j)
			if g.Founding == nil && may.nonce != "" && g.Nonce == may.nonce {
				n.away[j] = 0
			}
		}
		p.Away = time.Duration(n.away[j])
		s.Peers = append(s.Peers, p)
	}
	if w.disk(i).Cluster != nil {
		w.join(i, met)
		return
	}
	if n.phase != "" {
		return
	}
	d := decide(s)
	if d.Others {
		n.waited++
	} else {
		n.waited = 0
	}
	switch d.Do {
	case found:
		w.belong(i, *d.Founding)
	case join:
		w.join(i, met)
	case propose:
		round := max(w.disk(i).Promises[may.nonce].Ballot.Round, n.round) + 1
		n.present, n.there = d.Present, d.There
		w.ask(i, opPrepare, proposal{Nonce: may.nonce, Ballot: ballot{round, w.names[i]}})
	}
}

// ask sends a proposal to all.
func (w *world) ask(i int, phase string, p proposal) {
	n := w.nodes[i]
	n.run++
	n.phase, n.asked, n.got = phase, p, map[string]verdict{}
	w.log("%s: %s %d %v", w.names[i], phase, p.Ballot.Round, short(p.Set))
	for j := range w.nodes {
		w.queue = append(w.queue, modelMessage{from: i, to: j, run: n.run, p: p, phase: map[string]int{opPrepare: 0, opAccept: 1}[phase]})
	}
}

func short(ids []string) (out []string) {
	for _, id := range ids {
		name, incarnation, _ := splitIdentity(id)
		out = append(out, name+incarnation[max(0, len(incarnation)-4):])
	}
	return out
}

// deliver takes one message from anywhere in the queue.
func (w *world) deliver(loss int) {
	if len(w.queue) == 0 {
		return
	}
	k := w.r.IntN(len(w.queue))
	m := w.queue[k]
	w.queue[k] = w.queue[len(w.queue)-1]
	w.queue = w.queue[:len(w.queue)-1]
	if !w.nodes[m.to].up || !w.linked(m.from, m.to) || loss > 0 && m.from != m.to && w.r.IntN(loss) == 0 {
		return
	}
	if m.reply {
		if n := w.nodes[m.to]; n.run == m.run && n.got != nil {
			n.got[w.names[m.from]] = m.v
		}
		return
	}
	d := w.disk(m.to)
	next, v := d.judge([]string{opPrepare, opAccept}[m.phase], m.p, w.permit(m.to))
	if v.Yes {
		d.disk = next
	}
	w.log("%s answers %s: %v", w.names[m.to], w.names[m.from], v.Yes)
	w.queue = append(w.queue, modelMessage{from: m.to, to: m.from, run: m.run, reply: true, v: v})
}

// finish ends a phase with the answers that came.
func (w *world) finish(i int) {
	n := w.nodes[i]
	if n.phase == "" {
		return
	}
	phase := n.phase
	n.phase = ""
	heard, err := tally(n.got, w.names)
	n.got = nil
	n.round = max(n.round, heard.ahead)
	if err != nil {
		return
	}
	p := n.asked
	if phase == opPrepare {
		if p.Set, err = pick(heard, w.names, n.present, n.there); err == nil {
			w.ask(i, opAccept, p)
		}
		return
	}
	if old, there := w.chosen[p.Nonce]; there && !slices.Equal(old, p.Set) && !w.wiped {
		w.fail("5: %v and %v were both chosen", short(old), short(p.Set))
	}
	w.chosen[p.Nonce] = p.Set
	if !w.healed && w.r.IntN(4) == 0 {
		w.crash(i) // before it could write down what was chosen
		return
	}
	w.belong(i, founding{testCloud, p.Nonce, p.Set})
}

// belong is Quorum.belong.
func (w *world) belong(i int, f founding) {
	d := w.disk(i)
	if d.Cluster != nil {
		return
	}
	at := slices.IndexFunc(w.clusters, func(c *modelCluster) bool { return c.founding.equal(f) })
	if at < 0 {
		for _, c := range w.clusters {
			if c.founding.Nonce == f.Nonce && w.inPlace(c) >= majority(len(c.voters)) {
				w.fail("2: %v is founded beside %v", short(f.Servers), short(c.voters))
			}
		}
		at = len(w.clusters)
		w.clusters = append(w.clusters, &modelCluster{f, slices.Clone(f.Servers)})
	}
	// A founding is one pointer in the model, which is faster to compare.
	d.Cluster = &w.clusters[at].founding
	w.log("%s belongs to %v", w.names[i], short(f.Servers))
}

// inPlace counts the voters whose disks are in their nodes and belong to the cluster.
func (w *world) inPlace(c *modelCluster) int {
	n := 0
	for i := range w.nodes {
		if d := w.disk(i); d.Cluster == &c.founding && slices.Contains(c.voters, w.self(i)) {
			n++
		}
	}
	return n
}

// leads answers whether node i could lead its cluster now.
func (w *world) leads(i int) *modelCluster {
	f := w.disk(i).Cluster
	if f == nil || !w.nodes[i].up {
		return nil
	}
	c := w.clusters[slices.IndexFunc(w.clusters, func(c *modelCluster) bool { return &c.founding == f })]
	if !slices.Contains(c.voters, w.self(i)) {
		return nil
	}
	n := 0
	for j := range w.nodes {
		d := w.disk(j)
		if w.nodes[j].up && w.linked(i, j) && w.linked(j, i) && d.Cluster == f && slices.Contains(c.voters, w.self(j)) {
			n++
		}
	}
	if n < majority(len(c.voters)) {
		return nil
	}
	return c
}

// join asks the leader to let a disk in; each step may be the last before a crash.
func (w *world) join(i int, met []int) {
	for _, j := range met {
		c := w.leads(j)
		if c == nil {
			continue
		}
		w.belong(i, c.founding)
		if w.disk(i).Cluster != &c.founding || w.cutShort() {
			return
		}
		for {
			step := admission(c.voters, w.names, w.self(i))
			if step == (change{}) {
				return
			}
			voters := slices.Clone(c.voters)
			if step.Remove != "" {
				voters = slices.DeleteFunc(voters, func(v string) bool { return v == step.Remove })
			} else {
				voters = append(voters, step.Add)
			}
			before := c.voters
			c.voters = voters
			if w.leads(j) != c { // the new configuration must commit
				c.voters = before
				return
			}
			w.log("%s lets %s in: %s", w.names[j], w.names[i], step)
			w.check()
			if w.cutShort() {
				return
			}
		}
	}
}

// cutShort answers whether a change of members ends in the middle.
func (w *world) cutShort() bool {
	n := 8
	if w.hard {
		n = 3
	}
	return !w.healed && w.r.IntN(n) == 0
}

func (w *world) check() {
	able := 0
	for _, c := range w.clusters {
		if w.inPlace(c) >= majority(len(c.voters)) {
			able++
		}
		seen := map[string]bool{}
		for _, v := range c.voters {
			seen[nameOf(v)] = true
		}
		if majority(len(c.voters)) < majority(len(w.names)) || len(seen) != len(c.voters) {
			w.fail("4: a majority of %v is none of the controllers", short(c.voters))
		}
	}
	if able > 1 {
		w.fail("1: %d clusters could work", able)
	}
}

// heal repairs all that can be and lets the controllers come together.
func (w *world) heal() {
	w.log("all is repaired")
	w.healed = true
	// What was agreed on comes to its end without a ticket, too.
	ended := w.chosen[nonceText(0)] != nil && !w.wiped && !w.tickets && w.r.IntN(2) == 0
	for i, n := range w.nodes {
		clear(w.cut[i])
		n.nonce, n.expired = 0, ended
		if !n.up {
			w.boot(i)
		}
	}
	for range 40 {
		for i := range w.nodes {
			w.tick(i, 0)
			for len(w.queue) > 0 {
				w.deliver(0)
			}
			w.finish(i)
			for len(w.queue) > 0 {
				w.deliver(0)
			}
			w.finish(i)
			w.check()
		}
		if w.together() == len(w.nodes) {
			return
		}
	}
	w.judge()
}

// together counts the nodes in the cluster that works.
func (w *world) together() int {
	for i := range w.nodes {
		if c := w.leads(i); c != nil {
			return w.inPlace(c)
		}
	}
	return 0
}

// judge says whether the controllers had to come together and did not.
func (w *world) judge() {
	in := w.together()
	elsewhere, blank := 0, 0
	for i := range w.nodes {
		if w.disk(i).Cluster == nil {
			blank++
		}
	}
	for i := range w.nodes {
		for _, c := range w.clusters {
			if d := w.disk(i); d.Cluster == &c.founding && w.leads(i) != c {
				elsewhere++
			}
		}
	}
	switch {
	case !w.wiped && !w.tickets:
		w.fail("6: only %d of %d came together, with no disk lost", in, len(w.nodes))
	case in > 0 && blank > 0:
		w.fail("6: %d blank disks stay outside of a cluster that works", blank)
	case in > 0 && in+elsewhere < len(w.nodes):
		w.fail("6: %d in, %d elsewhere", in, elsewhere)
	}
}

// history runs one and returns what went wrong, and how it ended.
func history(seed uint64, tracing bool) (*world, string) {
	w := newWorld(rand.New(rand.NewPCG(seed, 7)), tracing)
	events := 20 + w.r.IntN(140)
	switch w.r.IntN(3) {
	case 0:
		w.gentle = true
	case 1:
		w.hard = true
	}
	for range events {
		w.event()
		if w.fault != "" {
			return w, w.fault
		}
	}
	w.heal()
	return w, w.fault
}

// TestFormationModel runs histories: TRIVET_HISTORIES of them, 100000 if it is
// not set.
func TestFormationModel(t *testing.T) {
	count := uint64(100_000)
	if testing.Short() {
		count = 10_000
	}
	if text := os.Getenv("TRIVET_HISTORIES"); text != "" {
		n, err := strconv.ParseUint(text, 10, 64)
		must(t, err)
		count = n
	}
	var next, formed, stuck, wiped, several atomic.Uint64
	var all sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		all.Go(func() {
			for seed := next.Add(1); seed <= count && !t.Failed(); seed = next.Add(1) {
				w, fault := history(seed, false)
				if fault != "" {
					again, _ := history(seed, true)
					t.Errorf("history %d: %s\n%s", seed, fault, strings.Join(again.trace, "\n"))
				}
				tell := func(to *atomic.Uint64, is bool) {
					if is {
						to.Add(1)
					}
				}
				tell(&formed, w.together() == len(w.nodes))
				tell(&stuck, w.together() == 0)
				tell(&wiped, w.wiped)
				tell(&several, len(w.clusters) > 1)
			}
		})
	}
	all.Wait()
	t.Logf("%d histories: %d came together, %d need an operator, in %d disks were lost, in %d a second cluster was founded after the first was lost", count, formed.Load(), stuck.Load(), wiped.Load(), several.Load())
	if formed.Load() < count/4 || wiped.Load() < count/10 || several.Load() == 0 {
		t.Error("the histories show too little")
	}
}
