package quorum

import "slices"

// A change is one step of a cluster's configuration.
type change struct {
	Add    string // identity to add as a voter, or
	Remove string // identity to remove
}

// admission says the next step to let in the disk id of a declared controller,
// given the voters: the zero change means that it is in. Names are of all
// declared controllers.
//
// The disk that the controller had before goes first. So that a majority stays
// one of the declared controllers, nothing goes while another place is empty.
func admission(voters, names []string, id string) change {
	if slices.Contains(voters, id) {
		return change{}
	}
	for _, name := range names {
		if name != nameOf(id) && !slices.ContainsFunc(voters, func(v string) bool { return nameOf(v) == name }) {
			return change{Add: identity(name, absent)}
		}
	}
	if i := slices.IndexFunc(voters, func(v string) bool { return nameOf(v) == nameOf(id) }); i >= 0 {
		return change{Remove: voters[i]}
	}
	return change{Add: id}
}

func (c change) String() string {
	if c.Remove != "" {
		return c.Remove + " goes"
	}
	return c.Add + " comes"
}
