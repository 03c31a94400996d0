package qemutests

import (
	"flag"
	"math/rand/v2"
	"testing"
	"time"

	"trivet/qemu-tests/nspawn"
)

var roundsFlag = flag.Int("rounds", 3, "pull the power of a whole cloud so `often`")

// TestCloudKeepsItsPromises pulls the power of all controllers at once, again and
// again, at random moments of the load, and boots them in a random order and
// with random skew. What was acknowledged in any round must be there at the end.
func TestCloudKeepsItsPromises(t *testing.T) {
	c := newCloud(t)
	seed := *seedFlag
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("the rounds have the seed %d (-seed)", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	c.start(0, c.nodes...)
	c.waitReady()
	l := c.work()
	l.flows(time.Minute)
	for round := range *roundsFlag {
		time.Sleep(time.Duration(random.Int64N(int64(8 * time.Second))))
		l.begin()
		c.killAll()
		order := random.Perm(len(c.nodes))
		skew := time.Duration(random.Int64N(int64(10 * time.Second)))
		began := time.Now()
		c.start(skew, pick(c.nodes, order)...)
		took := c.tokenAfter(began, readyLimit)
		l.flows(3 * time.Minute)
		t.Logf("round %d: started in the order %v with %.1f s between: a token after %.1f s", round+1, order, skew.Seconds(), took.Seconds())
		if round%3 == 0 { // else the next cut comes while they still come back
			c.waitReady()
		}
	}
	c.waitReady()
	c.whole()
	l.kept(t)
}

func pick(nodes []*nspawn.Node, order []int) []*nspawn.Node {
	var picked []*nspawn.Node
	for _, i := range order {
		picked = append(picked, nodes[i])
	}
	return picked
}
