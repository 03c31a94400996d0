package join

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
)

// The rules for a database that runs nowhere.

// acceptLoss is the file with which the operator says on any controller: go on
// with the copies that are there. It counts until the node is a member again.
const acceptLoss = "/run/trivet/mariadb-accept-loss"

// found: there is no cluster yet. Data from before the quorum is adopted, and else
// the first controller that is there begins with nothing.
func (g galeraCase) found() (GaleraPlan, bool) {
	if g.Record.Formed {
		return GaleraPlan{}, false
	}
	if g.uuid != "" && !slices.ContainsFunc(g.Controllers, g.founding) {
		return g.adopt(), true
	}
	late := g.late()
	if len(late) > 0 {
		return g.waitFor(late, "there is no database yet, and "+listed(late)+" may have one"), true
	}
	founder := func(r GaleraReport) bool { return r.Fresh || r.Founding || len(r.histories()) == 0 }
	named := func(r GaleraReport) bool { return g.founding(r.Node) && founder(r) }
	i := slices.IndexFunc(g.present, named)
	if i < 0 {
		i = slices.IndexFunc(g.present, founder)
	}
	if i < 0 {
		return g.wait(), true
	}
	who := g.present[i].Node
	return GaleraPlan{Verdict: GaleraFound, Nodes: []string{who}, Base: -1, Why: "no controller has a database; " + who + " makes one and founds the cluster"}, true
}

// late lists the silent nodes that are still worth waiting for.
func (g galeraCase) late() []string {
	var late []string
	for _, r := range g.silent {
		if !g.given(r) && !g.accepted() {
			late = append(late, r.Node)
		}
	}
	return late
}

// adopt takes over data that the quorum does not know: that of a cloud which had
// one controller before, or whose quorum was lost. Every node must be heard.
func (g galeraCase) adopt() GaleraPlan {
	if len(g.silent) > 0 && !g.accepted() {
		return g.waitFor(names(g.silent), "there is a database that the quorum does not know, so every controller must be heard")
	}
	return g.begin("the quorum does not know this database yet; %s has its newest copy, at %d")
}

// current lists the copies of members of the newest epoch.
func (g galeraCase) current() []GaleraReport {
	var c []GaleraReport
	for _, r := range g.present {
		if r.holds(g.uuid) && r.Epoch >= g.Record.Epoch {
			c = append(c, r)
		}
	}
	return c
}

// copies lists the copies that are a part of the newest epoch's history: its members',
// and those of the epoch before that end where it began or earlier. A member may still
// lack what such a copy has, if it went down while it was sent. Without a member left
// there is none.
func (g galeraCase) copies() []GaleraReport {
	c := g.current()
	if len(c) == 0 {
		return nil
	}
	for _, r := range g.present {
		if r.holds(g.uuid) && r.Epoch < g.Record.Epoch && r.Epoch == g.Record.Prior && r.position().Seqno <= g.Record.Base {
			c = append(c, r)
		}
	}
	return c
}

// at returns the last commit of a copy.
func (g galeraCase) at(r GaleraReport) int64 {
	if r.Epoch > g.Record.Epoch {
		return min(r.position().Seqno, r.From)
	}
	return r.position().Seqno
}

// newest sorts the better copy to the front: more commits, then one whose
// transactions are all finished, then one that Galera calls whole, then the one that
// left last, then the one named in an intent, then the order of the controllers.
func (g galeraCase) newest(copies []GaleraReport) []GaleraReport {
	named := func(r GaleraReport) bool {
		return g.Record.Intent != nil && slices.Contains(g.Record.Intent.Nodes, r.Node)
	}
	rank := func(r GaleraReport) int {
		n := 0
		// Galera erases the history of grastate.dat for the time of a DDL, and for good
		// when a copy differs from the others'.
		for _, worse := range []bool{r.Tainted, r.Saved.UUID != g.uuid, !r.Safe, !named(r)} {
			n *= 2
			if worse {
				n++
			}
		}
		return n
	}
	sorted := slices.Clone(copies)
	slices.SortStableFunc(sorted, func(a, b GaleraReport) int {
		return cmp.Or(cmp.Compare(g.at(b), g.at(a)), cmp.Compare(rank(a), rank(b)))
	})
	return sorted
}

// leftLast: a node that left the newest epoch in order as its last member has
// everything, whoever is missing. The flag counts only with a history and a
// position (mariadb-operator#1701), and if nobody reports more.
func (g galeraCase) leftLast() (GaleraPlan, bool) {
	var last []GaleraReport
	for _, r := range g.current() {
		if r.Safe && r.Saved.Known() && r.Saved.UUID == g.uuid && r.View == nil {
			last = append(last, r)
		}
	}
	if len(last) != 1 || g.at(g.newest(g.copies())[0]) > g.at(last[0]) {
		return GaleraPlan{}, false
	}
	return g.start(last[0], "%s left the cluster last and in order, at %d"), true
}

// together: all members of the newest view are there and went down as its members,
// so that Galera restores the view by itself, with all that any of them has.
func (g galeraCase) together() (GaleraPlan, bool) {
	w := g.view()
	if w == nil || g.Record.Alone {
		return GaleraPlan{}, false
	}
	members := g.crashedIn(*w)
	if len(members) < len(w.Members) || len(members) < 2 {
		return GaleraPlan{}, false
	}
	base := g.at(g.newest(members)[0])
	if g.at(g.newest(g.copies())[0]) > base {
		return GaleraPlan{}, false
	}
	return GaleraPlan{
		Verdict: GaleraTogether, Nodes: names(members), Base: base,
		Why: fmt.Sprintf("all members of the last view went down in it and are here: %s restore it by themselves, the newest at %d", listed(names(members)), base),
	}, true
}

// view returns the newest view of the newest epoch, nil if there is none or if
// two are called the newest.
func (g galeraCase) view() *GaleraView {
	var w *GaleraView
	twice := false
	for _, r := range g.current() {
		switch {
		case r.View == nil:
		case w == nil || r.View.Seq > w.Seq:
			w, twice = r.View, false
		case r.View.Seq == w.Seq && r.View.ID != w.ID:
			twice = true
		}
	}
	if twice {
		return nil
	}
	return w
}

// crashedIn lists the nodes that went down as members of a view, and which Galera
// believes their position when they start as they are.
func (g galeraCase) crashedIn(w GaleraView) []GaleraReport {
	var in []GaleraReport
	for _, r := range g.current() {
		if r.View != nil && r.Saved.UUID == g.uuid && r.View.ID == w.ID && r.View.Seq == w.Seq && slices.Contains(w.Members, r.View.Me) {
			in = append(in, r)
		}
	}
	return in
}

// best: every controller was heard, so the newest copy is known.
func (g galeraCase) best() (GaleraPlan, bool) {
	if len(g.silent) > 0 && !g.accepted() {
		return GaleraPlan{}, false
	}
	return g.begin("all copies are known; %s has the newest, at %d"), true
}

// begin begins with the newest copy that there is. A copy of an older epoch is
// taken only if the operator says so: what was written later is gone with it.
func (g galeraCase) begin(why string) GaleraPlan {
	if c := g.newest(g.copies()); len(c) > 0 {
		return g.start(c[0], why)
	}
	var older []GaleraReport
	for _, r := range g.present {
		if r.holds(g.uuid) {
			older = append(older, r)
		}
	}
	older = g.newest(older)
	slices.SortStableFunc(older, func(a, b GaleraReport) int { return cmp.Compare(b.Epoch, a.Epoch) })
	if len(older) > 0 && g.accepted() {
		return g.start(older[0], "the operator accepts the loss of what is missing; %s has the newest copy that is left, at %d")
	}
	p := GaleraPlan{Verdict: GaleraHalt, Nodes: names(g.present), Table: g.table()}
	if len(older) == 0 {
		p.Why = "the cloud had a database, and no controller has a copy of it any more; restore one of them from a backup"
		return p
	}
	p.Why = "the copies of the newest epoch, " + strconv.FormatUint(g.Record.Epoch, 10) + ", are gone; what is left is older"
	p.Commands = []string{older[0].Node + "# touch " + acceptLoss + "   (goes on with that older copy)"}
	return p
}

func (g galeraCase) start(r GaleraReport, why string) GaleraPlan {
	seqno := g.at(r)
	return GaleraPlan{Verdict: GaleraBootstrap, Nodes: []string{r.Node}, Base: seqno, Why: fmt.Sprintf(why, r.Node, seqno)}
}

// majority: some do not come back. Those that went down as members of the newest
// view and are more than half of it prove that no later primary component existed
// without one of them, as that takes more than half of the view. What can be lost are
// commits that a missing node alone had written when all went down.
func (g galeraCase) majority() (GaleraPlan, bool) {
	w := g.view()
	if w == nil || len(g.late()) > 0 {
		return GaleraPlan{}, false
	}
	here := g.crashedIn(*w)
	if 2*len(here) <= len(w.Members) {
		return GaleraPlan{}, false
	}
	best := g.newest(g.copies())[0]
	return g.start(best, fmt.Sprintf("%s did not answer for %d s; %d of the last view's %d members are here, so the cluster cannot have gone on without them; %%s has their newest copy, at %%d",
		listed(names(g.silent)), g.patience, len(here), len(w.Members))), true
}

// wait waits for the silent nodes, and says how not to.
func (g galeraCase) wait() GaleraPlan {
	why := "they may have commits that nobody else has"
	if len(g.late()) == 0 {
		why = "the cluster may have gone on without the nodes that are here"
	}
	p := g.waitFor(names(g.silent), why)
	if c := g.newest(g.copies()); len(c) > 0 {
		p.Table = g.table()
		p.Commands = []string{c[0].Node + "# touch " + acceptLoss + "   (goes on without " + listed(names(g.silent)) + "; commits that only they have are lost)"}
	}
	return p
}

func (g galeraCase) waitFor(who []string, why string) GaleraPlan {
	return GaleraPlan{Verdict: GaleraWait, Nodes: who, Why: why}
}

func names(reports []GaleraReport) []string {
	var all []string
	for _, r := range reports {
		all = append(all, r.Node)
	}
	return all
}

// GaleraRejoin decides what a stopped node does with its copy before it joins
// the primary component: keep it, when it is a part of the component's history, or
// set it aside, so that a whole new one is sent. The text says why. It is an error
// where the operator must decide.
func GaleraRejoin(r GaleraReport, record GaleraRecord) (keep bool, why string, err error) {
	r.Founding = record.founding(r)
	for _, h := range r.histories() {
		if h != record.UUID && !r.Founding {
			return false, "", fmt.Errorf("the database here has the history %s, the cloud's is %s; if its data may go, move %s away", h, record.UUID, dataDir)
		}
	}
	switch {
	case r.Fresh:
		return true, "there is no database here yet", nil
	case r.Founding:
		return false, "the copy here was made to found a cluster that another node founded", nil
	case r.Partial:
		return false, "an earlier transfer did not come to its end", nil
	case r.Epoch == record.Epoch:
		return true, "the copy here is of the present epoch", nil
	case r.Epoch == record.Prior && r.position().Known() && r.position().Seqno <= record.Base:
		return true, fmt.Sprintf("the copy here ends at %d, before the present epoch began at %d", r.position().Seqno, record.Base), nil
	}
	return false, fmt.Sprintf("the copy here, %s of epoch %d, may hold commits that the cluster went on without", r.position(), r.Epoch), nil
}
