package firstboot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"trivet/firstboot/host"
	"trivet/firstboot/join"
	"trivet/firstboot/quorum"
	"trivet/firstboot/source"
	"trivet/firstboot/status"
	"trivet/roles"
)

// A testNode is a machine of files, with a role of two services.
type testNode struct {
	t    *testing.T
	root string

	mu      sync.Mutex
	units   map[string]string
	log     []string // programs that change something
	records []status.Record
	address string // that the machine has
	name    string // its host name
	machine string // what systemd-creds seals to
	failing string // a unit that does not start

	openQuorum func(context.Context, quorum.Config) (Cluster, error)
}

const goodSeed = `#trivet/v1
cluster: lab
name: ctl1
role: controller
vip: 192.0.2.100/24
address: 192.0.2.11/24
controllers:
  - {name: ctl1, address: 192.0.2.11}
secrets:
  front/admin: canary-of-the-description
`

func newNode(t *testing.T) *testNode {
	n := &testNode{t: t, root: t.TempDir(), units: map[string]string{}, address: "192.0.2.11", machine: "this"}
	role := roles.Role{
		Name: "controller", Start: []string{"back", "front"},
		Services: []roles.Service{
			{Name: "base", Units: []string{"ssh.service"}, Boot: true},
			{Name: "back", Units: []string{"back.service"}, Secrets: []string{"back/word"}, Health: []roles.Check{{Unit: "back.service"}}},
			{Name: "front", Units: []string{"front.service"}, After: []string{"back"}, Secrets: []string{"front/admin"}, Health: []roles.Check{{Unit: "front.service"}}},
		},
	}
	data, err := role.JSON()
	if err != nil {
		t.Fatal(err)
	}
	n.put(rolePath, string(data))
	n.put("/etc/front.conf.tmpl", "name={{.Name}} admin={{secret \"front/admin\"}} word={{secret \"back/word\"}}\n")
	return n
}

func (n *testNode) put(path, text string) {
	n.t.Helper()
	path = filepath.Join(n.root, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		n.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		n.t.Fatal(err)
	}
}

func (n *testNode) seed(userData string) {
	n.put("/var/lib/cloud/seed/nocloud/meta-data", "instance-id: i-1\n")
	n.put("/var/lib/cloud/seed/nocloud/user-data", userData)
}

func (n *testNode) read(path string) string {
	n.t.Helper()
	data, err := os.ReadFile(filepath.Join(n.root, path))
	if err != nil {
		n.t.Fatal(err)
	}
	return string(data)
}

// kept reads what the node keeps in its vault; "" if nothing.
func (n *testNode) kept(name string) string {
	n.t.Helper()
	data, err := (&vault{root: n.root, run: n}).get(n.t.Context(), name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		n.t.Fatal(err)
	}
	return string(data)
}

// tree lists all files with their content, but for the seed.
func (n *testNode) tree() map[string]string {
	n.t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(n.root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.Contains(path, "/seed/") {
			return err
		}
		data, err := os.ReadFile(path)
		files[strings.TrimPrefix(path, n.root)] = string(data)
		return err
	})
	if err != nil {
		n.t.Fatal(err)
	}
	return files
}

// Run plays systemd and the programs.
func (n *testNode) Run(_ context.Context, c host.Command) ([]byte, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	line := strings.Join(c.Args, " ")
	unit := c.Args[len(c.Args)-1]
	switch {
	case strings.HasPrefix(line, "systemctl show"):
		if s := n.units[unit]; s != "" {
			return []byte(s), nil
		}
		return []byte("inactive"), nil
	case strings.HasPrefix(line, "systemctl start"):
		n.log = append(n.log, line)
		if unit == n.failing {
			return nil, &host.ExitError{Program: "systemctl", Code: 1, Stderr: "no canary-of-the-description"}
		}
		n.units[unit] = "active"
	case strings.HasPrefix(line, "ssh-keygen"):
		n.put(strings.TrimPrefix(unit, n.root), "private")
		n.put(strings.TrimPrefix(unit, n.root)+".pub", "public")
	case strings.HasPrefix(line, "systemd-creds encrypt"):
		return fmt.Appendf(nil, "sealed to %s: %x", n.machine, c.Stdin), nil
	case strings.HasPrefix(line, "systemd-creds decrypt"):
		var key []byte
		if _, err := fmt.Sscanf(string(c.Stdin), "sealed to "+n.machine+": %x", &key); err != nil {
			return nil, &host.ExitError{Program: "systemd-creds", Code: 1, Stderr: "Failed to decrypt: Machine is another"}
		}
		return key, nil
	case strings.HasPrefix(line, "systemctl reset-failed"), strings.HasPrefix(line, "journalctl"), strings.HasPrefix(line, "udevadm settle"):
	default:
		n.log = append(n.log, strings.ReplaceAll(line, n.root, ""))
	}
	return nil, nil
}

// Put takes the records.
func (n *testNode) Put(r status.Record) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.records = append(n.records, r)
}

func (n *testNode) inputs() Inputs {
	return Inputs{
		Root: n.root, Host: n, Report: status.New(time.Now, n), Rescan: 5 * time.Millisecond, Watch: time.Millisecond,
		Source: source.Env{Root: n.root, ReadDisk: host.ReadFiles, Client: source.NewClient(), Jitter: func() float64 { return 0 }, Sleep: sleep},
		System: System{
			SetHostname: func(name string) error {
				n.mu.Lock()
				defer n.mu.Unlock()
				n.name = name
				return nil
			},
			Holds: func(a netip.Addr) (string, string, error) {
				n.mu.Lock()
				defer n.mu.Unlock()
				if a.String() == n.address {
					return "eth0", "", nil
				}
				return "", "eth0 has none", nil
			},
			Online:         func() bool { return true },
			Cards:          func() []string { return []string{"52:54:00:00:00:01"} },
			RenameLink:     func(string, string) error { return nil },
			Serve:          func(join.Env, *status.Reporter, http.Handler) error { return nil },
			OpenQuorum:     n.openQuorum,
			ReleaseProgram: func() error { return nil },
			ServeLocal:     func(http.Handler) error { return nil },
		},
	}
}

// boot runs the agent until it is called ready, or until the condition holds.
func (n *testNode) boot(until func(status.Record) bool) []status.Record {
	n.t.Helper()
	n.mu.Lock()
	n.records, n.log = nil, nil
	n.mu.Unlock()
	ctx, stop := context.WithTimeout(n.t.Context(), 20*time.Second)
	defer stop()
	done := make(chan error, 1)
	go func() { done <- Run(ctx, n.inputs()) }()
	for {
		n.mu.Lock()
		seen := slices.ContainsFunc(n.records, until)
		n.mu.Unlock()
		if seen {
			break
		}
		select {
		case err := <-done:
			n.t.Fatalf("the agent ends: %v; %+v", err, n.records)
		case <-ctx.Done():
			n.t.Fatalf("it never comes: %+v", n.records)
		case <-time.After(time.Millisecond):
		}
	}
	stop()
	if err := <-done; err != nil {
		n.t.Fatal(err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.records)
}

func ready(r status.Record) bool { return r.State == status.Ready }

func said(step, state, words string) func(status.Record) bool {
	return func(r status.Record) bool {
		return r.Step == step && r.State == state && strings.Contains(r.Message, words)
	}
}

func short(records []status.Record) []string {
	var all []string
	for _, r := range records {
		all = append(all, r.Step+" "+r.State)
	}
	return all
}

// TestFirstBoot follows a lab's controller from nothing to ready.
func TestFirstBoot(t *testing.T) {
	n := newNode(t)
	n.seed(goodSeed)
	records := n.boot(ready)
	want := []string{
		"agent start", "describe start", "describe done", "identity start", "identity done", "network start", "network done", "secrets start", "secrets done",
		"render start", "render done", "health start", "health done", "back start", "back done", "front start", "front done", "ready ready",
	}
	if d := cmp.Diff(want, short(records)); d != "" {
		t.Error(d)
	}
	last := records[len(records)-1]
	if last.Node != "ctl1" || last.Role != "controller" || last.Fields["vip"] != "192.0.2.100" || last.Fields["seconds"] == nil {
		t.Errorf("%+v", last)
	}
	secrets := map[string]string{}
	if err := json.Unmarshal([]byte(n.kept(secretsName)), &secrets); err != nil || len(secrets) != 1 || len(secrets["back/word"]) != 32 {
		t.Errorf("secrets that the lab made: %v %v", secrets, err)
	}
	if got, want := n.read("/etc/front.conf"), "name=ctl1 admin=canary-of-the-description word="+secrets["back/word"]+"\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	for _, path := range []string{vaultPath + "/" + secretsName, vaultPath + "/" + storedName, vaultPath + "/" + vaultKey, "/etc/front.conf", "/etc/ssh/ssh_host_ed25519_key"} {
		if info, err := os.Stat(filepath.Join(n.root, path)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v, want 0600", path, info.Mode(), err)
		}
	}
	log := []string{
		"systemctl start ssh.service",
		"systemctl start systemd-networkd.service", "networkctl reload", "systemd-tmpfiles --create --prefix=/etc/front.conf",
		"systemctl start back.service", "systemctl start front.service",
	}
	if d := cmp.Diff(log, n.log); d != "" {
		t.Error(d)
	}
	if n.name != "ctl1" || n.read("/etc/hostname") != "ctl1\n" {
		t.Errorf("the host is called %q", n.name)
	}
}

// TestSecondBoot: with a new /etc, the node becomes the same again, without its
// seed.
func TestSecondBoot(t *testing.T) {
	n := newNode(t)
	n.seed(goodSeed)
	n.boot(ready)
	before := n.tree()
	for _, path := range []string{"/etc/front.conf", "/etc/hosts", "/etc/hostname", "/etc/ssh", "/run", "/var/lib/cloud"} {
		if err := os.RemoveAll(filepath.Join(n.root, path)); err != nil {
			t.Fatal(err)
		}
	}
	n.units = map[string]string{}
	records := n.boot(ready)
	if d := cmp.Diff(before, n.tree()); d != "" {
		t.Error(d)
	}
	if !slices.ContainsFunc(records, said("describe", status.Done, "this is ctl1 of lab (stored at an earlier boot; no source is there)")) {
		t.Errorf("%+v", records)
	}
}

// TestBadSeed: nothing changes, the place and the fix are said once, and the
// corrected seed is taken without a restart.
func TestBadSeed(t *testing.T) {
	n := newNode(t)
	n.seed(strings.Replace(goodSeed, "role: controller", "role: controler", 1))
	before := n.tree()
	const want = "/var/lib/cloud/seed/nocloud/user-data:4:1: \"controler\" is not one of controller, compute, storage; did you mean \"controller\"?\nnothing is changed; correct the description, and this node reads it again"
	records := n.boot(said("describe", status.Failed, want))
	if d := cmp.Diff(before, n.tree()); d != "" {
		t.Error("something changed:", d)
	}
	if len(n.log) > 0 {
		t.Errorf("programs ran: %v", n.log)
	}
	if slices.ContainsFunc(records, ready) {
		t.Error("it is called ready")
	}
	ctx, stop := context.WithTimeout(t.Context(), 20*time.Second)
	defer stop()
	done := make(chan error, 1)
	go func() { done <- Run(ctx, n.inputs()) }()
	time.Sleep(50 * time.Millisecond) // ten looks
	n.mu.Lock()
	failures := 0
	for _, r := range n.records {
		if r.State == status.Failed {
			failures++
		}
	}
	n.mu.Unlock()
	if failures != 2 { // one of each run
		t.Errorf("the failure is said %d times", failures)
	}
	n.seed(goodSeed)
	for !n.isReady() && ctx.Err() == nil {
		time.Sleep(time.Millisecond)
	}
	stop()
	if err := <-done; err != nil || !n.isReady() {
		t.Errorf("the corrected seed is not taken: %v", err)
	}
}

func (n *testNode) isReady() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.ContainsFunc(n.records, ready)
}

// TestNoSeed: the node says what it looked for.
func TestNoSeed(t *testing.T) {
	n := newNode(t)
	before := n.tree()
	records := n.boot(said("describe", status.Waiting, "nothing says who this machine is"))
	for _, s := range source.All() {
		if !strings.Contains(records[len(records)-1].Message, s.Name) {
			t.Errorf("%s is not named: %s", s.Name, records[len(records)-1].Message)
		}
	}
	if d := cmp.Diff(before, n.tree()); d != "" {
		t.Error("something changed:", d)
	}
}

// TestKnownNode: a node that knows itself stays what it is, when its seed breaks
// or becomes that of another; and takes what is new in its own.
func TestKnownNode(t *testing.T) {
	n := newNode(t)
	n.seed(goodSeed)
	n.boot(ready)
	stored := n.kept(storedName)

	n.seed("#trivet/v1\nrubbish: here\n")
	records := n.boot(ready)
	if !slices.ContainsFunc(records, said("describe", status.Failed, "user-data:2:1: unknown key \"rubbish\"")) || n.kept(storedName) != stored {
		t.Errorf("a broken seed: %+v", short(records))
	}

	other := strings.NewReplacer("ctl1", "ctl2").Replace(goodSeed)
	n.seed(other)
	records = n.boot(ready)
	if !slices.ContainsFunc(records, said("describe", status.Failed, "describes ctl2 of lab, but this node is ctl1 of lab and stays that")) || n.name != "ctl1" || n.kept(storedName) != stored {
		t.Errorf("the seed of another node: %+v", short(records))
	}

	n.seed(strings.Replace(goodSeed, "canary-of-the-description", "a-new-password", 1))
	n.put("/var/lib/cloud/seed/nocloud/meta-data", "instance-id: i-2\n")
	n.boot(ready)
	if !strings.Contains(n.read("/etc/front.conf"), "a-new-password") || n.kept(storedName) == stored {
		t.Error("what is new in the node's own seed is not taken")
	}
}

// TestOlderGeneration: a node does not go back to an older description of
// itself.
func TestOlderGeneration(t *testing.T) {
	n := newNode(t)
	of := func(generation, word string) string {
		return strings.Replace(goodSeed, "cluster: lab\n", "cluster: lab\ngeneration: "+generation+"\n", 1) + "  back/word: " + word + "\n"
	}
	n.seed(of("2", "of-the-second"))
	n.boot(ready)
	n.seed(of("1", "of-the-first"))
	records := n.boot(ready)
	if !slices.ContainsFunc(records, said("describe", status.Failed, "is generation 1 of the description of ctl1, which has generation 2 already")) || !strings.Contains(n.read("/etc/front.conf"), "of-the-second") {
		t.Errorf("the older description is taken: %+v", short(records))
	}
	n.seed(of("3", "of-the-third"))
	n.boot(ready)
	if !strings.Contains(n.read("/etc/front.conf"), "of-the-third") {
		t.Error("the newer description is not taken")
	}
}

// TestServer: a seed on a server is read when the machine has an address, and
// the network of that time is DHCP.
func TestServer(t *testing.T) {
	n := newNode(t)
	n.put("/sys/class/dmi/id/product_serial", "ds=nocloud;s=http://127.0.0.1:1/\n")
	n.boot(said("describe", status.Failed, "127.0.0.1:1: connect: connection refused (attempt 5)"))
	if d := cmp.Diff([]string{"systemctl start systemd-networkd.service", "networkctl reload"}, n.log[:2]); d != "" {
		t.Error(d)
	}
	if !strings.Contains(n.read("/run/systemd/network/20-trivet-default.network"), "DHCP=ipv4") {
		t.Error("the network is not DHCP")
	}
}

// TestServiceFails: the failure is said without secrets, what needs the service
// waits, and all goes on when it starts.
func TestServiceFails(t *testing.T) {
	n := newNode(t)
	n.seed(goodSeed)
	n.failing = "back.service"
	records := n.boot(said("back", status.Failed, "start back.service: systemctl: exit code 1: no [redacted]"))
	if slices.Contains(short(records), "front start") {
		t.Errorf("front did not wait: %v", short(records))
	}
	for _, r := range records {
		if strings.Contains(string(r.JSON()), "canary") {
			t.Errorf("a secret shows: %s", r.JSON())
		}
	}
	n.failing = ""
	n.boot(ready)
}

// TestBadTemplate: no service starts when one file cannot be rendered.
func TestBadTemplate(t *testing.T) {
	n := newNode(t)
	n.seed(goodSeed)
	n.put("/etc/bad.conf.tmpl", "{{secret \"front/other\"}}")
	n.boot(said("render", status.Failed, "declares the secret front/other"))
	if slices.ContainsFunc(n.log, func(l string) bool { return strings.Contains(l, "front.service") }) {
		t.Errorf("a service starts: %v", n.log)
	}
}

// TestCutAtEveryStep ends the agent at each record of its way and lets another
// one go on: the outcome is the same.
func TestCutAtEveryStep(t *testing.T) {
	whole := newNode(t)
	whole.seed(goodSeed)
	all := short(whole.boot(ready))
	for i := range all {
		t.Run(fmt.Sprintf("%02d %s", i, all[i]), func(t *testing.T) {
			n := newNode(t)
			n.seed(goodSeed)
			ctx, stop := context.WithCancel(t.Context())
			in := n.inputs()
			seen := 0
			in.Report = status.New(time.Now, sinkFunc(func(status.Record) {
				if seen++; seen == i+1 {
					stop()
				}
			}))
			in.Host = cutHost{ctx, n}
			_ = Run(ctx, in)
			stop()
			n.units = map[string]string{}
			n.boot(ready)
			got, want := n.tree(), whole.tree()
			for _, m := range []map[string]string{got, want} { // random by nature
				delete(m, vaultPath+"/"+secretsName)
				delete(m, vaultPath+"/"+vaultKey)
				delete(m, "/etc/front.conf")
				delete(m, vaultPath+"/"+storedName)
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

type sinkFunc func(status.Record)

func (f sinkFunc) Put(r status.Record) { f(r) }

// cutHost runs nothing once the power is off.
type cutHost struct {
	ctx  context.Context
	host host.Runner
}

func (c cutHost) Run(ctx context.Context, cmd host.Command) ([]byte, error) {
	if c.ctx.Err() != nil {
		return nil, errors.New("the power is off")
	}
	return c.host.Run(ctx, cmd)
}

func TestNeeds(t *testing.T) {
	role := roles.Role{Start: []string{"a", "b", "c", "d"}, Services: []roles.Service{
		{Name: "a", Join: "x"}, {Name: "b"}, {Name: "c", Join: "x"}, {Name: "d", After: []string{"b", "elsewhere"}},
	}}
	for name, want := range map[string][]string{"a": nil, "b": nil, "c": {"a"}, "d": {"b"}} {
		if d := cmp.Diff(want, needs(role, name)); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
}

func TestThreeControllers(t *testing.T) {
	n := newNode(t)
	three := strings.Replace(goodSeed, "  - {name: ctl1, address: 192.0.2.11}\n", "  - {name: ctl1, address: 192.0.2.11}\n  - {name: ctl2, address: 192.0.2.12}\n  - {name: ctl3, address: 192.0.2.13}\n", 1)
	n.seed(three)
	n.boot(said("describe", status.Failed, "a cloud of 3 controllers shares its secrets; these are missing: back/word"))
	n.seed(three + "  back/word: given-to-every-node\n")
	n.boot(said("describe", status.Failed, "a controller of several needs the certificates of a bundle"))
}
