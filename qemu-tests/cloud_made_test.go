package qemutests

import (
	"context"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"trivet/qemu-tests/nspawn"
)

var clusterFlag = flag.Bool("cluster", false, "form clouds of containers that boot the images' roots")

// vip is the virtual IP of every cloud here.
const vip = "10.77.0.10"

// A testCloud is three controllers, told what trivet cluster makes for them.
type testCloud struct {
	t      *testing.T
	w      *nspawn.World
	client *nspawn.Client
	nodes  []*nspawn.Node
	dir    string // of the description, the keys and the seeds
}

const cloudYAML = `# Three controllers of containers, with small settings.
name: acme
region: RegionOne
vip: {address: 10.77.0.10, vrid: 51}
networks:
  management: {cidr: 10.77.0.0/24}
controllers:
  - {name: ctl1, identity: {macs: ["52:54:00:77:00:11"]}, addresses: {management: 10.77.0.11}}
  - {name: ctl2, identity: {macs: ["52:54:00:77:00:12"]}, addresses: {management: 10.77.0.12}}
  - {name: ctl3, identity: {macs: ["52:54:00:77:00:13"]}, addresses: {management: 10.77.0.13}}
storages:
  - name: stor1
    identity: {macs: ["52:54:00:77:00:31"]}
    addresses: {management: 10.77.0.31}
    disks: [{name: /dev/disk/by-id/virtio-d1, size: 1GiB}]
swift: {part_power: 8, replicas: 1, min_part_hours: 1}
settings:
  mariadb: {buffer_pool: 128MiB, galera_cache: 128MiB}
  keystone: {processes: 1, threads: 2}
  rabbitmq: {schedulers: 1, memory: 400MiB}
`

// newCloud describes a cloud, makes its keys and bundles, and its nodes, which
// are off.
func newCloud(t *testing.T) *testCloud {
	t.Helper()
	if !*clusterFlag {
		t.Skip("cluster tests need -cluster: run `make images`, then `make test-cluster`")
	}
	root := filepath.Join(images(t), "controller.root")
	if _, err := os.Stat(root); err != nil {
		t.Skipf("there is no image of a controller: %v", err)
	}
	if err := nspawn.Requirements(); err != nil {
		t.Fatal(err) // -cluster was asked for
	}
	c := &testCloud{t: t, dir: t.TempDir()}
	for name, text := range map[string]string{"cloud.yaml": cloudYAML, "passphrase": "a passphrase of this test\n"} {
		if err := os.WriteFile(filepath.Join(c.dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c.trivet("cluster", "init", "cloud.yaml", "--passphrase-file", "passphrase")
	c.trivet("cluster", "bundle", "cloud.yaml", "--passphrase-file", "passphrase", "--source", absolute(t, repository), "--form")
	c.w = nspawn.New(t, nspawn.Options{Root: root, Logs: *logsFlag})
	for i := range 3 {
		name := fmt.Sprintf("ctl%d", i+1)
		// Matching a card by its hardware address is a machine's business: the
		// container's world gives it its address.
		if err := os.Remove(filepath.Join(c.dir, "seeds", name, "network-config")); err != nil {
			t.Fatal(err)
		}
		c.nodes = append(c.nodes, c.w.AddNode(nspawn.NodeOptions{
			Name: name, MAC: fmt.Sprintf("52:54:00:77:00:1%d", i+1), Address: netip.MustParsePrefix(fmt.Sprintf("10.77.0.1%d/24", i+1)),
			Seed: filepath.Join(c.dir, "seeds", name), Key: filepath.Join(c.dir, "node-keys", name+".key"),
		}))
	}
	c.client = c.w.AddClient("client", "52:54:00:77:00:99", netip.MustParsePrefix("10.77.0.99/24"))
	return c
}

func absolute(t testing.TB, path string) string {
	t.Helper()
	abs, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	return abs
}

// trivet runs the operator's command, and returns what it prints.
func (c *testCloud) trivet(args ...string) string {
	c.t.Helper()
	program := *trivetFlag
	if program == "" {
		program = filepath.Join(absolute(c.t, repository), "bin/trivet")
	}
	ctx, cancel := context.WithTimeout(c.t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = c.dir
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		c.t.Fatalf("trivet %s: %v\n%s", strings.Join(args, " "), err, &errs)
	}
	return string(out)
}

// secret is one of the cloud's, as its operator reads it.
func (c *testCloud) secret(name string) string {
	c.t.Helper()
	return strings.TrimSpace(c.trivet("cluster", "secret", name, "--passphrase-file", "passphrase", "--source", absolute(c.t, repository)))
}

// start turns nodes on, each so long after the one before.
func (c *testCloud) start(skew time.Duration, nodes ...*nspawn.Node) {
	c.t.Helper()
	for i, n := range nodes {
		if i > 0 {
			time.Sleep(skew)
		}
		n.Start()
	}
}

// killAll pulls the power of all nodes at once.
func (c *testCloud) killAll() {
	var all sync.WaitGroup
	for _, n := range c.nodes {
		all.Go(n.Kill)
	}
	all.Wait()
}

// readyLimit bounds the wait for nodes that come up together.
const readyLimit = 5 * time.Minute

// waitReady waits until nodes are ready, all if none is named.
func (c *testCloud) waitReady(nodes ...*nspawn.Node) {
	c.t.Helper()
	if len(nodes) == 0 {
		nodes = c.nodes
	}
	for _, n := range nodes {
		c.t.Logf("%s is ready %.1f s after its start", n.Name, n.WaitReady(readyLimit).Seconds())
	}
}

// holder returns the node that has the virtual IP.
func (c *testCloud) holder() *nspawn.Node {
	c.t.Helper()
	for began := time.Now(); time.Since(began) < time.Minute; time.Sleep(200 * time.Millisecond) {
		for _, n := range c.nodes {
			if s, err := n.State(); err == nil && s.HoldsVIP {
				return n
			}
		}
	}
	c.t.Fatal("no node holds the virtual IP")
	return nil
}

// others returns the nodes but one.
func (c *testCloud) others(but *nspawn.Node) []*nspawn.Node {
	var rest []*nspawn.Node
	for _, n := range c.nodes {
		if n != but {
			rest = append(rest, n)
		}
	}
	return rest
}

// whole checks that all three are one cluster each of Galera and RabbitMQ.
func (c *testCloud) whole() {
	c.t.Helper()
	uuids := map[string]bool{}
	for _, n := range c.nodes {
		out := n.Must("/usr/bin/mariadb", "--batch", "--skip-column-names", "--execute",
			"SELECT VARIABLE_VALUE FROM information_schema.GLOBAL_STATUS WHERE VARIABLE_NAME IN ('wsrep_cluster_size', 'wsrep_cluster_state_uuid') ORDER BY VARIABLE_NAME")
		size, uuid, _ := strings.Cut(strings.TrimSpace(out), "\n")
		if uuids[uuid] = true; size != "3" || len(uuids) != 1 {
			c.t.Errorf("Galera on %s has %s members of %s; want 3 of one history", n.Name, size, uuid)
		}
		// setpriv, since the tool's own su begins a session of systemd's.
		running := n.Must("/usr/bin/setpriv", "--reuid=rabbitmq", "--regid=rabbitmq", "--init-groups",
			"/usr/bin/env", "HOME=/var/lib/rabbitmq", "/usr/sbin/rabbitmqctl", "--quiet", "--formatter", "json", "cluster_status")
		for _, m := range c.nodes {
			if !strings.Contains(runningNodes(running), `"rabbit@`+m.Name+`"`) {
				c.t.Errorf("RabbitMQ on %s does not run with %s: %s", n.Name, m.Name, runningNodes(running))
			}
		}
	}
}

// runningNodes cuts the list of running nodes out of rabbitmqctl's JSON.
func runningNodes(text string) string {
	_, rest, _ := strings.Cut(text, `"running_nodes":[`)
	list, _, _ := strings.Cut(rest, "]")
	return list
}
