package quorum

import (
	"testing"
)

func TestThreeForm(t *testing.T) {
	c := newControllers(t, 3)
	c.start("ctl1", "ctl2", "ctl3")
	c.formed("ctl1", "ctl2", "ctl3")
	if !c.put("ctl1", "a", "1", 0) {
		t.Error("the first put of a key was refused")
	}
	for _, name := range c.names {
		if v, n := c.get(name, "a"); v != "1" || n != 1 {
			t.Errorf("%s reads %q, version %d", name, v, n)
		}
	}
	if c.put("ctl2", "a", "2", 0) {
		t.Error("a put over a version that is gone was done")
	}
	if !c.put("ctl3", "a", "2", 1) {
		t.Error("a put over the right version was refused")
	}
}
