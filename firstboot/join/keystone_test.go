package join

import (
	"context"
	"database/sql/driver"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"trivet/firstboot/node"
)

const bootstrap = "/usr/bin/keystone-manage bootstrap --bootstrap-username admin --bootstrap-project-name admin --bootstrap-role-name admin" +
	" --bootstrap-service-name keystone --bootstrap-region-id RegionOne --bootstrap-admin-url http://192.0.2.100:5000/v3" +
	" --bootstrap-internal-url http://192.0.2.100:5000/v3 --bootstrap-public-url http://192.0.2.100:5000/v3"

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
		"sql: CREATE TABLE IF NOT EXISTS trivet.ledger (task VARCHAR(64) PRIMARY KEY, inputs CHAR(64) NOT NULL, generation INT NOT NULL DEFAULT 0, done TIMESTAMP NOT NULL DEFAULT UTC_TIMESTAMP)",
		"sql: ALTER TABLE trivet.ledger ADD COLUMN IF NOT EXISTS generation INT NOT NULL DEFAULT 0 AFTER inputs",
	}
	note := func(i int) []string {
		return append(slices.Clone(ledger), "sql: REPLACE INTO trivet.ledger (task, inputs, generation) VALUES (?, ?, ?) <"+tasks[i].task+"> <"+tasks[i].inputs+">")
	}
	const look = "sql: SET SESSION wsrep_sync_wait = 1"
	want := slices.Concat(
		[]string{
			look, "say: %s",
			"sql: CREATE DATABASE IF NOT EXISTS `keystone` CHARACTER SET utf8mb3",
			"sql: CREATE USER IF NOT EXISTS 'keystone'@'%' IDENTIFIED VIA mysql_native_password USING '" + hash + "'",
			"sql: ALTER USER 'keystone'@'%' IDENTIFIED VIA mysql_native_password USING '" + hash + "'",
			"sql: GRANT ALL ON `keystone`.* TO 'keystone'@'%'",
		}, note(0),
		[]string{look, "say: %s", "/usr/bin/keystone-manage db_sync"}, note(1),
		[]string{"systemctl start keystone.service", look, "say: %s", bootstrap}, note(2),
	)
	if d := cmp.Diff(want, m.log); d != "" {
		t.Error(d)
	}
	if !slices.Contains(m.env[bootstrap], "OS_BOOTSTRAP_PASSWORD=canary-keystone-admin") {
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
		m.noted(task.entry)
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

// noted puts an entry into the ledger.
func (m *machine) noted(e entry) {
	m.queries["<"+e.task+">"] = answer{columns: []string{"inputs", "generation"}, rows: [][]driver.Value{{e.inputs, int64(e.generation)}}}
}

// TestLedgerGenerations: a description that is older than the one that was
// applied takes nothing back.
func TestLedgerGenerations(t *testing.T) {
	m, env := controller(t, "keystone", "keystone.service")
	m.noted(entry{"x", "is", 3})
	for _, c := range []struct {
		e    entry
		want bool
	}{
		{entry{"x", "is", 3}, true},
		{entry{"x", "is", 4}, true},
		{entry{"x", "was", 2}, true},
		{entry{"x", "other", 3}, false},
		{entry{"x", "next", 4}, false},
		{entry{"x", "lab", 0}, false},
		{entry{"y", "is", 3}, false},
	} {
		if done, err := ledgerDone(t.Context(), env.Database, c.e); done != c.want || err != nil {
			t.Errorf("%+v: %t, %v; want %t", c.e, done, err, c.want)
		}
	}
}

// TestKeystoneTwoImages: during an update, the older image leaves the newer
// one's tables alone when it boots once more.
func TestKeystoneTwoImages(t *testing.T) {
	m, env := controller(t, "keystone", "keystone.service")
	for _, image := range []string{"image-1", "image-2"} {
		env.Image = image
		tasks, err := keystoneTasks(env)
		if err != nil {
			t.Fatal(err)
		}
		for _, task := range tasks {
			m.noted(task.entry)
		}
	}
	for _, image := range []string{"image-1", "image-2"} {
		env.Image = image
		if err := keystone().Do(t.Context(), env); err != nil || len(m.had("keystone-manage")) > 0 {
			t.Errorf("%s: %v, %v", image, m.had("keystone-manage"), err)
		}
	}
}

// TestKeystoneTurns: of three controllers that come up at once, one works on the
// tables; the others find the work done.
func TestKeystoneTurns(t *testing.T) {
	q := newMemoryQuorum()
	m, env := controller(t, "keystone", "keystone.service")
	env.Quorum = q
	tasks, err := keystoneTasks(env)
	if err != nil {
		t.Fatal(err)
	}
	// Somebody else holds the lock, and does all of it meanwhile.
	_, unlock, err := q.Lock(t.Context(), keystoneLock)
	if err != nil {
		t.Fatal(err)
	}
	looked := make(chan struct{})
	done := make(chan error)
	env.Quorum = lockNotice{q, looked}
	go func() { done <- keystone().Do(t.Context(), env) }()
	<-looked
	for _, task := range tasks {
		m.noted(task.entry)
	}
	unlock()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if lines := m.had("keystone-manage"); len(lines) > 0 {
		t.Errorf("it was done twice: %v", lines)
	}
	if m.units["keystone.service"] != "active" {
		t.Error("keystone does not run here")
	}
}

// A lockNotice tells when somebody comes to a lock.
type lockNotice struct {
	*memoryQuorum
	came chan struct{}
}

func (l lockNotice) Lock(ctx context.Context, name string) (context.Context, func(), error) {
	close(l.came)
	return l.memoryQuorum.Lock(ctx, name)
}

// TestKeystoneLockLost: what was begun under a lock that is lost does not go on.
func TestKeystoneLockLost(t *testing.T) {
	_, env := controller(t, "keystone", "keystone.service")
	env.Quorum = lostLock{newMemoryQuorum()}
	err := runTask(t.Context(), env, task{entry{"x", "y", 0}, "", func(ctx context.Context, _ Env) error { return ctx.Err() }})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// A lostLock is lost as soon as it is had.
type lostLock struct{ *memoryQuorum }

func (l lostLock) Lock(ctx context.Context, name string) (context.Context, func(), error) {
	held, unlock, err := l.memoryQuorum.Lock(ctx, name)
	if err == nil {
		var cancel func()
		held, cancel = context.WithCancel(held)
		cancel()
	}
	return held, unlock, err
}

// TestBundleKeys: the bundle's keys go before those of a seed, and what it has no
// more is gone.
func TestBundleKeys(t *testing.T) {
	m, env := controller(t, "keystone", "keystone.service")
	if err := writeKeys(env); err != nil {
		t.Fatal(err)
	}
	env.Files = map[string][]byte{
		"keystone/fernet/0": []byte("staged"), "keystone/fernet/2": []byte("old"), "keystone/fernet/3": []byte("primary"),
		"keystone/credential/0": []byte("c0"), "keystone/credential/1": []byte("c1"), "pki/rabbit/ca.crt": []byte("no key"),
	}
	if err := writeKeys(env); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"fernet-keys/0": "staged", "fernet-keys/1": "missing", "fernet-keys/2": "old", "fernet-keys/3": "primary",
		"credential-keys/0": "c0", "credential-keys/1": "c1",
	} {
		if got := m.read("/etc/keystone/" + path); got != want {
			t.Errorf("%s is %q, want %q", path, got, want)
		}
	}
	for _, name := range []string{"x", "01", "-1", "../1", "", "1/2"} {
		env.Files = map[string][]byte{"keystone/fernet/" + name: []byte("x")}
		if err := writeKeys(env); err == nil {
			t.Errorf("%q was taken for the name of a key", name)
		}
	}
}
