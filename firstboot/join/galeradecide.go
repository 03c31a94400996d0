package join

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// How the controllers of a cloud decide what to do with its database.
//
// No action is taken here: GaleraDecide looks at what the nodes report and at
// the quorum's record, so that `trivet simulate` and the model test run the very
// code that nodes run.
//
// Three rules carry all others:
//
//   - Whoever makes a component primary without joining one that is — by founding, by
//     bootstrap, by restoring the last view — writes an intent with a new epoch into
//     the record first, and starts read-only. It takes writes only when the record
//     holds the epoch as its own. So no write is acknowledged in an epoch that
//     the quorum does not know, and an intent whose node died can be given to another.
//   - Each node remembers the epoch in which it was a member last. A copy of the epoch
//     before counts as a part of the new history only up to the position with which
//     the new epoch began (GaleraRecord.Base); beyond it, it may differ under the same
//     UUID and sequence numbers, so it is set aside and made anew. A server that still
//     runs in an older epoch cannot join by itself: each epoch has its own
//     wsrep_cluster_name.
//   - UUIDs come before sequence numbers: a copy of another history is never
//     compared, only named to the operator.

// GaleraPatience is how long a controller that does not answer is waited for
// before the others may go on without it, where that is safe. Machines that get
// power at the same moment differ by less than this in firmware and boot; what
// is waited for is their newest commits, what the wait costs is the cloud's
// downtime after a real loss of a controller.
const GaleraPatience = 2 * time.Minute

// What GaleraDecide can say.
const (
	GaleraFound     = "found"     // Nodes[0] makes a new database and begins the cluster
	GaleraJoin      = "join"      // a primary component exists: the others join it, one at a time
	GaleraTogether  = "together"  // Nodes start as they are and restore their last view
	GaleraBootstrap = "bootstrap" // Nodes[0] begins the cluster again with its copy
	GaleraWait      = "wait"      // for Nodes
	GaleraHalt      = "halt"      // the operator must decide; Nodes are those that differ
)

// What a node can be.
const (
	GaleraRunning = "running" // mariadbd runs, or is being started or stopped by systemd
	GaleraStopped = "stopped" // mariadbd is down, and the report tells all of its copy
	GaleraBusy    = "busy"    // its agent is at work; What says with what
	GaleraSilent  = "silent"  // its agent does not answer
)

// A GaleraSituation is all that a decision rests on.
type GaleraSituation struct {
	Controllers []string       `json:"controllers"` // all of the cloud, in its order
	Record      GaleraRecord   `json:"record"`
	Reports     []GaleraReport `json:"reports"` // one a controller; one that is missing is silent for no time yet
	// PatienceSeconds is how long silent nodes are waited for; GaleraPatience if 0.
	PatienceSeconds int `json:"patience_seconds,omitempty"`
}

// A GaleraRecord is what the quorum knows about the database, its key "mariadb".
type GaleraRecord struct {
	UUID   string `json:"uuid,omitempty"` // of the history; empty before the first cluster
	Formed bool   `json:"formed"`         // there is a cluster; it is never founded again
	// Epoch counts how often a component became primary by decision. In the newest
	// one, the history of the epoch Prior went on from Base: up to there, copies of
	// that epoch are a part of it, and nothing is known of them beyond.
	Epoch  uint64        `json:"epoch"`
	Prior  uint64        `json:"prior"`
	Base   int64         `json:"base"`
	Tried  uint64        `json:"tried"` // the newest epoch of any intent
	Intent *GaleraIntent `json:"intent,omitempty"`
	// Alone says that the last view did not come back by itself, so that one node
	// must begin.
	Alone bool `json:"alone,omitempty"`
}

// A GaleraIntent is a start that was decided and is not recorded as done.
type GaleraIntent struct {
	Verdict string   `json:"verdict"` // GaleraFound, GaleraBootstrap or GaleraTogether
	Nodes   []string `json:"nodes"`
	Epoch   uint64   `json:"epoch"`
	Base    int64    `json:"base"`
}

// A GaleraReport is what one node tells about itself.
type GaleraReport struct {
	Node          string `json:"node"`
	State         string `json:"state"`
	What          string `json:"what,omitempty"`
	SilentSeconds int    `json:"silent_seconds,omitempty"`
	Answers       bool   `json:"answers,omitempty"` // silent, but something answers on its port of Galera

	// While it runs.
	Primary bool   `json:"primary,omitempty"` // in a primary component
	Member  string `json:"member,omitempty"`  // Galera's word, such as Synced or Donor/Desynced
	UUID    string `json:"uuid,omitempty"`    // of the component's history

	// While it is stopped.
	Fresh     bool           `json:"fresh,omitempty"`   // there is no database
	Partial   bool           `json:"partial,omitempty"` // a state transfer ended in its middle
	Saved     GaleraPosition `json:"saved"`             // grastate.dat's
	Safe      bool           `json:"safe,omitempty"`    // its safe_to_bootstrap
	View      *GaleraView    `json:"view,omitempty"`    // gvwstate.dat's; nil: it left in order, or lost it
	Recovered GaleraPosition `json:"recovered"`         // InnoDB's own
	Tainted   bool           `json:"tainted,omitempty"` // prepared transactions had to be rolled back

	Epoch uint64 `json:"epoch,omitempty"` // in which it was a member last
	// From is the sequence number with which it entered the epoch. If the epoch was
	// not recorded, what follows is no commit of the cloud's, but Galera's own count of
	// its views.
	From       int64 `json:"from,omitempty"`
	Founding   bool  `json:"founding,omitempty"`    // its copy was made to found a cluster, which was never recorded
	AcceptLoss bool  `json:"accept_loss,omitempty"` // the operator wants to go on with the copies that are there
}

// A GaleraPlan is a decision.
type GaleraPlan struct {
	Verdict  string   `json:"verdict"`
	Nodes    []string `json:"nodes,omitempty"`
	Base     int64    `json:"base"`               // from which history goes on
	Why      string   `json:"why"`                // in words
	Table    []string `json:"table,omitempty"`    // what each node has, where the operator must look
	Commands []string `json:"commands,omitempty"` // for the operator, each with the node to run it on
}

// position is the last commit of a copy that is stopped.
func (r GaleraReport) position() GaleraPosition {
	if r.Recovered.Known() {
		return r.Recovered
	}
	return r.Saved
}

// histories are the UUIDs that a report names, without the null one.
func (r GaleraReport) histories() []string {
	var all []string
	for _, u := range []string{r.UUID, r.Saved.UUID, r.Recovered.UUID} {
		if u != "" && u != noUUID && !slices.Contains(all, u) {
			all = append(all, u)
		}
	}
	return all
}

// holds answers whether a stopped node has a copy that may be begun with.
func (r GaleraReport) holds(uuid string) bool {
	return r.State == GaleraStopped && !r.Fresh && !r.Partial && !r.Founding && r.position().Known() && r.position().UUID == uuid
}

// founding answers whether a copy was made to found a cluster that was not
// recorded. The mark outlives the record by a moment.
func (record GaleraRecord) founding(r GaleraReport) bool {
	return r.Founding && !(record.Formed && slices.Equal(r.histories(), []string{record.UUID}))
}

// GaleraDecide decides. It expects a situation that Check calls sound.
func GaleraDecide(s GaleraSituation) GaleraPlan {
	g := galeraTable(s)
	for _, rule := range []func() (GaleraPlan, bool){
		g.strangers, g.resume, g.primary, g.running, g.found, g.leftLast, g.together, g.best, g.majority,
	} {
		if plan, ok := rule(); ok {
			return plan
		}
	}
	return g.wait()
}

// A galeraCase is a situation, sorted for the rules.
type galeraCase struct {
	GaleraSituation
	uuid     string // of the history, as far as it is known
	patience int    // seconds
	silent   []GaleraReport
	present  []GaleraReport // the others, in the order of the controllers
}

func galeraTable(s GaleraSituation) galeraCase {
	g := galeraCase{GaleraSituation: s, uuid: s.Record.UUID, patience: s.PatienceSeconds}
	if g.patience == 0 {
		g.patience = int(GaleraPatience / time.Second)
	}
	for _, name := range s.Controllers {
		i := slices.IndexFunc(s.Reports, func(r GaleraReport) bool { return r.Node == name })
		switch {
		case i < 0:
			g.silent = append(g.silent, GaleraReport{Node: name, State: GaleraSilent})
		case s.Reports[i].State == GaleraSilent:
			g.silent = append(g.silent, s.Reports[i])
		default:
			r := s.Reports[i]
			r.Founding = s.Record.founding(r)
			g.present = append(g.present, r)
		}
	}
	if g.uuid == "" { // data from before the quorum: one history can be adopted
		for _, r := range g.present {
			if h := r.histories(); len(h) > 0 && !r.Founding && g.uuid == "" {
				g.uuid = h[0]
			}
		}
	}
	return g
}

// strangers: a copy of another history stops everything. Where a primary component
// runs, only its own node stays away (GaleraRejoin).
func (g galeraCase) strangers() (GaleraPlan, bool) {
	var odd []string
	for _, r := range g.present {
		// What was made to found a cluster and never was one is nobody's data.
		if !r.Founding && slices.ContainsFunc(r.histories(), func(h string) bool { return h != g.uuid }) {
			odd = append(odd, r.Node)
		}
	}
	if _, lives := g.primary(); lives || len(odd) == 0 {
		return GaleraPlan{}, false
	}
	why := fmt.Sprintf("%s %s a database of another history than the cloud's, %s; nobody can tell by numbers which is right", listed(odd), has(odd), g.uuid)
	p := GaleraPlan{Verdict: GaleraHalt, Nodes: odd, Why: why, Table: g.table()}
	for _, n := range odd {
		p.Commands = append(p.Commands, fmt.Sprintf("%s# mv %s %s.stranger   (only if its data may go: the node then takes a copy from the others)", n, dataDir, dataDir))
	}
	return p, true
}

// founding answers whether a node is the one that founds the cluster: its new
// UUID is not in the record yet.
func (g galeraCase) founding(node string) bool {
	i := g.Record.Intent
	return !g.Record.Formed && i != nil && i.Verdict == GaleraFound && i.Nodes[0] == node
}

// resume: who is named in an intent and is alive goes on with it, and nobody
// else does anything meanwhile.
func (g galeraCase) resume() (GaleraPlan, bool) {
	i := g.Record.Intent
	if i == nil {
		return GaleraPlan{}, false
	}
	what := fmt.Sprintf("epoch %d was decided (%s)", i.Epoch, inWords(i.Verdict, i.Nodes))
	for _, r := range g.present {
		// One that stopped again is a copy like any other: nothing was acknowledged.
		if !slices.Contains(i.Nodes, r.Node) || r.State != GaleraRunning {
			continue
		}
		if why, ok := g.overtaken(*i); ok {
			return g.waitFor([]string{r.Node}, what+", but "+why+"; its server stops by itself"), true
		}
		return GaleraPlan{Verdict: i.Verdict, Nodes: i.Nodes, Base: i.Base, Why: what}, true
	}
	for _, r := range g.silent {
		if slices.Contains(i.Nodes, r.Node) && !g.given(r) && !g.accepted() {
			return g.waitFor([]string{r.Node}, what+", and it does not answer"), true
		}
	}
	return GaleraPlan{}, false
}

// overtaken answers whether an intent is no longer the best that can be done: a better
// copy came, or a member of the view that was to be restored lost its copy.
func (g galeraCase) overtaken(i GaleraIntent) (why string, ok bool) {
	if better := g.newest(g.copies()); len(better) > 0 && g.at(better[0]) > i.Base {
		return fmt.Sprintf("from %d, and %s has more, %d", i.Base, better[0].Node, g.at(better[0])), true
	}
	for _, r := range g.present {
		gone := r.State == GaleraStopped && (r.View == nil || !r.holds(g.uuid))
		if i.Verdict == GaleraTogether && slices.Contains(i.Nodes, r.Node) && gone {
			return r.Node + " lost its copy or its view", true
		}
	}
	return "", false
}

// given answers whether a silent node was waited for long enough.
func (g galeraCase) given(r GaleraReport) bool { return r.SilentSeconds >= g.patience && !r.Answers }

// accepted answers whether the operator said to go on with what is there.
func (g galeraCase) accepted() bool {
	return slices.ContainsFunc(g.present, func(r GaleraReport) bool { return r.AcceptLoss })
}

func (g galeraCase) primary() (GaleraPlan, bool) {
	var in []string
	for _, r := range g.present {
		if r.State == GaleraRunning && r.Primary && r.UUID == g.Record.UUID && g.Record.Formed {
			in = append(in, r.Node)
		}
	}
	return GaleraPlan{Verdict: GaleraJoin, Nodes: in, Why: fmt.Sprintf("%s %s in the primary component; the others join it, one at a time", listed(in), be(in))}, len(in) > 0
}

// running: members without a primary component may still find each other; their
// agents stop them when they do not. A node that is at work is waited for too.
func (g galeraCase) running() (GaleraPlan, bool) {
	var who, what []string
	for _, r := range g.present {
		switch {
		case r.State == GaleraBusy:
			who, what = append(who, r.Node), append(what, cmp.Or(r.What, "is at work"))
		case r.State == GaleraRunning:
			who, what = append(who, r.Node), append(what, "runs outside of a primary component")
		}
	}
	if len(who) == 0 {
		return GaleraPlan{}, false
	}
	for i := range who {
		what[i] = who[i] + " " + what[i]
	}
	return g.waitFor(who, strings.Join(what, ", ")), true
}

// table lists what each node has.
func (g galeraCase) table() []string {
	var lines []string
	for _, r := range slices.Concat(g.present, g.silent) {
		lines = append(lines, r.Node+": "+r.describe())
	}
	slices.Sort(lines)
	return lines
}

func (r GaleraReport) describe() string {
	switch {
	case r.State == GaleraSilent:
		return fmt.Sprintf("does not answer since %d s", r.SilentSeconds)
	case r.State == GaleraBusy:
		return cmp.Or(r.What, "is at work")
	case r.State == GaleraRunning:
		return fmt.Sprintf("runs, %s, history %s, primary: %t", cmp.Or(r.Member, "state unknown"), cmp.Or(r.UUID, "unknown"), r.Primary)
	case r.Fresh:
		return "no database"
	}
	text := fmt.Sprintf("saved %s, recovered %s, epoch %d", r.Saved, r.Recovered, r.Epoch)
	for _, mark := range []struct {
		is   bool
		text string
	}{
		{r.Safe, "left last"},
		{r.View != nil, "went down as a member"},
		{r.Tainted, "prepared transactions rolled back"},
		{r.Partial, "an unfinished state transfer"},
		{r.Founding, "made to found a cluster"},
	} {
		if mark.is {
			text += ", " + mark.text
		}
	}
	return text
}

func inWords(verdict string, nodes []string) string {
	switch verdict {
	case GaleraFound:
		return listed(nodes) + " founds the cluster"
	case GaleraBootstrap:
		return listed(nodes) + " begins the cluster again"
	}
	return listed(nodes) + " restore their last view"
}

func listed(names []string) string { return strings.Join(names, ", ") }

func be(names []string) string {
	if len(names) == 1 {
		return "is"
	}
	return "are"
}

func has(names []string) string {
	if len(names) == 1 {
		return "has"
	}
	return "have"
}
