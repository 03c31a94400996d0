package quorum

import (
	"math/rand/v2"
	"slices"
	"testing"
)

func TestAdmission(t *testing.T) {
	names := []string{"a", "b", "c"}
	for _, c := range []struct {
		what   string
		voters []string
		id     string
		want   change
	}{
		{"is in", []string{"a/1", "b/1", "c/1"}, "c/1", change{}},
		{"the old disk goes", []string{"a/1", "b/1", "c/1"}, "c/2", change{Remove: "c/1"}},
		{"the place of one who was never there", []string{"a/1", "b/1", "c/absent"}, "c/2", change{Remove: "c/absent"}},
		{"the new disk comes", []string{"a/1", "b/1"}, "c/2", change{Add: "c/2"}},
		{"another place is empty", []string{"a/1", "b/1"}, "b/2", change{Add: "c/absent"}},
	} {
		if got := admission(c.voters, names, c.id); got != c.want {
			t.Errorf("%s: %v, want %v", c.what, got, c.want)
		}
	}
}

// TestAdmissionKeepsMajorities lets many in at once, each a step at a time.
func TestAdmissionKeepsMajorities(t *testing.T) {
	names := []string{"a", "b", "c", "d", "e"}
	r := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		voters := servers(names, []string{"a/0", "b/0", "c/0"})
		for range 30 {
			id := identity(names[r.IntN(5)], string(rune('0'+r.IntN(3))))
			switch c := admission(voters, names, id); {
			case c.Remove != "":
				voters = slices.DeleteFunc(voters, func(v string) bool { return v == c.Remove })
			case c.Add != "":
				voters = append(voters, c.Add)
			}
			distinct := map[string]bool{}
			for _, v := range voters {
				distinct[nameOf(v)] = true
			}
			if len(distinct) != len(voters) || majority(len(voters)) != majority(len(names)) {
				t.Fatalf("a majority of %v is none of %v", voters, names)
			}
		}
	}
}
