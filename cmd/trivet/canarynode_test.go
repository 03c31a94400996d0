package main

import (
	"bytes"
	"context"
	"database/sql"
	"database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"trivet/firstboot"
	"trivet/firstboot/enroll/cloud"
	"trivet/firstboot/host"
	"trivet/firstboot/join"
	"trivet/firstboot/quorum"
	"trivet/firstboot/source"
	"trivet/firstboot/status"
	"trivet/roles"
)

// Where a node of files finds what it is told.
const (
	seedFolder = "var/lib/cloud/seed/nocloud"
	keyPath    = "run/credentials/trivet-agent.service/trivet.key"
)

// A canaryNode is a machine of files with the templates of its role, whose
// programs are played.
type canaryNode struct {
	t    *testing.T
	root string

	mu      sync.Mutex
	keys    [][]byte // that were sealed
	leak    string   // what a program that fails prints
	device  string   // that holds every address
	args    bytes.Buffer
	records []status.Record
}

func newCanaryNode(t *testing.T, roleName string) *canaryNode {
	t.Helper()
	n := &canaryNode{t: t, root: t.TempDir()}
	role, err := roles.Load("../../roles", roleName)
	n.check(err)
	for i := range role.Services {
		role.Services[i].Health = nil // nothing answers here
	}
	data, err := role.JSON()
	n.check(err)
	n.put("usr/share/trivet/role.json", data)
	for _, name := range role.Overlays() {
		folder := os.DirFS(filepath.Join("../../overlays", name))
		if _, err := os.Stat(filepath.Join("../../overlays", name)); err == nil {
			n.check(os.CopyFS(n.root, folder))
		}
	}
	return n
}

func (n *canaryNode) check(err error) {
	n.t.Helper()
	if err != nil {
		n.t.Fatal(err)
	}
}

func (n *canaryNode) put(path string, text []byte) {
	n.t.Helper()
	n.check(os.MkdirAll(filepath.Dir(filepath.Join(n.root, path)), 0o755))
	n.check(os.WriteFile(filepath.Join(n.root, path), text, 0o600))
}

// tell hands the node a seed and its key.
func (n *canaryNode) tell(userData, key []byte) {
	n.put(seedFolder+"/meta-data", []byte("instance-id: i-1\n"))
	n.put(seedFolder+"/user-data", userData)
	if key != nil {
		n.put(keyPath, key)
	}
}

// Run plays the programs, and keeps their command lines. What is sealed comes
// back as a number.
func (n *canaryNode) Run(_ context.Context, c host.Command) ([]byte, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	line := strings.Join(c.Args, " ")
	fmt.Fprintln(&n.args, line, c.Dir, c.User)
	switch {
	case strings.HasPrefix(line, "systemd-creds encrypt"):
		n.keys = append(n.keys, c.Stdin)
		return fmt.Appendf(nil, "sealed %d", len(n.keys)-1), nil
	case strings.HasPrefix(line, "systemd-creds decrypt"):
		var i int
		if _, err := fmt.Sscanf(string(c.Stdin), "sealed %d", &i); err != nil {
			return nil, err
		}
		return n.keys[i], nil
	case strings.HasPrefix(line, "systemctl show"):
		return []byte("inactive"), nil
	case strings.HasPrefix(line, "ssh-keygen"):
		n.put(strings.TrimPrefix(c.Args[len(c.Args)-1], n.root), []byte("private"))
		n.put(strings.TrimPrefix(c.Args[len(c.Args)-1], n.root)+".pub", []byte("public"))
	case strings.HasPrefix(line, "systemctl start memcached"), strings.HasPrefix(line, "systemctl start libvirtd"), strings.HasPrefix(line, "systemctl start swift"):
		return nil, &host.ExitError{Program: "systemctl", Code: 1, Stderr: "cannot use " + n.leak}
	case strings.HasPrefix(line, "journalctl"):
		return []byte("it was given " + n.leak + "\n"), nil
	}
	return nil, nil
}

// Put takes the records.
func (n *canaryNode) Put(r status.Record) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.records = append(n.records, r)
}

// Connect refuses: there is no database.
func (n *canaryNode) Connect(context.Context) (driver.Conn, error) {
	return nil, errors.New("there is no database")
}

// Driver is database/sql's.
func (n *canaryNode) Driver() driver.Driver { return nil }

func (n *canaryNode) source() source.Env {
	return source.Env{
		Root: n.root, ReadDisk: host.ReadFiles, WriteDisk: host.WriteFiles, Client: source.NewClient(), Jitter: func() float64 { return 0 },
		Sleep: func(context.Context, time.Duration) error { return nil },
	}
}

// boot runs the agent until it has done what it can here, and returns what it
// said, in every form.
func (n *canaryNode) boot(until func(status.Record) bool) string {
	n.t.Helper()
	var text bytes.Buffer
	report := status.New(time.Now, n, status.Text{W: &text}, status.File{Path: filepath.Join(n.root, "status.json")})
	in := firstboot.Inputs{
		Root: n.root, Host: n, Source: n.source(), Report: report, Rescan: 10 * time.Millisecond,
		System: firstboot.System{
			SetHostname:    func(string) error { return nil },
			Holds:          func(netip.Addr) (string, string, error) { return n.device, "", nil },
			Online:         func() bool { return true },
			Cards:          func() []string { return nil },
			RenameLink:     func(string, string) error { return nil },
			Database:       sql.OpenDB(n),
			Serve:          func(join.Env, *status.Reporter, http.Handler) error { return nil },
			ServeLocal:     func(http.Handler) error { return nil },
			OpenQuorum:     func(ctx context.Context, c quorum.Config) (firstboot.Cluster, error) { return quorum.Open(ctx, c) },
			ReleaseProgram: func() error { return nil },
		},
	}
	ctx, stop := context.WithTimeout(n.t.Context(), 30*time.Second)
	defer stop()
	done := make(chan error, 1)
	go func() { done <- firstboot.Run(ctx, in) }()
	for seen := false; !seen; {
		n.mu.Lock()
		seen = slices.ContainsFunc(n.records, until)
		n.mu.Unlock()
		select {
		case <-ctx.Done():
			n.t.Fatalf("it never comes to its end: %+v", n.records)
		case <-time.After(time.Millisecond):
		}
	}
	stop()
	n.check(<-done)
	for _, r := range n.records {
		text.Write(r.JSON())
		text.WriteString(strings.Join(r.Lines(), "\n"))
	}
	return text.String()
}

// explain returns both forms of an explanation; err is a failure beside it.
func (n *canaryNode) explain() (string, bool) {
	n.t.Helper()
	e, err := firstboot.Explain(n.t.Context(), n.root, n, n.source())
	n.check(err)
	var text bytes.Buffer
	n.check(e.WriteText(&text))
	data, err := json.Marshal(e)
	n.check(err)
	return fmt.Sprintf("%s%s%+v", text.Bytes(), data, e), e.Problem == ""
}

// testNodeOfCanaries tells a node what the operator made, right and broken, and
// returns 1 if it booted.
func testNodeOfCanaries(t *testing.T, c *canaries, o *canaryCloud, of cloud.Node) int {
	told, key := o.read("seeds/"+of.Name+"/user-data"), o.read("node-keys/"+of.Name+".key")
	n := newCanaryNode(t, of.Role)
	n.tell(told, key)
	n.device = "eth0"
	if len(of.Bonds) > 0 {
		n.device = of.Bonds[0].Name
	}
	own := map[string]string{"controller": "keystone/db", "compute": "nova/service", "storage": "swift/hash-prefix"}
	n.leak = o.secret(of.Name, own[of.Role])
	said, fits := n.explain()
	c.none("explain on "+of.Name, []byte(said))
	to := t.TempDir()
	_, err := firstboot.Preview(t.Context(), firstboot.PreviewInputs{Root: n.root, To: to, Source: n.source(), Host: n})
	c.none("preview of "+of.Name, fmt.Appendf(nil, "%v", err))
	c.folder(to, nowhere)
	booted := 0
	if fits {
		booted = 1
		render := false
		c.none("the records of "+of.Name, []byte(n.boot(func(r status.Record) bool {
			render = render || r.Step == "health" && r.State == status.Done
			// A storage node waits for its disks without a word.
			return render && (r.State == status.Failed || r.State == status.Waiting || r.State == status.Ready || strings.HasPrefix(r.Step, "swift"))
		})))
		n.checkAtRest(c)
	}
	c.none("the command lines of "+of.Name, n.args.Bytes())
	n.breakInput(c, o, told, key)
	return booted
}

// checkAtRest looks at all files of a node that booted: secrets are in what was
// rendered and in the bundle's files, both in memory and closed to others, and
// with the key as it was handed in.
func (n *canaryNode) checkAtRest(c *canaries) {
	n.t.Helper()
	held := 0
	c.folder(n.root, func(path, _ string) bool {
		fits := strings.HasPrefix(path, "etc/") || strings.HasPrefix(path, "run/trivet/bundle/") || strings.HasPrefix(path, "run/") && strings.Contains(path, "-tls/") || path == keyPath
		if fits {
			held++
		}
		return fits
	})
	if held < 2 {
		n.t.Errorf("secrets are in %d files only: was anything rendered?", held)
	}
	text, err := os.ReadFile(filepath.Join(n.root, "status.json"))
	if n.check(err); len(text) == 0 {
		n.t.Error("no status was written")
	}
}

// breakInput hands in seeds and keys that were cut or altered, each of which the
// node refuses or understands, without showing what is in it.
func (n *canaryNode) breakInput(c *canaries, o *canaryCloud, told, key []byte) {
	n.t.Helper()
	refused := 0
	try := func(what string, told, key []byte) {
		n.tell(told, key)
		said, fits := n.explain()
		c.none(what, []byte(said))
		if !fits {
			refused++
		}
	}
	for i := range 12 {
		try("explain of a cut seed", told[:len(told)*i/12], key)
		broken := bytes.Clone(told)
		broken[len(told)*i/12] ^= 0x15
		try("explain of an altered seed", broken, key)
		try("explain with a cut key", told, key[:len(key)*i/12])
		broken = bytes.Clone(key)
		broken[len(key)*i/12] ^= 0x15
		try("explain with an altered key", told, broken)
	}
	other := o.nodes[len(o.nodes)-1].Name
	try("explain with another node's key", told, o.read("node-keys/"+other+".key"))
	try("explain of a key in place of the seed", key, told)
	try("explain of a key in the seed", append(bytes.Clone(told), key...), key)
	if refused < 30 {
		n.t.Errorf("%d broken seeds and keys were refused, too few to have been broken", refused)
	}
}

// testClearText breaks a description with readable secrets at every one of them.
func testClearText(t *testing.T, c *canaries, lab *canaryCloud) {
	lab.do(0, lab.opened("bundle", lab.at("cloud.yaml"), "--cleartext", "--out", lab.at("clear"), "--node-keys", lab.at("none"))...)
	told := string(lab.read("clear/ctl1/user-data"))
	head, secrets, found := strings.Cut(told, "\nsecrets:\n")
	if !found || strings.Count(secrets, "\n") < 10 {
		t.Fatalf("the description has no secrets:\n%s", head)
	}
	for line := range strings.Lines(secrets) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ": "); ok && !strings.HasPrefix(name, "#") {
			c.add("readable "+name, value)
		}
	}
	n := newCanaryNode(t, "controller")
	tried := 0
	for line := range strings.Lines(secrets) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), ": ")
		if !ok || strings.HasPrefix(name, "#") {
			continue
		}
		for _, broken := range []string{
			"  " + name + " " + value, "  " + value + ": " + name, "  " + name + ": \"" + value, "  " + name + ": '" + value + "\\'", "\t" + name + ": " + value,
			"  " + name + ": [" + value + "]", "  " + name + ": {" + value + ": 1}", "  " + name + ": " + value + " # \x00", "  " + name + ": " + value + "+", "  " + name + ": *" + value,
			"  " + name + ": !" + value + " x", "  " + name + ": &" + value + " x", value, "  " + name + ": |\n  " + value, "  ? " + value, "  " + name + ": " + value + "\n  " + name + ": " + value,
			"  " + name + ": " + value + "\n" + value + ": " + value, "  - " + value, "  <<: " + value, "  " + name + ": " + strings.Repeat(value, 20),
		} {
			n.tell([]byte(head+"\nsecrets:\n"+strings.Replace(secrets, strings.TrimRight(line, "\n"), broken, 1)), nil)
			said, _ := n.explain()
			if found := c.in([]byte(said)); len(found) > 0 {
				t.Errorf("explain of %q shows %v:\n%s", strings.ReplaceAll(broken, value, "SECRET"), found, said)
			}
			tried++
		}
	}
	if tried < 200 {
		t.Errorf("only %d broken descriptions were tried", tried)
	}
	// One of them for the console, too.
	n.tell([]byte(strings.Replace(told, "keystone/db: ", "keystone/db ", 1)), nil)
	c.none("the records of a broken description", []byte(n.boot(func(r status.Record) bool { return r.State == status.Failed })))
}
