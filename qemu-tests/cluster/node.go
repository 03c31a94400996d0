package cluster

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"time"
)

// The files in a node's directory that are kept when its test fails.
const (
	consoleLog = "console.log"
	recordsLog = "records.jsonl"
	qemuLog    = "qemu.log"
)

// NodeOptions describe one machine; the zero value of a field means what its
// comment says.
type NodeOptions struct {
	Name    string  // "" is the role and a number
	Image   string  // the raw disk image; "" is ROLE.raw of the cluster's images
	Seed    Seed    // empty UserData and MetaData: no seed disk
	Disk    int64   // size of the boot disk in bytes; 0 is 24 GiB (sparse)
	Data    []int64 // sizes of further, empty disks in bytes
	Bus     Bus     // of all disks but the seed; "" is Virtio
	Sector  int     // of the same disks, in bytes; 0 is 512
	Memory  int     // MiB; 0 is 4096
	CPUs    int     // 0 is 2
	Serial  string  // of the machine in SMBIOS, such as "ds=nocloud;h=ctl1"
	Product string  // of the machine in SMBIOS, such as "OpenStack Nova"
	// OEMStrings are SMBIOS type 11, such as io.systemd.credential:NAME=VALUE.
	OEMStrings []string
	Media      []Medium
	Sites      []Site
	Forward    []Forward        // ports to reach from outside, beside SSH
	Flip       []int64          // offsets of bytes of the image in which one bit is flipped
	Expect     []*regexp.Regexp // console lines that are no trouble in this test
	Resets     bool             // the machine may reset itself
}

func (o *NodeOptions) defaults() {
	if o.Disk == 0 {
		o.Disk = 24 << 30
	}
	if o.Bus == "" {
		o.Bus = Virtio
	}
	if o.Sector == 0 {
		o.Sector = 512
	}
	if o.Memory == 0 {
		o.Memory = 4096
	}
	if o.CPUs == 0 {
		o.CPUs = 2
	}
}

// A Node is one machine. Its methods fail the test when what they are for does
// not happen; they are called from the test's own goroutine.
type Node struct {
	c       *Cluster
	name    string
	role    string
	dir     string
	o       NodeOptions
	machine machine
	run     *running
	drained chan struct{} // closed when the console of run was read to its end
	hostKey string
	offset  int64 // of run's part of the console's file

	mu      sync.Mutex
	changed chan struct{} // closed and made anew on every change below
	boot    int           // counts starts and resets
	seen    []Record      // of this boot
	logged  int           // records of this boot that the test's log has
	lines   []string      // the console of this boot
	trouble []string      // of all boots
	resets  int           // by the guest itself, since Start
	said    []Record      // since Start
}

// AddNode makes the disks of a machine of a role; Start turns it on.
func (c *Cluster) AddNode(role string, o NodeOptions) *Node {
	c.t.Helper()
	o.defaults()
	number := len(c.nodes) + 1
	if o.Name == "" {
		o.Name = fmt.Sprintf("%s%d", role, number)
	}
	if o.Image == "" {
		o.Image = filepath.Join(c.o.Images, role+".raw")
	}
	n := &Node{c: c, name: o.Name, role: role, dir: filepath.Join(c.place.dir, o.Name), o: o, changed: make(chan struct{})}
	n.machine = machine{
		name: o.Name, accel: c.o.Accel, code: c.o.Firmware.Code, vars: filepath.Join(n.dir, "vars.fd"),
		disk: filepath.Join(n.dir, "disk"), diskFormat: "qcow2", bus: o.Bus, sector: o.Sector,
		memory: o.Memory, cpus: o.CPUs, serial: o.Serial, product: o.Product,
		forward: append([]Forward{{Port: sshPort}}, o.Forward...),
		console: filepath.Join(n.dir, consoleLog), mac: fmt.Sprintf(macFormat, number),
	}
	if err := n.makeDisks(); err != nil {
		c.t.Fatalf("add node %s: %v", n.name, err)
	}
	c.nodes = append(c.nodes, n)
	return n
}

func (n *Node) makeDisks() error {
	if err := os.Mkdir(n.dir, 0o700); err != nil {
		return err
	}
	if err := copyFile(n.c.o.Firmware.Vars, n.machine.vars); err != nil {
		return err
	}
	if len(n.o.Flip) > 0 {
		n.machine.diskFormat = "raw"
		if err := damaged(n.o.Image, n.machine.disk, n.o.Disk, n.o.Flip); err != nil {
			return err
		}
	} else if err := overlay(n.c.ctx, n.o.Image, n.machine.disk, n.o.Disk); err != nil {
		return err
	}
	for i, size := range n.o.Data {
		path := filepath.Join(n.dir, fmt.Sprintf("data%d", i+1))
		if err := blank(path, size); err != nil {
			return err
		}
		n.machine.data = append(n.machine.data, path)
	}
	if err := n.putMedia(); err != nil {
		return err
	}
	if err := n.serve(); err != nil {
		return err
	}
	if n.o.Seed.UserData != "" || n.o.Seed.MetaData != "" {
		n.machine.seed = filepath.Join(n.dir, "seed.img")
		return n.o.Seed.write(n.machine.seed)
	}
	return nil
}

// Name returns the machine's name, which is not always its host name.
func (n *Node) Name() string { return n.name }

// PID is the process of the running machine, 0 when it is off.
func (n *Node) PID() int {
	if n.run == nil {
		return 0
	}
	return n.run.pid
}

// Disk returns the boot disk's path and format, to be read while the machine
// is off.
func (n *Node) Disk() (path, format string) { return n.machine.disk, n.machine.diskFormat }

// SetSeed replaces the seed of a machine that is off.
func (n *Node) SetSeed(s Seed) {
	n.c.t.Helper()
	if n.run != nil {
		n.c.t.Fatalf("replace the seed of %s: it runs", n.name)
	}
	n.machine.seed = filepath.Join(n.dir, "seed.img")
	if err := s.write(n.machine.seed); err != nil {
		n.c.t.Fatalf("replace the seed of %s: %v", n.name, err)
	}
}

// Forget takes the seed, and what SMBIOS says, from a machine that is off.
func (n *Node) Forget() {
	n.c.t.Helper()
	if n.run != nil {
		n.c.t.Fatalf("take the seed from %s: it runs", n.name)
	}
	n.machine.seed, n.machine.media, n.machine.oem, n.machine.serial = "", nil, nil, ""
}

// Start turns the machine on.
func (n *Node) Start() {
	n.c.t.Helper()
	if n.run != nil {
		n.c.t.Fatalf("start %s: it runs already", n.name)
	}
	n.newBoot()
	n.mu.Lock()
	n.resets, n.said = 0, nil
	n.mu.Unlock()
	if st, err := os.Stat(n.machine.console); err == nil {
		n.offset = st.Size()
	}
	run, err := launch(n.c.ctx, n.machine, filepath.Join(n.dir, qemuLog), n.onEvent, n.onRecord)
	if err != nil {
		n.c.t.Fatalf("start %s: %v", n.name, err)
	}
	n.run, n.drained = run, make(chan struct{})
	go n.watchConsole(run, n.drained)
	n.c.t.Logf("%s: start, %s", n.name, n.c.o.Accel.Name)
}

// Kill cuts the power: nothing in the machine gets a chance to finish.
func (n *Node) Kill() {
	n.c.t.Helper()
	if n.run == nil {
		n.c.t.Fatalf("kill %s: it does not run", n.name)
	}
	n.halt()
	n.c.t.Logf("%s: power cut", n.name)
}

// Stop presses the power button and waits until the machine is off.
func (n *Node) Stop(bound time.Duration) {
	n.c.t.Helper()
	if n.run == nil {
		n.c.t.Fatalf("stop %s: it does not run", n.name)
	}
	n.command("system_powerdown")
	started := time.Now()
	select {
	case <-n.run.done:
		n.halt()
		n.c.t.Logf("%s: off after %.0f s", n.name, time.Since(started).Seconds())
	case <-time.After(n.c.Bound(bound)):
		n.fatal("stop %s: still on %v after its power button was pressed", n.name, n.c.Bound(bound))
	case <-n.c.ctx.Done():
		n.fatal("stop %s: the test's time is over", n.name)
	}
}

// Reset presses the reset button.
func (n *Node) Reset() {
	n.c.t.Helper()
	if n.run == nil {
		n.c.t.Fatalf("reset %s: it does not run", n.name)
	}
	n.command("system_reset")
	n.newBoot()
	n.c.t.Logf("%s: reset", n.name)
}

// command runs a QMP command that has no arguments.
func (n *Node) command(name string) {
	n.c.t.Helper()
	ctx, cancel := context.WithTimeout(n.c.ctx, greetTime)
	defer cancel()
	if _, err := n.run.qmp.Execute(ctx, name, nil); err != nil {
		n.fatal("%s: %v", n.name, err)
	}
}

// halt ends the process and waits for the readers of its output.
func (n *Node) halt() {
	n.run.kill()
	<-n.drained
	n.run = nil
}

// end is the node's part of the test's cleanup: off, and no trouble unseen.
func (n *Node) end() {
	if n.run != nil {
		n.halt()
	}
	if found := n.Trouble(); len(found) > 0 && !n.c.t.Failed() {
		n.c.t.Errorf("%s said on its console: %q", n.name, found)
	}
}
