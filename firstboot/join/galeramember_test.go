package join

import (
	"context"
	"database/sql/driver"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"trivet/firstboot/node"
)

// A cloudOfThree is ctl1, with ctl2 and ctl3 as they report.
type cloudOfThree struct {
	*machine
	env   Env
	q     *memoryQuorum
	peers map[string]*GaleraReport
}

func three(t *testing.T) *cloudOfThree {
	m, env := controller(t, "mariadb", unit)
	c := &cloudOfThree{machine: m, q: newMemoryQuorum(), peers: map[string]*GaleraReport{}}
	env.Quorum, env.Node.Controllers = c.q, nil
	for i := range 3 {
		name := fmt.Sprintf("ctl%d", i+1)
		env.Node.Controllers = append(env.Node.Controllers, node.Member{Name: name, Address: netip.MustParseAddr(fmt.Sprintf("192.0.2.1%d", i+1))})
		if i == 0 {
			continue
		}
		c.peers[name] = &GaleraReport{Node: name, State: GaleraStopped, Fresh: true}
		c.q.tell[name] = func(string) ([]byte, error) { return json.Marshal(c.peers[name]) }
	}
	c.env = env
	c.history(one)
	return c
}

// history sets what the database here says when it runs.
func (c *cloudOfThree) history(uuid string) {
	c.queries["SHOW GLOBAL STATUS"] = answer{columns: []string{"Variable_name", "Value"}, rows: [][]driver.Value{
		{"wsrep_cluster_status", "Primary"}, {"wsrep_local_state", "4"}, {"wsrep_local_state_comment", "Synced"}, {"wsrep_ready", "ON"}, {"wsrep_cluster_state_uuid", uuid},
	}}
}

func (c *cloudOfThree) know(t *testing.T, r GaleraRecord) {
	t.Helper()
	if set, err := putJSON(t.Context(), c.q, galeraKey, r, c.q.keys[galeraKey].version); !set || err != nil {
		t.Fatal(set, err)
	}
}

func (c *cloudOfThree) record(t *testing.T) GaleraRecord {
	t.Helper()
	var r GaleraRecord
	if _, err := getJSON(t.Context(), c.q, galeraKey, &r); err != nil {
		t.Fatal(err)
	}
	return r
}

func (c *cloudOfThree) member() *galeraMember {
	m := newGaleraMember(c.env)
	m.pause = time.Millisecond
	return m
}

func (c *cloudOfThree) bringUp(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := c.member().bringUp(ctx); err != nil {
		t.Fatalf("%v\n%s", err, strings.Join(c.log, "\n"))
	}
}

// TestFounder: the first of three blank controllers makes the database, read-only
// until the quorum knows it.
func TestFounder(t *testing.T) {
	c := three(t)
	flag, recorded := "", true
	c.started = func(string) { flag, recorded = c.read(newCluster), c.record(t).Formed }
	c.bringUp(t)
	if want := "_WSREP_NEW_CLUSTER='--read-only=1 --wsrep-new-cluster --wsrep-cluster-name=lab-1'\n"; flag != want {
		t.Errorf("started with %q, want %q", flag, want)
	}
	r := c.record(t)
	if recorded || r.UUID != one || !r.Formed || r.Epoch != 1 || r.Intent != nil {
		t.Errorf("recorded before the start: %t; after it: %+v", recorded, r)
	}
	if c.read(dataDir+"/"+foundingMark) != "missing" || c.read(newCluster) != "missing" {
		t.Error("the marks of the founding stay")
	}
	if n := len(c.had("sql: SET GLOBAL read_only = OFF")); n != 1 {
		t.Errorf("opened for writes %d times: %v", n, c.log)
	}
}

// TestFounderResumes: an agent that died after the start finishes what it began, and
// makes no second database.
func TestFounderResumes(t *testing.T) {
	c := three(t)
	c.know(t, GaleraRecord{Tried: 1, Intent: &GaleraIntent{Verdict: GaleraFound, Nodes: []string{"ctl1"}, Epoch: 1, Base: -1}})
	c.put(dataDir+"/ibdata1", "data")
	c.put(dataDir+"/"+foundingMark, "1")
	c.put(epochFile, `{"epoch":1,"from":-1}`)
	c.units[unit] = "active"
	c.bringUp(t)
	if len(c.had("mariadb-install-db")) != 0 || !c.record(t).Formed {
		t.Errorf("%v %+v", c.log, c.record(t))
	}
}

// TestJoiner: a blank node joins what is there, and never founds.
func TestJoiner(t *testing.T) {
	c := three(t)
	c.know(t, GaleraRecord{UUID: one, Formed: true, Epoch: 4, Prior: 3, Base: 9, Tried: 4})
	*c.peers["ctl2"] = GaleraReport{Node: "ctl2", State: GaleraRunning, Primary: true, Member: "Synced", UUID: one, Epoch: 4}
	flag := ""
	c.started = func(string) { flag = c.read(newCluster) }
	c.bringUp(t)
	if want := "_WSREP_NEW_CLUSTER='--wsrep-cluster-name=lab-4'\n"; flag != want {
		t.Errorf("started with %q, want %q", flag, want)
	}
	if len(c.had("mariadb-install-db")) != 0 || c.record(t).Epoch != 4 {
		t.Errorf("%v %+v", c.log, c.record(t))
	}
}

// TestJoinerSetsAside: a copy that may differ under the same numbers is kept aside, and
// a new one is taken.
func TestJoinerSetsAside(t *testing.T) {
	c := three(t)
	c.know(t, GaleraRecord{UUID: one, Formed: true, Epoch: 4, Prior: 3, Base: 9, Tried: 4})
	*c.peers["ctl2"] = GaleraReport{Node: "ctl2", State: GaleraRunning, Primary: true, Member: "Synced", UUID: one, Epoch: 4}
	c.put(dataDir+"/ibdata1", "old")
	c.put(dataDir+"/grastate.dat", grastate(one, "seqno: -1"))
	c.put(epochFile, `{"epoch":3,"from":2}`)
	c.says["/usr/bin/galera_recovery"] = "--wsrep_start_position=" + one + ":10\n"
	c.bringUp(t)
	if c.read(undoDir+"/ibdata1") != "old" || c.read(dataDir+"/ibdata1") != "missing" {
		t.Errorf("the old copy is not set aside: %v", c.log)
	}
}

// TestStranger: a copy of another history is left alone, and the node says what to do.
func TestStranger(t *testing.T) {
	c := three(t)
	c.know(t, GaleraRecord{UUID: two, Formed: true, Epoch: 1, Prior: 0, Base: -1, Tried: 1})
	c.put(dataDir+"/ibdata1", "old")
	c.put(dataDir+"/grastate.dat", grastate(one, "seqno: -1"))
	c.says["/usr/bin/galera_recovery"] = "--wsrep_start_position=" + one + ":10\n"
	err := c.member().bringUp(t.Context())
	if err == nil || !strings.Contains(err.Error(), "ctl1# mv /var/lib/mysql") {
		t.Errorf("got %v", err)
	}
	*c.peers["ctl2"] = GaleraReport{Node: "ctl2", State: GaleraRunning, Primary: true, Member: "Synced", UUID: two, Epoch: 1}
	c.put(epochFile, `{"epoch":1,"from":2}`)
	if err := c.member().bringUp(t.Context()); err == nil || !strings.Contains(err.Error(), "move /var/lib/mysql away") {
		t.Errorf("got %v", err)
	}
	if c.read(dataDir+"/ibdata1") != "old" || len(c.had("systemctl start")) > 0 {
		t.Errorf("it was touched: %v", c.log)
	}
}

// TestBootstrap: after an outage the node with the newest copy begins again, under its
// history.
func TestBootstrap(t *testing.T) {
	c := three(t)
	c.know(t, GaleraRecord{UUID: one, Formed: true, Epoch: 4, Prior: 3, Base: 9, Tried: 5})
	c.put(dataDir+"/ibdata1", "old")
	c.put(dataDir+"/grastate.dat", grastate(one, "seqno: -1"))
	c.put(epochFile, `{"epoch":4,"from":2}`)
	c.says["/usr/bin/galera_recovery"] = "--wsrep_start_position=" + one + ":20,0-1-2\n"
	for _, name := range []string{"ctl2", "ctl3"} {
		*c.peers[name] = GaleraReport{Node: name, State: GaleraStopped, Epoch: 4, Saved: GaleraPosition{one, -1}, Recovered: GaleraPosition{one, 19}}
	}
	state := ""
	c.started = func(string) { state = c.read(dataDir + "/grastate.dat") }
	c.bringUp(t)
	if state != string(safeGrastate(one)) {
		t.Errorf("it began with %q", state)
	}
	if r := c.record(t); r.Epoch != 6 || r.Prior != 4 || r.Base != 20 || r.Intent != nil {
		t.Errorf("recorded %+v", r)
	}
}

// TestTell: what a peer hears of a stopped node, of a hung one, and of a lost view.
func TestTell(t *testing.T) {
	c := three(t)
	c.put(dataDir+"/ibdata1", "old")
	c.put(dataDir+"/grastate.dat", grastate(one, "seqno: -1"))
	c.put(dataDir+"/gvwstate.dat", view)
	if r, err := galeraLook(t.Context(), c.env); err != nil || r.State != GaleraBusy {
		t.Errorf("before its position is known: %+v %v", r, err)
	}
	c.put(recoveredFile, `{"position":"`+one+`:7","tainted":true}`)
	r, err := galeraLook(t.Context(), c.env)
	if err != nil || r.State != GaleraStopped || r.Recovered.Seqno != 7 || !r.Tainted || r.View == nil || r.View.Seq != 12 {
		t.Errorf("%+v %v", r, err)
	}
	c.put(dataDir+"/gvwstate.dat", "")
	if r, err := galeraLook(t.Context(), c.env); err != nil || r.View != nil {
		t.Errorf("an empty view: %+v %v", r.View, err)
	}
	c.units[unit] = "active"
	c.queries["SHOW GLOBAL STATUS"] = answer{err: context.DeadlineExceeded}
	if r, err := galeraLook(t.Context(), c.env); err != nil || r.State != GaleraRunning || r.Primary {
		t.Errorf("a server that hangs: %+v %v", r, err)
	}
}

// TestTogether: when all of the last view are here, each starts as it is; the writes
// wait for the record.
func TestTogether(t *testing.T) {
	c := three(t)
	c.know(t, GaleraRecord{UUID: one, Formed: true, Epoch: 1, Prior: 0, Base: -1, Tried: 1})
	c.put(dataDir+"/ibdata1", "old")
	c.put(dataDir+"/grastate.dat", grastate(one, "seqno: -1"))
	c.put(dataDir+"/gvwstate.dat", view)
	c.put(epochFile, `{"epoch":1,"from":0}`)
	c.says["/usr/bin/galera_recovery"] = "--wsrep_start_position=" + one + ":20\n"
	v := GaleraView{Me: third, ID: one, Seq: 12, Members: []string{one, third}}
	*c.peers["ctl2"] = GaleraReport{Node: "ctl2", State: GaleraStopped, Epoch: 1, Saved: GaleraPosition{one, -1}, Recovered: GaleraPosition{one, 21}, View: &v}
	flag, kept := "", ""
	c.started = func(string) { flag, kept = c.read(newCluster), c.read(dataDir+"/gvwstate.dat") }
	c.bringUp(t)
	if want := "_WSREP_NEW_CLUSTER='--read-only=1 --wsrep-cluster-name=lab-2'\n"; flag != want || kept != view {
		t.Errorf("started with %q and the view %q, want %q", flag, kept, want)
	}
	if r := c.record(t); r.Epoch != 2 || r.Prior != 1 || r.Base != 21 || r.Intent != nil {
		t.Errorf("recorded %+v", r)
	}
}

// TestOutside: a server that is in no primary component for a minute is killed, so
// that its view stays; one of an older epoch is stopped.
func TestOutside(t *testing.T) {
	c := three(t)
	c.know(t, GaleraRecord{UUID: one, Formed: true, Epoch: 2, Prior: 1, Base: 5, Tried: 2})
	c.units[unit] = "active"
	c.put(epochFile, `{"epoch":2,"from":5}`)
	c.galera("non-Primary", "0")
	m := c.member()
	for range 2 { // the first look takes the size of the data for news
		if done, err := m.turn(t.Context()); done || err != nil || len(c.had("systemctl")) > 0 {
			t.Fatal(done, err, c.log)
		}
	}
	m.outside = time.Now().Add(-2 * galeraOutside)
	if done, err := m.turn(t.Context()); done || err != nil || len(c.had("SIGKILL")) != 1 {
		t.Error(done, err, c.log)
	}
	c.units[unit] = "active"
	c.put(epochFile, `{"epoch":1,"from":5}`)
	c.history(one)
	if done, err := c.member().turn(t.Context()); done || err != nil || len(c.had("systemctl stop")) != 2 {
		t.Error(done, err, c.log)
	}
}

// TestFailedJoins: joining is tried again, then with all data anew, then the operator
// hears of it.
func TestFailedJoins(t *testing.T) {
	c := three(t)
	c.know(t, GaleraRecord{UUID: one, Formed: true, Epoch: 1, Prior: 0, Base: -1, Tried: 1})
	*c.peers["ctl2"] = GaleraReport{Node: "ctl2", State: GaleraRunning, Primary: true, Member: "Synced", UUID: one, Epoch: 1}
	c.put(dataDir+"/ibdata1", "old")
	c.put(dataDir+"/grastate.dat", grastate(one, "seqno: 5"))
	c.put(epochFile, `{"epoch":1,"from":0}`)
	var saved []bool
	c.started = func(string) {
		saved = append(saved, c.read(dataDir+"/grastate.dat") != "missing")
		c.units[unit] = "failed"
	}
	err := c.member().bringUp(t.Context())
	if err == nil || !strings.HasPrefix(err.Error(), "join the cluster, 5 times: ") {
		t.Errorf("got %v", err)
	}
	if got := fmt.Sprint(saved); got != "[true true false false false]" {
		t.Errorf("grastate.dat was there: %s", got)
	}
}

// TestCertificates: the server's user alone reads the key, in memory.
func TestCertificates(t *testing.T) {
	c := three(t)
	c.env.Files = map[string][]byte{"pki/galera/ca.crt": []byte("ca"), "pki/galera/node.crt": []byte("crt"), "pki/galera/node.key": []byte("key")}
	if err := placeCertificates(c.env); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(c.env.Path(galeraTLS + "/node.key"))
	if err != nil || info.Mode().Perm() != 0o400 || c.read(galeraTLS+"/node.key") != "key" {
		t.Errorf("%v %v", info, err)
	}
}

// TestUnreadable: a copy that cannot be read does not hold the others up: its node tells
// nothing, and says so to its own operator.
func TestUnreadable(t *testing.T) {
	c := three(t)
	c.know(t, GaleraRecord{UUID: one, Formed: true, Epoch: 1, Prior: 0, Base: -1, Tried: 1})
	c.put(dataDir+"/ibdata1", "broken")
	c.fails["/usr/bin/galera_recovery"] = 1
	if err := c.member().bringUp(t.Context()); err == nil || !strings.HasPrefix(err.Error(), "recover the database's position: ") {
		t.Errorf("got %v", err)
	}
	if data, err := galeraTell(t.Context(), c.env); err == nil {
		t.Errorf("it tells %s", data)
	}
	c.says["/usr/bin/galera_recovery"] = "--wsrep_start_position=" + one + ":10\n"
	if err := c.member().recover(t.Context()); err != nil {
		t.Fatal(err)
	}
	if data, err := galeraTell(t.Context(), c.env); err != nil || !strings.Contains(string(data), one+":10") {
		t.Errorf("it tells %s %v", data, err)
	}
}
