package rings

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func device(zone int, address, name string, weight float64) Device {
	return Device{Zone: zone, Address: netip.MustParseAddr(address), Name: name, Weight: weight}
}

func plan(devices ...Device) Plan {
	return Plan{PartPower: 10, Replicas: 2, MinPartHours: 1, Ports: map[string]int{"account": 6202, "container": 6201, "object": 6200}, Devices: devices}
}

// TestCommands shows what is asked of swift-ring-builder; image tests run the
// real one.
func TestCommands(t *testing.T) {
	first := plan(device(1, "10.0.0.1", "d1", 100), device(2, "10.0.0.2", "d1", 100))
	second := plan(device(1, "10.0.0.1", "d1", 50), device(3, "10.0.0.2", "d1", 100), device(2, "fd00::3", "d1", 100))
	second.Replicas = 3
	for _, c := range []struct {
		name string
		old  Version
		to   Plan
		want string
	}{
		{"new", Version{}, first, "create 10 2 1\nadd r1z1-10.0.0.1:6200/d1 100\nadd r1z2-10.0.0.2:6200/d1 100\nrebalance --seed trivet\n"},
		{
			"change",
			Version{Number: 1, Plan: first},
			second,
			"set_replicas 3\nremove r1z2-10.0.0.2:6200/d1 --yes\nset_weight r1z1-10.0.0.1:6200/d1 50 --yes\nadd r1z3-10.0.0.2:6200/d1 100\nadd r1z2-[fd00::3]:6200/d1 100\nrebalance --seed trivet\n",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got strings.Builder
			for _, args := range commands("object", c.old, c.to) {
				fmt.Fprintln(&got, strings.Join(args, " "))
			}
			if diff := cmp.Diff(c.want, got.String()); diff != "" {
				t.Errorf("commands (-want +got):\n%s", diff)
			}
		})
	}
}

// recorder stands for swift-ring-builder where only this package's own part is
// looked at: versions, and what a failure leaves.
type recorder struct {
	exit  func(args []string) int
	calls int
}

func (r *recorder) run(_ context.Context, dir string, out io.Writer, args ...string) (int, error) {
	r.calls++
	exit := 0
	if r.exit != nil {
		exit = r.exit(args)
	}
	fmt.Fprintf(out, "said of %s", args[2])
	name := strings.TrimSuffix(args[1], ".builder")
	if err := os.WriteFile(filepath.Join(dir, args[1]), []byte(name), 0o644); err != nil {
		return 0, err
	}
	return exit, os.WriteFile(filepath.Join(dir, name+".ring.gz"), []byte(name), 0o644)
}

func TestUpdateKeepsVersions(t *testing.T) {
	dir, r := t.TempDir(), &recorder{exit: func(args []string) int {
		if args[2] == "rebalance" {
			return 1
		}
		return 0
	}}
	one, changed, err := Update(t.Context(), dir, plan(device(1, "10.0.0.1", "d1", 1), device(2, "10.0.0.2", "d1", 1)), r.run)
	if err != nil || !changed || one.Number != 1 {
		t.Fatalf("first: %+v, %v, %v", one, changed, err)
	}
	if diff := cmp.Diff([]string{"account: said of rebalance", "container: said of rebalance", "object: said of rebalance"}, one.Said); diff != "" {
		t.Errorf("warnings (-want +got):\n%s", diff)
	}
	calls := r.calls
	if _, changed, err := Update(t.Context(), dir, plan(device(2, "10.0.0.2", "d1", 1), device(1, "10.0.0.1", "d1", 1)), r.run); err != nil || changed || r.calls != calls {
		t.Errorf("the same devices in another order: changed %v, %v, %d calls", changed, err, r.calls-calls)
	}
	two, changed, err := Update(t.Context(), dir, plan(device(1, "10.0.0.1", "d1", 2), device(2, "10.0.0.2", "d1", 1)), r.run)
	if err != nil || !changed || two.Number != 2 {
		t.Fatalf("second: %+v, %v, %v", two, changed, err)
	}
	if _, err := os.Stat(filepath.Join(one.Dir, "object.builder")); err != nil {
		t.Errorf("the first version's builder: %v", err)
	}
}

func TestUpdateLeavesNothingHalf(t *testing.T) {
	dir := t.TempDir()
	devices := plan(device(1, "10.0.0.1", "d1", 1), device(2, "10.0.0.2", "d1", 1))
	broken := &recorder{exit: func(args []string) int {
		if args[1] == "object.builder" {
			return 2
		}
		return 0
	}}
	if _, _, err := Update(t.Context(), dir, devices, broken.run); err == nil || !strings.Contains(err.Error(), "object ring") {
		t.Fatalf("error %v, want one of the object ring", err)
	}
	if found, _ := filepath.Glob(filepath.Join(dir, "rings-*")); len(found) > 0 {
		t.Errorf("left %v", found)
	}
	if v, _, err := Update(t.Context(), dir, devices, (&recorder{}).run); err != nil || v.Number != 1 {
		t.Errorf("after the failure: version %d, %v", v.Number, err)
	}
	devices.PartPower = 12
	if _, _, err := Update(t.Context(), dir, devices, (&recorder{}).run); err == nil || !strings.Contains(err.Error(), "part power") {
		t.Errorf("another part power: %v", err)
	}
}

func TestCheckPlan(t *testing.T) {
	ok := device(1, "10.0.0.1", "d1", 1)
	for name, p := range map[string]Plan{
		"too few devices": plan(ok), "the same twice": plan(ok, ok), "no zone": plan(ok, device(0, "10.0.0.2", "d1", 1)),
		"no weight": plan(ok, device(1, "10.0.0.2", "d1", 0)), "a path": plan(ok, device(1, "10.0.0.2", "a/b", 1)),
	} {
		if _, _, err := Update(t.Context(), t.TempDir(), p, (&recorder{}).run); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}
