// Package cluster makes the machines of a test out of built images, and breaks
// them: it boots a role's disk in QEMU from its UEFI firmware with a NoCloud
// seed, reads the status records that the node sends over a virtio port, scans
// the console for what must never stand there, and cuts the power.
//
// The images are black boxes here: configuration goes in by the seed, results
// come out as records and over the network. Every wait is bounded, and nothing
// is left running or lying about when the test ends.
package cluster

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

// grace is what is kept back of the test binary's own time limit, so that
// machines are killed and logs are kept before Go aborts the process.
const grace = 30 * time.Second

// Options describe a cluster. The zero value of a field means what its comment
// says.
type Options struct {
	Images   string   // the directory that holds ROLE.raw, as trivet build --out made it
	Accel    Accel    // how guests run; zero probes it with a kernel of Images
	Firmware Firmware // zero takes the first that is found
	Logs     string   // where a failed test leaves its logs; "" is trivet-qemu-tests in the temporary directory
}

// A Cluster is a set of machines that live as long as their test.
type Cluster struct {
	t     testing.TB
	o     Options
	place scratch
	ctx   context.Context
	key   ssh.Signer
	nodes []*Node
}

// New prepares a cluster that belongs to t. It fails the test when QEMU or
// firmware is missing: a test that only wants to skip asks Requirements first.
func New(t testing.TB, o Options) *Cluster {
	t.Helper()
	var err error
	if o.Firmware.Code == "" {
		if o.Firmware, err = FindFirmware(); err != nil {
			t.Fatal(err)
		}
	}
	if o.Images, err = filepath.Abs(o.Images); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	if d, ok := t.(interface{ Deadline() (time.Time, bool) }); ok {
		if at, ok := d.Deadline(); ok {
			cancel()
			ctx, cancel = context.WithDeadline(context.Background(), at.Add(-grace))
		}
	}
	place, err := newScratch(os.TempDir())
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	c := &Cluster{t: t, o: o, place: place, ctx: ctx}
	t.Cleanup(func() { c.close(); cancel() })
	if c.key, err = newKey(); err != nil {
		t.Fatal(err)
	}
	if c.o.Accel.Name == "" {
		if c.o.Accel, err = Probe(ctx, o.Firmware, o.Images); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// Bound stretches d, a time that suffices under KVM on an idle machine, to what
// the accelerator in use needs.
func (c *Cluster) Bound(d time.Duration) time.Duration {
	return time.Duration(float64(d) * c.o.Accel.Scale)
}

// close ends every machine, keeps the logs of a failed test, and removes the rest.
func (c *Cluster) close() {
	for _, n := range c.nodes {
		n.end()
	}
	if c.t.Failed() && len(c.nodes) > 0 {
		c.keepLogs()
	}
	if err := c.place.remove(); err != nil {
		c.t.Errorf("remove the machines' folder: %v", err)
	}
}

// keepLogs copies what a human needs to understand a failure: each node's
// console, its records, and what QEMU was called with and said.
func (c *Cluster) keepLogs() {
	logs := c.o.Logs
	if logs == "" {
		logs = filepath.Join(os.TempDir(), "trivet-qemu-tests")
	}
	dir := filepath.Join(logs, strings.NewReplacer("/", "_", " ", "_").Replace(c.t.Name()))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		c.t.Logf("keep logs: %v", err)
		return
	}
	for _, n := range c.nodes {
		for _, name := range []string{consoleLog, recordsLog, qemuLog} {
			data, err := os.ReadFile(filepath.Join(n.dir, name))
			if err != nil {
				continue
			}
			to := filepath.Join(dir, n.name+"-"+name)
			if err := os.WriteFile(to, data, 0o644); err != nil {
				c.t.Logf("keep logs: %v", err)
				continue
			}
			c.t.Logf("kept %s (%d bytes)", to, len(data))
		}
	}
}

// Requirements says what of the machine's software is missing to boot an
// image; nil means that nothing is. Its error names the packages to install.
func Requirements() error {
	var missing []string
	for _, tool := range []string{qemuBinary, "qemu-img"} {
		if _, err := exec.LookPath(tool); err != nil {
			missing = append(missing, tool)
		}
	}
	if _, err := FindFirmware(); err != nil {
		missing = append(missing, "OVMF firmware")
	}
	if len(missing) > 0 {
		return fmt.Errorf("boot an image: no %s on this machine (Debian: apt-get install qemu-system-x86 qemu-utils ovmf)", strings.Join(missing, ", "))
	}
	return nil
}
