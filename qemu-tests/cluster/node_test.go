package cluster_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"trivet/qemu-tests/cluster"
)

const readyRecord = `record {"node":"ctl1","step":"ready","state":"ready","message":"all is well","fields":{"machine_id":"abc"}}` + "\n"

// fakeNode runs test on a node of the fake QEMU and returns what the harness
// said, and whether it failed the test.
func fakeNode(t *testing.T, script string, o cluster.NodeOptions, test func(*cluster.Node)) (said string, failed bool) {
	t.Helper()
	fakePrograms(t, script)
	dir := t.TempDir()
	fw := cluster.Firmware{Code: filepath.Join(dir, "code"), Vars: filepath.Join(dir, "vars")}
	for _, path := range []string{fw.Code, fw.Vars} {
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := &strictT{TB: t}
	said = s.during(func() {
		c := cluster.New(s, cluster.Options{
			Images: dir, Firmware: fw, Logs: filepath.Join(dir, "logs"), Accel: cluster.Accel{Name: "tcg", CPU: "max", Thread: "multi", Scale: 1},
		})
		test(c.AddNode("controller", o))
	})
	return said, s.failed
}

func TestNodeBecomesReadyAndStops(t *testing.T) {
	said, failed := fakeNode(t, "console [ 1.0] hello\n"+readyRecord, cluster.NodeOptions{}, func(n *cluster.Node) {
		for range 2 {
			n.Start()
			if r := n.WaitReady(10 * time.Second); r.Field("machine_id") != "abc" {
				t.Errorf("ready record = %+v, want machine_id abc", r)
			}
			n.WaitConsole(10*time.Second, regexp.MustCompile("hello"))
			if got := n.Address("10.0.2.100", 5000); got != "127.0.0.1:4242" {
				t.Errorf("Address = %s, want 127.0.0.1:4242", got)
			}
			n.Stop(10 * time.Second)
		}
	})
	if failed {
		t.Errorf("the harness failed the test: %s", said)
	}
}

func TestNodeForgetsTheBootBefore(t *testing.T) {
	allowed := filepath.Join(t.TempDir(), "go")
	let := func() {
		if err := os.WriteFile(allowed, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	let()
	said, failed := fakeNode(t, "await "+allowed+"\n"+readyRecord, cluster.NodeOptions{}, func(n *cluster.Node) {
		n.Start()
		n.WaitReady(10 * time.Second)
		if err := os.Remove(allowed); err != nil {
			t.Fatal(err)
		}
		n.Reset()
		if n.Records() != nil {
			t.Error("after a reset the records of the boot before are still there")
		}
		let()
		n.WaitReady(10 * time.Second)
		if got := len(n.Said()); got != 2 {
			t.Errorf("the node said %d records since its start, want 2", got)
		}
		n.Kill()
		n.Start()
		n.WaitReady(10 * time.Second)
	})
	if failed {
		t.Errorf("the harness failed the test: %s", said)
	}
}

func TestNodeThatResetsItself(t *testing.T) {
	seen := filepath.Join(t.TempDir(), "reset-was-seen") // QMP and the status port are two ways
	script := `qmp {"event": "RESET", "data": {"guest": true, "reason": "guest-reset"}}` + "\nawait " + seen + "\n" + readyRecord
	said, failed := fakeNode(t, script, cluster.NodeOptions{Resets: true}, func(n *cluster.Node) {
		n.Start()
		n.WaitReset(10*time.Second, 0)
		if err := os.WriteFile(seen, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		n.WaitReady(10 * time.Second)
	})
	if failed {
		t.Errorf("the harness failed a test that allows resets: %s", said)
	}
}

func TestNodeFailuresEndTheTest(t *testing.T) {
	// The status port and the console are two ways: without this the trouble
	// might be read before the readiness.
	seen := filepath.Join(t.TempDir(), "ready-was-seen")
	wait := func(n *cluster.Node) { n.WaitReady(2 * time.Second) }
	for _, tt := range []struct {
		name, script, want string
		act                func(*cluster.Node)
	}{
		{"panic", "console [ 1.0] Kernel panic - not syncing: VFS\n", "trouble: kernel panic", wait},
		{"panic without a line's end is found when the machine is off", "console trivet: a failed: x\nexit\n", "a step of the boot", wait},
		{"reset", `qmp {"event": "RESET", "data": {"guest": true}}` + "\n", "the machine reset itself", wait},
		{"power off", "console all is lost\nexit\n", "turned itself off", wait},
		{"silence", "console slow\n", "not within 2s", wait},
		{"noise on the status port", "record boo\n", `read status record "boo`, wait},
		{"trouble after ready", readyRecord + "await " + seen + "\nconsole Out of memory: Killed process 1\n", "said on its console", func(n *cluster.Node) {
			n.WaitReady(10 * time.Second)
			if err := os.WriteFile(seen, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			n.WaitConsole(10*time.Second, regexp.MustCompile("Out of memory"))
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			said, failed := fakeNode(t, tt.script, cluster.NodeOptions{}, func(n *cluster.Node) { n.Start(); tt.act(n) })
			if !failed || !strings.Contains(said, tt.want) {
				t.Errorf("failed = %v, want true with %q:\n%s", failed, tt.want, said)
			}
			if !strings.Contains(said, "kept ") {
				t.Errorf("no logs were kept:\n%s", said)
			}
		})
	}
}

// TestNothingIsLeft looks for the processes and the folder of a cluster that
// was ended by a failure.
func TestNothingIsLeft(t *testing.T) {
	var disk string
	var pid int
	fakeNode(t, "console x\n", cluster.NodeOptions{Data: []int64{1 << 20}, Seed: cluster.Seed{UserData: "#trivet/v1\n"}}, func(n *cluster.Node) {
		n.Start()
		disk, _ = n.Disk()
		pid = n.PID()
		n.WaitReady(time.Millisecond) // ends the test
	})
	if _, err := os.Stat(filepath.Dir(filepath.Dir(disk))); !os.IsNotExist(err) {
		t.Errorf("the cluster's folder is left: %v", err)
	}
	if err := syscall.Kill(pid, 0); err != syscall.ESRCH {
		t.Errorf("QEMU's process %d is left (%v)", pid, err)
	}
}

func TestProbeTakesWhatIsAskedFor(t *testing.T) {
	fakePrograms(t, "")
	for _, tt := range []struct{ accel, scale, want string }{
		{"tcg", "", "tcg (-cpu max, time bounds ×6): TRIVET_ACCEL says so"},
		{"tcg", "2.5", "tcg (-cpu max, time bounds ×15): TRIVET_ACCEL says so"},
		{"kvm", "", "kvm (-cpu host, time bounds ×1): TRIVET_ACCEL says so"},
		{"xen", "", `read TRIVET_ACCEL="xen": want kvm or tcg`},
		{"tcg", "fast", `read TRIVET_TIME_SCALE="fast": want a factor from 0.1 to 100`},
	} {
		t.Setenv(cluster.EnvAccel, tt.accel)
		t.Setenv(cluster.EnvScale, tt.scale)
		a, err := cluster.Probe(t.Context(), cluster.Firmware{}, t.TempDir())
		got := a.String()
		if err != nil {
			got = fmt.Sprint(err)
		}
		if got != tt.want {
			t.Errorf("Probe with %q, %q = %q, want %q", tt.accel, tt.scale, got, tt.want)
		}
	}
}
