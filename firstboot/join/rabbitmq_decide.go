package join

import "slices"

// A rabbitCluster is the value of the quorum's key "rabbitmq": the one cluster
// of the message queue that counts. Whoever wants another one must replace it
// here first, by its version, so there are never two.
type rabbitCluster struct {
	ID       string   `json:"id"`       // of this formation, random
	Seed     string   `json:"seed"`     // the controller that founds it, alone
	Founded  bool     `json:"founded"`  // the seed runs; from now on others join, and nobody founds
	Members  []string `json:"members"`  // that have joined and have its data on their disks
	Blank    []string `json:"blank"`    // members that came back without the data
	Complete bool     `json:"complete"` // the cluster was given to its users
}

// lost answers whether the data of too many members is gone: Khepri and the
// quorum queues need more than half of the members.
func (c rabbitCluster) lost() bool {
	return c.Founded && 2*(len(c.Members)-len(c.Blank)) <= len(c.Members)
}

// with returns the cluster with a member that has its data.
func (c rabbitCluster) with(name string) rabbitCluster {
	c.Members = append(without(c.Members, name), name)
	slices.Sort(c.Members)
	c.Blank = without(c.Blank, name)
	return c
}

// blanked returns the cluster with a member that lost its data.
func (c rabbitCluster) blanked(name string) rabbitCluster {
	c.Blank = append(without(c.Blank, name), name)
	slices.Sort(c.Blank)
	return c
}

// without returns a copy of a list without a name; nil if nothing is left.
func without(list []string, name string) []string {
	var rest []string
	for _, s := range list {
		if s != name {
			rest = append(rest, s)
		}
	}
	return rest
}

// A rabbitView is what one controller knows when it decides what to do next.
type rabbitView struct {
	self    string
	cluster rabbitCluster // of the quorum; the ID is empty if there is none
	disk    string        // the ID of the formation whose data this disk holds, or empty
	// stuck: the cluster was waited for long enough. What that means is
	// rabbitPatience's; that there is one cluster does not depend on it.
	stuck bool
}

// A rabbitMove is the next thing to do.
type rabbitMove string

const (
	rabbitPropose rabbitMove = "propose" // replace the quorum's value by a new formation with this node as seed
	rabbitFound   rabbitMove = "found"   // run alone as the seed
	rabbitWait    rabbitMove = "wait"    // for the seed
	rabbitConfess rabbitMove = "confess" // tell the quorum that this member's data is gone
	rabbitJoin    rabbitMove = "join"    // with a blank disk, a member that runs
	rabbitPlain   rabbitMove = "start"   // with the data on the disk
)

// rabbitDecide says what comes next. Data of another formation than the
// quorum's is worth nothing: that formation never came to its end, or is lost.
func rabbitDecide(v rabbitView) rabbitMove {
	c := v.cluster
	switch {
	case c.ID == "":
		return rabbitPropose
	case !c.Founded && c.Seed == v.self:
		return rabbitFound
	case !c.Founded && v.stuck:
		return rabbitPropose
	case !c.Founded:
		return rabbitWait
	case v.disk == c.ID:
		return rabbitPlain
	case slices.Contains(c.Members, v.self) && !slices.Contains(c.Blank, v.self):
		return rabbitConfess
	case c.lost() || v.stuck:
		return rabbitPropose
	}
	return rabbitJoin
}

// rabbitWhole answers whether a founded cluster may be given to its users: all
// controllers have joined, or more than half of them and the others are absent.
func rabbitWhole(c rabbitCluster, controllers []string, absent func(name string) bool) bool {
	have := 0
	for _, name := range controllers {
		switch {
		case slices.Contains(c.Members, name) && !slices.Contains(c.Blank, name):
			have++
		case !absent(name):
			return false
		}
	}
	return 2*have > len(controllers)
}
