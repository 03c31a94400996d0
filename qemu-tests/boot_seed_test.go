package qemutests

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"trivet/qemu-tests/cluster"
)

// TestBootWithMalformedSeedChangesNothing gives a node a description with a
// misspelt key. It must say file, line and column on its console, wait, and
// have written nothing of it; with the seed put right it goes on as if new.
func TestBootWithMalformedSeedChangesNothing(t *testing.T) {
	c, l := machines(t, "storage"), newLab(t)
	o := l.options(c, "storage", cluster.Virtio)
	good := o.Seed
	o.Seed.UserData = strings.Replace(good.UserData, "\ncontrollers:", "\ncontrolers:", 1)
	where := regexp.MustCompile(`user-data:7:1: .*controlers`)
	o.Expect = []*regexp.Regexp{where, regexp.MustCompile(`trivet: describe failed: `)}
	n := c.AddNode("storage", o)
	n.Start()
	n.WaitRecord(readyTime, "a record about the seed's mistake", func(r cluster.Record) bool {
		return (r.State == "failed" || r.State == "waiting") && where.MatchString(r.Message)
	})
	t.Log(n.WaitConsole(shellTime, where))
	time.Sleep(c.Bound(5 * time.Second)) // in which a node that goes on regardless would show
	for _, r := range n.Records() {
		if r.Step != "describe" && r.Step != "agent" && !strings.HasPrefix(r.Step, "initrd-") {
			t.Errorf("the node went on with a malformed seed: %v", r)
		}
	}
	n.Stop(stopTime)
	disk := unpackDisk(t, n)
	if found := ext4Files(t, disk, "var", "/lib/trivet/description"); len(found) > 0 {
		t.Errorf("/var/lib/trivet/description holds %q after a boot with a malformed seed", found)
	}
	n.SetSeed(good)
	n.Start()
	n.WaitRecord(readyTime, "a rendered configuration", func(r cluster.Record) bool { return r.Step == "render" && r.State == "done" })
}
