package qemutests

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

var seedFlag = flag.Uint64("seed", 0, "the seed of the moments at which builds are killed; 0 takes another each time and says which")

// A disturber is one way to end a build, at a moment that chance chooses.
type disturber struct {
	name   string
	signal syscall.Signal
	late   bool // while it writes the artifacts; else within the first half of its time
}

// killed ends builds from outside. Each round begins with an empty cache; a
// build goes on from what the one before left, as it does after a real kill.
func (d *disturbance) killed(t *testing.T) {
	seed := *seedFlag
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("the moments of this run come again with -seed %d", seed)
	chance := rand.New(rand.NewPCG(seed, 0))
	kill, late, interrupt := disturber{"kill -9", syscall.SIGKILL, false}, disturber{"kill -9, late", syscall.SIGKILL, true}, disturber{"Ctrl-C", syscall.SIGINT, false}
	for n, round := range [][]disturber{
		{kill, kill, interrupt, kill, late},
		{kill, kill, kill, late, {"Ctrl-C, late", syscall.SIGINT, true}},
	} {
		t.Run(fmt.Sprint("round ", n+1), func(t *testing.T) {
			dir := t.TempDir()
			cache, out := filepath.Join(dir, "cache"), filepath.Join(dir, "out")
			d.packages(t, cache)
			if n > 0 { // artifacts of an earlier build are there
				oracle(t, "cp", "-a", d.oldDir, out)
			}
			for _, how := range round {
				d.disturb(t, chance, how, cache, out)
				d.checkOut(t, out)
			}
			d.mustBeRight(t, cache, out)
		})
	}
}

// disturb starts a build and ends it by a signal.
func (d *disturbance) disturb(t *testing.T, chance *rand.Rand, how disturber, cache, out string) {
	t.Helper()
	r := d.start(t, cache, out)
	moment := time.Duration(chance.Float64() * float64(d.took) / 2)
	if how.late {
		moment = time.Duration(chance.Float64() * float64(d.late))
		r.waitForArtifacts(t, out)
	}
	select {
	case <-time.After(moment):
	case err := <-r.done: // it was too quick
		r.done <- err
	}
	after := time.Since(r.started)
	// The process, not its group: what it started must end by itself.
	if err := r.cmd.Process.Signal(how.signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Fatal(err)
	}
	e := r.end(t)
	t.Logf("%s after %.2f s of the build ended it %.2f s later, with exit code %d", how.name, after.Seconds(), (e.took - after).Seconds(), e.code)
	if how.signal != syscall.SIGINT || e.code == 0 {
		return
	}
	e.mustFail(t, 130, "interrupted; nothing half-written is left")
	for _, name := range listDir(t, out) {
		if strings.HasPrefix(name, ".") {
			t.Errorf("Ctrl-C left %s in the output directory", name)
		}
	}
}

// waitForArtifacts waits until the build writes into out, or ends.
func (r *running) waitForArtifacts(t *testing.T, out string) {
	t.Helper()
	for {
		for _, name := range listDir(t, out) {
			if strings.HasPrefix(name, ".") && r.since(filepath.Join(out, name)) {
				return
			}
		}
		select {
		case err := <-r.done:
			r.done <- err
			return
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// since says whether the file is of this build, not of one that was killed.
func (r *running) since(path string) bool {
	st, err := os.Stat(path)
	return err == nil && st.ModTime().After(r.started)
}
