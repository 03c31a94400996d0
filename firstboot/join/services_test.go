package join

import (
	"database/sql/driver"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"trivet/firstboot/node"
	"trivet/roles"
)

func TestKeystone(t *testing.T) {
	m, env := controller(t, "keystone", "keystone.service")
	if err := keystone().Do(t.Context(), env); err != nil {
		t.Fatal(err)
	}
	hash := nativeHash(env.Node.Secrets["keystone/db"])
	tasks, err := keystoneTasks(env)
	if err != nil {
		t.Fatal(err)
	}
	ledger := []string{
		"sql: CREATE DATABASE IF NOT EXISTS trivet",
		"sql: CREATE TABLE IF NOT EXISTS trivet.ledger (task VARCHAR(64) PRIMARY KEY, inputs CHAR(64) NOT NULL, done TIMESTAMP NOT NULL DEFAULT UTC_TIMESTAMP)",
	}
	const note = "sql: REPLACE INTO trivet.ledger (task, inputs) VALUES (?, ?)"
	want := []string{
		"sql: CREATE DATABASE IF NOT EXISTS `keystone` CHARACTER SET utf8mb3",
		"sql: CREATE USER IF NOT EXISTS 'keystone'@'%' IDENTIFIED VIA mysql_native_password USING '" + hash + "'",
		"sql: ALTER USER 'keystone'@'%' IDENTIFIED VIA mysql_native_password USING '" + hash + "'",
		"sql: GRANT ALL ON `keystone`.* TO 'keystone'@'%'",
		"say: %s", "/usr/bin/keystone-manage db_sync", ledger[0], ledger[1], note + " <keystone/schema> <" + tasks[0].inputs + ">",
		"systemctl start keystone.service", "say: %s",
		"/usr/bin/keystone-manage bootstrap --bootstrap-username admin --bootstrap-project-name admin --bootstrap-role-name admin" +
			" --bootstrap-service-name keystone --bootstrap-region-id RegionOne --bootstrap-admin-url http://192.0.2.100:5000/v3" +
			" --bootstrap-internal-url http://192.0.2.100:5000/v3 --bootstrap-public-url http://192.0.2.100:5000/v3",
		ledger[0], ledger[1], note + " <keystone/bootstrap> <" + tasks[1].inputs + ">",
	}
	if d := cmp.Diff(want, m.log); d != "" {
		t.Error(d)
	}
	if !slices.Contains(m.env[want[11]], "OS_BOOTSTRAP_PASSWORD=canary-keystone-admin") {
		t.Error("the password does not reach keystone-manage by its environment")
	}
}

// TestKeystoneAgain: what the ledger has is not done again, until its inputs
// change.
func TestKeystoneAgain(t *testing.T) {
	m, env := controller(t, "keystone", "keystone.service")
	tasks, err := keystoneTasks(env)
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range tasks {
		m.queries["<"+task.name+">"] = answer{columns: []string{"inputs"}, rows: [][]driver.Value{{task.inputs}}}
	}
	run := func(want ...string) {
		t.Helper()
		m.log, m.units = nil, map[string]string{}
		if done, err := keystone().Done(t.Context(), env); done || err != nil {
			t.Errorf("done %t %v", done, err)
		}
		if err := keystone().Do(t.Context(), env); err != nil {
			t.Error(err)
		}
		if d := cmp.Diff(want, words(m.had("keystone-manage"))); d != "" {
			t.Error(d)
		}
	}
	run()
	if done, err := keystone().Done(t.Context(), env); !done || err != nil {
		t.Errorf("done %t %v", done, err)
	}
	env.Image = "image-2"
	run("db_sync")
	env.Image = "image-1"
	env.Node.VIP = netip.MustParsePrefix("192.0.2.101/24")
	run("bootstrap")
	env.Node.VIP = netip.MustParsePrefix("192.0.2.100/24")
	env.Node.Secrets["keystone/admin"] = node.NewSecret("another-password")
	run("bootstrap")
}

// words returns the second word of each line.
func words(lines []string) []string {
	var all []string
	for _, l := range lines {
		all = append(all, strings.Fields(l)[1])
	}
	return all
}

// TestHalfSchema: tables that a power cut left half made are made anew, but only
// while no user is in them.
func TestHalfSchema(t *testing.T) {
	users := func(n int) answer { return answer{columns: []string{"x"}, rows: [][]driver.Value{{int64(n)}}} }
	m, env := controller(t, "keystone", "keystone.service")
	m.fails["/usr/bin/keystone-manage db_sync"] = 1
	m.queries["SELECT EXISTS"] = users(0)
	if err := keystone().Do(t.Context(), env); err != nil {
		t.Error(err)
	}
	if n := len(m.had("DROP DATABASE keystone")); n != 1 {
		t.Errorf("dropped %d times", n)
	}
	m, env = controller(t, "keystone", "keystone.service")
	m.fails["/usr/bin/keystone-manage db_sync"] = 1
	m.queries["SELECT EXISTS"] = users(1)
	if err := keystone().Do(t.Context(), env); err == nil || !strings.HasPrefix(err.Error(), "keystone-manage db_sync: ") {
		t.Errorf("got %v", err)
	}
	if lines := m.had("DROP"); len(lines) > 0 {
		t.Errorf("users were dropped: %v", lines)
	}
}

// TestFernetKeys: keys have the form that Fernet wants, and come out the same on
// every controller and at every boot.
func TestFernetKeys(t *testing.T) {
	m, env := controller(t, "keystone", "keystone.service")
	if err := writeKeys(env); err != nil {
		t.Fatal(err)
	}
	// Golden: another value here would lock users out of what they stored.
	want := map[string]string{
		"/etc/keystone/fernet-keys/0":     "QerX9Z495d4piPL0uslqf2AUskC452FbmDN6BemuqKU=",
		"/etc/keystone/fernet-keys/1":     "wqQrqUEac-7800wmP1CrxdxdddRsg9EbmhGZk6_7W0w=",
		"/etc/keystone/credential-keys/0": "MrRnX3_oTO613QMyFFX6rEdhdqgONvw-Pq3Htbxg2b4=",
		"/etc/keystone/credential-keys/1": "wTo10Yu9upF77hZnrUTwOI4-V963L8aISOJDgrW0EDw=",
	}
	got := map[string]string{}
	for path := range want {
		got[path] = m.read(path)
		info, err := os.Stat(filepath.Join(m.root, path))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", path, info.Mode(), err)
		}
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	staged, err := fernetKey(env.Node.Secrets["keystone/fernet"], "keystone/fernet", keyEpoch+1)
	if err != nil || got["/etc/keystone/fernet-keys/0"] != staged {
		t.Error("the staged key is not that of the next epoch")
	}
}

func TestRabbitMQ(t *testing.T) {
	m, env := controller(t, "rabbitmq", "rabbitmq-server.service")
	m.put("/var/lib/rabbitmq/.erlang.cookie", "that of the image")
	if err := rabbitmq().Do(t.Context(), env); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(env.Path("/var/lib/rabbitmq/.erlang.cookie"))
	if err != nil || info.Mode().Perm() != 0o400 || m.read("/var/lib/rabbitmq/.erlang.cookie") != "canary-rabbitmq-cookie" {
		t.Errorf("cookie: %v %v", info.Mode(), err)
	}
	if m.read(rabbitFormed) == "missing" {
		t.Error("nothing tells that the queue ran")
	}
	if done, err := rabbitmq().Done(t.Context(), env); !done || err != nil {
		t.Errorf("done %t %v", done, err)
	}
}

// TestRabbitMQHalfMade: a queue that never ran begins anew; one that ran is
// never thrown away.
func TestRabbitMQHalfMade(t *testing.T) {
	m, env := controller(t, "rabbitmq", "rabbitmq-server.service")
	m.put("/var/lib/rabbitmq/mnesia/rabbit@ctl1/schema.DAT", "half")
	m.fails["systemctl start"] = 1
	if err := rabbitmq().Do(t.Context(), env); err != nil {
		t.Fatal(err)
	}
	if m.read("/var/lib/rabbitmq/mnesia/rabbit@ctl1/schema.DAT") != "missing" {
		t.Error("the half schema stays")
	}
	m.put("/var/lib/rabbitmq/mnesia/rabbit@ctl1/schema.DAT", "whole")
	m.fails["systemctl start"] = 1
	if err := rabbitmq().Do(t.Context(), env); err == nil {
		t.Error("a start that failed is called good")
	}
	if m.read("/var/lib/rabbitmq/mnesia/rabbit@ctl1/schema.DAT") != "whole" {
		t.Error("the queue's data was thrown away")
	}
}

func TestKeepalived(t *testing.T) {
	_, env := controller(t, "keepalived", "keepalived.service")
	looks := 0
	env.Holds = func(a netip.Addr) (string, string, error) {
		if looks++; looks < 3 || a != env.Node.VIP.Addr() {
			return "", "eth0 has 192.0.2.11/24", nil
		}
		return "eth0", "", nil
	}
	if err := keepalived().Do(t.Context(), env); err != nil || looks != 3 {
		t.Errorf("after %d looks: %v", looks, err)
	}
	if done, err := keepalived().Done(t.Context(), env); !done || err != nil {
		t.Errorf("done %t %v", done, err)
	}
}

// TestChecks tries each kind of check, well and unwell.
func TestChecks(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/moved":
			http.Redirect(w, r, "/ok", http.StatusFound)
		case "/ok":
		default:
			w.WriteHeader(http.StatusInternalServerError)
		}
	}))
	defer s.Close()
	m, env := controller(t, "x", "up.service")
	env.Node.Address = netip.MustParsePrefix("127.0.0.1/8")
	env.Node.VIP = netip.MustParsePrefix("127.0.0.1/8")
	m.units["up.service"] = "active"
	m.fails["/bin/no"] = 100
	port := s.URL[strings.LastIndex(s.URL, ":"):]
	for _, c := range []struct {
		check roles.Check
		want  string
	}{
		{roles.Check{Unit: "up.service"}, ""},
		{roles.Check{Unit: "down.service"}, "down.service is inactive"},
		{roles.Check{HTTP: "http://{node}" + port + "/ok"}, ""},
		{roles.Check{HTTP: "http://{vip}" + port + "/bad"}, "GET http://127.0.0.1" + port + "/bad answers 500 Internal Server Error"},
		{roles.Check{HTTP: "http://{vip}" + port + "/moved"}, "GET http://127.0.0.1" + port + "/moved answers 302 Found"},
		{roles.Check{TCP: "{node}" + port}, ""},
		{roles.Check{TCP: "{node}:1"}, "dial tcp 127.0.0.1:1: connect: connection refused"},
		{roles.Check{Run: []string{"/bin/yes"}}, ""},
		{roles.Check{Run: []string{"/bin/no"}}, "/bin/no: exit code 1"},
		{roles.Check{}, "the check is empty"},
	} {
		got := ""
		if err := Check(t.Context(), env, c.check); err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%+v: %q, want %q", c.check, got, c.want)
		}
	}
}

// TestUp: a service without a step is started; a step that is done is not run;
// an unknown step is an error.
func TestUp(t *testing.T) {
	m, env := controller(t, "memcached", "memcached.service")
	env.Service.Health = []roles.Check{{Unit: "memcached.service"}}
	if err := Up(t.Context(), env); err != nil {
		t.Error(err)
	}
	if d := cmp.Diff([]string{"systemctl start memcached.service"}, m.log); d != "" {
		t.Error(d)
	}
	env.Service.Join = "no-such-step"
	if err := Up(t.Context(), env); err == nil {
		t.Error("an unknown step was taken")
	}
	m, env = controller(t, "rabbitmq", "rabbitmq-server.service")
	env.Service.Join = "rabbitmq"
	m.units["rabbitmq-server.service"] = "active"
	if err := Up(t.Context(), env); err != nil || len(m.log) > 0 {
		t.Errorf("%v %v", err, m.log)
	}
}

// TestStepsAndRoles: every step that a service names exists, and every step is
// named.
func TestStepsAndRoles(t *testing.T) {
	all, err := roles.LoadAll("../../roles")
	if err != nil {
		t.Fatal(err)
	}
	named := map[string]bool{}
	for _, r := range all {
		for _, s := range r.Services {
			if s.Join != "" {
				named[s.Join] = true
			}
		}
	}
	for _, s := range All() {
		if !named[s.Name] {
			t.Errorf("no service names the step %s", s.Name)
		}
		delete(named, s.Name)
	}
	for name := range named {
		t.Errorf("there is no step %s", name)
	}
}
