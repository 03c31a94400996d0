package join

import (
	"database/sql/driver"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const unit = "mariadb.service"

func grastate(uuid, rest string) string {
	return "# GALERA saved state\nversion: 2.1\nuuid:    " + uuid + "\n" + rest + "\n"
}

// TestFirstDatabase: a blank disk gets a database, in one step, and the flag for
// a new cluster counts for this start only.
func TestFirstDatabase(t *testing.T) {
	m, env := controller(t, "mariadb", unit)
	m.put("/var/lib/mysql/debian-11.8.flag", "") // what Debian's package leaves
	m.put("/var/lib/mysql.new/ibdata1", "half")  // what a power cut left
	flag := ""
	m.started = func(string) { flag = m.read(newCluster) }
	if done, err := mariadb().Done(t.Context(), env); done || err != nil {
		t.Fatal(done, err)
	}
	if err := mariadb().Do(t.Context(), env); err != nil {
		t.Fatal(err)
	}
	if flag != "_WSREP_NEW_CLUSTER='--wsrep-new-cluster'\n" {
		t.Errorf("the unit starts with %q", flag)
	}
	if got := m.read(newCluster); got != "missing" {
		t.Errorf("the flag stays: %q", got)
	}
	if m.read("/var/lib/mysql/ibdata1") != "data" || m.read("/var/lib/mysql.new/ibdata1") != "missing" {
		t.Error("the database is not in its place")
	}
	want := []string{
		"say: there is no database here; a new one is made, and a cluster begins with it",
		"/usr/bin/mariadb-install-db --user=mysql --datadir=" + env.Path(stagingDir) + " --auth-root-authentication-method=socket --skip-test-db --skip-log-bin --wsrep-on=OFF",
		"systemctl start mariadb.service",
	}
	if d := cmp.Diff(want, m.log); d != "" {
		t.Error(d)
	}
	if done, err := mariadb().Done(t.Context(), env); !done || err != nil {
		t.Errorf("done %t %v", done, err)
	}
}

// TestDatabaseAgain: data that is there is begun with again, under its history,
// however the node went down.
func TestDatabaseAgain(t *testing.T) {
	for _, c := range []struct {
		name, saved, recovered string
		want                   string // grastate.dat at the start
	}{
		{"stopped", grastate(one, "seqno:   56\nsafe_to_bootstrap: 1"), "", string(safeGrastate(one))},
		{"crashed", grastate(one, "seqno:   -1\nsafe_to_bootstrap: 0"), "", string(safeGrastate(one))},
		{"crashed within a DDL", grastate(noUUID, "seqno:   -1\nsafe_to_bootstrap: 0"), "--wsrep_start_position=" + two + ":7,0-1-9\n", string(safeGrastate(two))},
		{"crashed before its first start was whole", "", "--wsrep_start_position=" + noUUID + ":-1\n", "missing"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, env := controller(t, "mariadb", unit)
			m.put("/var/lib/mysql/ibdata1", "old")
			m.put("/var/lib/mysql/gvwstate.dat", "")
			if c.saved != "" {
				m.put("/var/lib/mysql/grastate.dat", c.saved)
			}
			m.says["/usr/bin/galera_recovery"] = c.recovered
			state := ""
			m.started = func(string) { state = m.read("/var/lib/mysql/grastate.dat") }
			if err := mariadb().Do(t.Context(), env); err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(c.want, state); d != "" {
				t.Error(d)
			}
			if m.read("/var/lib/mysql/gvwstate.dat") != "missing" || m.read("/var/lib/mysql/ibdata1") != "old" {
				t.Error("the view stays, or the data does not")
			}
			if n := len(m.had("mariadb-install-db")); n != 0 {
				t.Error("a database was made over one")
			}
		})
	}
}

// TestStrangeData: a folder that holds something else is left alone.
func TestStrangeData(t *testing.T) {
	m, env := controller(t, "mariadb", unit)
	m.put("/var/lib/mysql/backup.sql", "dear")
	err := mariadb().Do(t.Context(), env)
	if err == nil || !strings.Contains(err.Error(), "/var/lib/mysql holds backup.sql but no database") {
		t.Errorf("got %v", err)
	}
	if m.read("/var/lib/mysql/backup.sql") != "dear" || len(m.log) > 0 {
		t.Errorf("it was touched: %v", m.log)
	}
}

// TestPreparedTransactions: transactions that nobody finished are rolled back
// once, and the start is tried again.
func TestPreparedTransactions(t *testing.T) {
	m, env := controller(t, "mariadb", unit)
	m.put("/var/lib/mysql/ibdata1", "old")
	m.put("/var/lib/mysql/grastate.dat", grastate(one, "seqno: -1"))
	m.fails["systemctl start"], m.says["systemctl start"] = 1, "Found 1 prepared transactions!"
	if err := mariadb().Do(t.Context(), env); err != nil {
		t.Fatal(err)
	}
	if n := len(m.had("--tc-heuristic-recover=ROLLBACK")); n != 1 {
		t.Errorf("rolled back %d times: %v", n, m.log)
	}
}

// TestRunningDatabase: a server that runs and becomes whole is let be.
func TestRunningDatabase(t *testing.T) {
	m, env := controller(t, "mariadb", unit)
	m.units[unit] = "activating"
	m.put("/var/lib/mysql/ibdata1", "old")
	if err := mariadb().Do(t.Context(), env); err != nil {
		t.Fatal(err)
	}
	if n := len(m.had("systemctl stop")); n != 0 || m.read(newCluster) != "missing" {
		t.Errorf("%v", m.log)
	}
}

func TestGaleraState(t *testing.T) {
	m, env := controller(t, "mariadb", unit)
	for _, c := range []struct{ status, state, want string }{
		{"Primary", "4", ""},
		{"non-Primary", "4", `the component of Galera is "non-Primary", not Primary`},
		{"Primary", "2", ""}, // gives a copy to another, and takes writes
		{"Primary", "1", `the member of Galera is "state 1", not Synced`},
	} {
		m.galera(c.status, c.state)
		got := ""
		if err := GaleraState(t.Context(), env.Database); err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%s %s: %q, want %q", c.status, c.state, got, c.want)
		}
	}
	m.galera("Primary", "4")
	m.queries["SELECT @@global.read_only"] = answer{columns: []string{"x"}, rows: [][]driver.Value{{"1"}}}
	if err := GaleraState(t.Context(), env.Database); err == nil {
		t.Error("a read-only database is called well")
	}
}

func TestInstallFails(t *testing.T) {
	m, env := controller(t, "mariadb", unit)
	m.fails["/usr/bin/mariadb-install-db"] = 1
	if err := mariadb().Do(t.Context(), env); err == nil || !strings.HasPrefix(err.Error(), "make the database: ") {
		t.Errorf("got %v", err)
	}
	if entries, err := os.ReadDir(env.Path(dataDir)); err == nil && len(entries) > 0 {
		t.Errorf("a half database is in place: %v", entries)
	}
	if err := mariadb().Do(t.Context(), env); err != nil {
		t.Errorf("again: %v", err)
	}
}
