package quorum

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// A greeting is what a controller tells of itself, and asks of others.
type greeting struct {
	Cloud       string    `json:"cloud"`
	Controllers string    `json:"controllers"` // digest of their names
	Self        string    `json:"self"`        // identity
	Nonce       string    `json:"nonce"`       // of the ticket with which it may form; empty: it can only join
	Founding    *founding `json:"founding"`    // of the cluster to which it belongs; null: to none
	Leader      string    `json:"leader"`      // name, empty if it knows none
}

// A seen is what is known of another controller.
type seen struct {
	Name     string
	Greeting *greeting     // of this round; nil: no answer
	Away     time.Duration // for how long it was not among those who could form
}

// A situation is all that a blank controller decides by.
type situation struct {
	Own     greeting
	Names   []string // of all controllers, sorted
	NoForm  string   // why this node may not form, if it may not
	Peers   []seen   // all but this one
	Silence time.Duration
	Waited  time.Duration // for how long this node has left the proposal to another
	Turn    time.Duration // and after which the next one may propose
}

// What a blank controller does.
type action int

const (
	stay    action = iota // look again
	join                  // ask the leader of the cluster to be let in
	found                 // this node was of the set that was chosen
	propose               // propose the set
)

// A decision is what to do, and what to tell about it.
type decision struct {
	Do       action
	Founding *founding // for found
	Present  []string  // identities of those who can form, for propose
	There    []string  // and of all blank disks that answered
	Others   bool      // another one is to propose
	Why      string    // what is waited for
	Conflict bool      // an operator must mend it
}

// decide says what a blank controller does next.
func decide(s situation) decision {
	if d, ok := conflictOf(s); ok {
		return d
	}
	if d, ok := existing(s); ok {
		return d
	}
	if s.NoForm != "" {
		return decision{Why: "a controller that belongs to the cluster: this one may only join, since " + s.NoForm}
	}
	return form(s)
}

// conflictOf finds what can only be a mistake.
func conflictOf(s situation) (decision, bool) {
	for _, p := range s.Peers {
		g := p.Greeting
		switch {
		case g == nil:
			continue
		case g.Cloud != s.Own.Cloud:
			return conflict("%s is of the cloud %s, this is of %s", p.Name, g.Cloud, s.Own.Cloud), true
		case g.Founding == nil && g.Controllers != s.Own.Controllers:
			return conflict("%s was told of other controllers than %s", p.Name, strings.Join(s.Names, ", ")), true
		}
	}
	return decision{}, false
}

func conflict(format string, args ...any) decision {
	return decision{Conflict: true, Why: "an operator, since " + fmt.Sprintf(format, args...)}
}

// existing finds a cluster that there is already.
func existing(s situation) (decision, bool) {
	var clusters []founding
	for _, p := range s.Peers {
		if g := p.Greeting; g != nil && g.Founding != nil && !slices.ContainsFunc(clusters, func(f founding) bool { return f.equal(*g.Founding) }) {
			clusters = append(clusters, *g.Founding)
		}
	}
	switch {
	case len(clusters) == 0:
		return decision{}, false
	case len(clusters) == 1 && slices.Contains(clusters[0].Servers, s.Own.Self):
		return decision{Do: found, Founding: &clusters[0]}, true
	}
	// Of two clusters at most one has a leader, who alone lets in.
	return decision{Do: join, Why: "the leader of the cluster to let this node in"}, true
}

// form decides among blank controllers.
func form(s situation) decision {
	present, there, missing := []string{s.Own.Self}, []string{s.Own.Self}, []string(nil)
	quiet := true
	for _, p := range s.Peers {
		g := p.Greeting
		if g != nil {
			there = append(there, g.Self)
		}
		switch {
		case g != nil && g.Nonce != "" && g.Nonce != s.Own.Nonce:
			return conflict("%s has another formation ticket than this node; give all controllers bundles that were made together", p.Name)
		case g != nil && g.Nonce == s.Own.Nonce:
			present = append(present, g.Self)
		default:
			missing = append(missing, p.Name)
			quiet = quiet && p.Away >= s.Silence
		}
	}
	slices.SortFunc(present, func(a, b string) int { return strings.Compare(nameOf(a), nameOf(b)) })
	switch {
	case len(present) < majority(len(s.Names)):
		return decision{Why: fmt.Sprintf("%s: a majority of the controllers is needed, %d of %d", strings.Join(missing, ", "), majority(len(s.Names)), len(s.Names))}
	case !quiet:
		return decision{Why: fmt.Sprintf("%s, for up to %s, before the others begin without", strings.Join(missing, ", "), s.Silence)}
	}
	// All see the same set, so one is enough to propose it. If it does not, the
	// next one does: no harm comes of two.
	place := slices.Index(present, s.Own.Self)
	if s.Waited < time.Duration(place)*s.Turn {
		return decision{Others: true, Why: "the proposal of " + nameOf(present[0])}
	}
	return decision{Do: propose, Present: present, There: there, Others: place > 0, Why: "the agreement on who founds the cluster"}
}
