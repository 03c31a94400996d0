package firstboot

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"trivet/firstboot/host"
	"trivet/firstboot/join"
	"trivet/firstboot/node"
	"trivet/firstboot/status"
	"trivet/roles"
)

// A database says what its status is, or nothing until it is asked to stop.
type database struct {
	status   map[string]string
	readOnly string
	silent   bool
	asked    int
}

func (d *database) Connect(context.Context) (driver.Conn, error) { return d, nil }
func (d *database) Driver() driver.Driver                        { return nil }
func (d *database) Prepare(string) (driver.Stmt, error)          { return nil, errors.New("not used") }
func (d *database) Close() error                                 { return nil }
func (d *database) Begin() (driver.Tx, error)                    { return nil, errors.New("not used") }

func (d *database) QueryContext(ctx context.Context, query string, _ []driver.NamedValue) (driver.Rows, error) {
	if d.asked++; d.silent {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if strings.Contains(query, "read_only") {
		return &table{[]string{"x"}, [][]driver.Value{{d.readOnly}}}, nil
	}
	t := &table{columns: []string{"Variable_name", "Value"}}
	for name, value := range d.status {
		if strings.Contains(query, "'"+name+"'") {
			t.rows = append(t.rows, []driver.Value{name, value})
		}
	}
	return t, nil
}

type table struct {
	columns []string
	rows    [][]driver.Value
}

func (t *table) Columns() []string { return t.columns }
func (t *table) Close() error      { return nil }
func (t *table) Next(row []driver.Value) error {
	if len(t.rows) == 0 {
		return io.EOF
	}
	copy(row, t.rows[0])
	t.rows = t.rows[1:]
	return nil
}

func synced() *database {
	return &database{readOnly: "0", status: map[string]string{
		"wsrep_cluster_status": "Primary", "wsrep_local_state": "4", "wsrep_local_state_comment": "Synced", "wsrep_ready": "ON",
		"wsrep_cluster_size": "3", "wsrep_last_committed": "1234567890", "wsrep_local_recv_queue": "2",
		"wsrep_local_cert_failures": "0", "wsrep_flow_control_paused": "0.25",
	}}
}

// TestGaleraCheck: what HAProxy is told of each state of the member.
func TestGaleraCheck(t *testing.T) {
	for _, c := range []struct {
		name, key, value, want string
	}{
		{"synced", "", "", ""},
		{"donor", "wsrep_local_state", "2", ""},
		{"joining", "wsrep_local_state", "1", `the member of Galera is "Synced", neither Synced nor a donor`},
		{"no primary component", "wsrep_cluster_status", "non-Primary", `the component of Galera is "non-Primary", not Primary`},
		{"not ready", "wsrep_ready", "OFF", "the database does not take queries yet"},
		{"read-only", "read_only", "1", "the database is read-only"},
		{"no Galera", "wsrep_cluster_status", "", `the component of Galera is "", not Primary`},
	} {
		d := synced()
		if d.status[c.key] = c.value; c.key == "read_only" {
			d.readOnly = c.value
		}
		got := ""
		if err := askGalera(t.Context(), sql.OpenDB(d)).takesWrites(); err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

// TestGaleraSilent: a database that hangs is a no within a second.
func TestGaleraSilent(t *testing.T) {
	d := synced()
	d.silent = true
	r := remembered[galeraReport]{ask: func(ctx context.Context) galeraReport { return askGalera(ctx, sql.OpenDB(d)) }, limit: 10 * time.Millisecond, keep: time.Hour}
	if err := r.get().takesWrites(); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	d.silent = false
	if err := r.get().takesWrites(); err == nil || d.asked != 1 {
		t.Errorf("an answer that is good still was asked for anew: %v, %d questions", err, d.asked)
	}
	if galeraLimit+galeraKeep > time.Second {
		t.Error("the answer may come after a second")
	}
}

// only is a machine whose units have these states.
type only map[string]string

func (o only) Run(_ context.Context, c host.Command) ([]byte, error) {
	return []byte(o[c.Args[len(c.Args)-1]] + "\n"), nil
}

func healthEnv(d *database) join.Env {
	service := func(name string) roles.Service {
		return roles.Service{Name: name, Units: []string{name + ".service"}, Health: []roles.Check{{Unit: name + ".service"}}}
	}
	return join.Env{
		Node:     node.Config{Name: "ctl1", VIP: netip.MustParsePrefix("192.0.2.100/24")},
		Role:     roles.Role{Name: "controller", Services: []roles.Service{service("mariadb"), service("keepalived"), service("off")}, Start: []string{"mariadb", "keepalived"}},
		Host:     only{"mariadb.service": "active", "keepalived.service": "failed"},
		Holds:    func(netip.Addr) (string, string, error) { return "eth0", "", nil },
		Database: sql.OpenDB(d),
	}
}

func get(t *testing.T, h http.Handler, path string) (code int, body string) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
	return w.Code, w.Body.String()
}

func TestHealthServer(t *testing.T) {
	var s healthServer
	d := synced()
	report := status.New(time.Now, &s)
	h := s.handler(healthEnv(d), report, http.NotFoundHandler())
	report.Say("network", status.Done, "", map[string]any{"seconds": 1.5})
	report.Say("render", status.Start, "", nil)
	if code, body := get(t, h, "/"); code != http.StatusServiceUnavailable || !strings.Contains(body, `"step":"render"`) {
		t.Errorf("on the way: %d %s", code, body)
	}
	report.Say("render", status.Done, "", map[string]any{"seconds": 0.25})
	report.Say(status.Ready, status.Ready, "", map[string]any{"seconds": map[string]any{}})
	if code, body := get(t, h, "/"); code != http.StatusOK {
		t.Errorf("ready: %d %s", code, body)
	}
	for range 3 {
		if code, body := get(t, h, "/galera"); code != http.StatusOK || body != "Galera takes reads and writes\n" {
			t.Errorf("galera: %d %s", code, body)
		}
	}
	code, got := get(t, h, "/metrics")
	const want = `trivet_ready 1
trivet_step_seconds{step="network"} 1.5
trivet_step_seconds{step="render"} 0.25
trivet_service_healthy{service="keepalived"} 0
trivet_service_healthy{service="mariadb"} 1
trivet_vip_held 1
trivet_galera_available 1
trivet_galera_primary 1
trivet_galera_state 4
trivet_galera_members 3
trivet_galera_last_committed 1.23456789e+09
trivet_galera_receive_queue 2
trivet_galera_certification_failures 0
trivet_galera_flow_control_paused 0.25
`
	var samples strings.Builder
	for line := range strings.Lines(got) {
		if !strings.HasPrefix(line, "#") {
			samples.WriteString(line)
		} else if !strings.HasPrefix(line, "# HELP trivet_") && !strings.HasSuffix(line, " gauge\n") {
			t.Errorf("line %q", line)
		}
	}
	if diff := cmp.Diff(want, samples.String()); code != http.StatusOK || diff != "" {
		t.Errorf("%d %s", code, diff)
	}
	for _, path := range []string{"/other", "/galera/x"} {
		if code, _ := get(t, h, path); code != http.StatusNotFound {
			t.Errorf("%s: %d", path, code)
		}
	}
}

// TestMetricsWithout: a node without a database tells nothing of one, and a
// label cannot leave its quotes.
func TestMetricsWithout(t *testing.T) {
	const want = "# HELP trivet_ready Whether the node is ready.\n# TYPE trivet_ready gauge\ntrivet_ready 0\n" +
		"# HELP trivet_step_seconds How long a step of bringing the node up took.\n# TYPE trivet_step_seconds gauge\n" +
		"trivet_step_seconds{step=\"a\\\"b\\\\c\"} 2\n"
	if d := cmp.Diff(want, string(nodeMetrics{steps: map[string]float64{`a"b\c`: 2}}.text())); d != "" {
		t.Error(d)
	}
	if len(askGalera(t.Context(), nil).numbers()) != 1 {
		t.Error("a database that is not there has a state")
	}
}

// TestHealthPort: the firewall lets through what the role's file says.
func TestHealthPort(t *testing.T) {
	role, err := roles.Load("../roles", "storage")
	if err != nil {
		t.Fatal(err)
	}
	base, _ := role.Service(roles.Base)
	for _, p := range base.Ports {
		if p.Name == "health" && p.Number == healthPort && p.From == roles.FromCloud {
			return
		}
	}
	t.Errorf("roles/services/base.yaml has no port health with the number %d from the cloud: %+v", healthPort, base.Ports)
}
