package join

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/go-sql-driver/mysql"

	"trivet/firstboot/host"
	"trivet/firstboot/node"
	"trivet/roles"
)

// A machine is a scripted controller: its units, its programs, its database.
type machine struct {
	t       *testing.T
	root    string
	units   map[string]string // name → state
	fails   map[string]int    // first words of a program → how often it fails yet
	says    map[string]string // first words of a program → what it prints
	started func(unit string) // called when a unit starts
	log     []string          // programs that change something, statements, reports
	env     map[string][]string

	queries map[string]answer // first words of a query → its answer
}

type answer struct {
	columns []string
	rows    [][]driver.Value
	err     error
}

func controller(t *testing.T, service string, units ...string) (*machine, Env) {
	m := &machine{
		t: t, root: t.TempDir(), units: map[string]string{}, fails: map[string]int{}, says: map[string]string{}, env: map[string][]string{},
		queries: map[string]answer{"SELECT inputs": {err: &mysql.MySQLError{Number: 1146, Message: "no such table"}}},
	}
	m.galera("Primary", "4")
	secrets := map[string]node.Secret{}
	for _, name := range []string{"keystone/db", "keystone/admin", "keystone/fernet", "keystone/credential", "rabbitmq/cookie"} {
		secrets[name] = node.NewSecret("canary-" + strings.ReplaceAll(name, "/", "-"))
	}
	return m, Env{
		Root: m.root, Image: "image-1", Host: m, Service: roles.Service{Name: service, Units: units}, Database: sql.OpenDB(m),
		Node: node.Config{
			Cluster: "lab", Name: "ctl1", Role: node.Controller, Secrets: secrets, Settings: node.Settings{Region: "RegionOne"},
			Address: netip.MustParsePrefix("192.0.2.11/24"), VIP: netip.MustParsePrefix("192.0.2.100/24"),
			Controllers: []node.Member{{Name: "ctl1", Address: netip.MustParseAddr("192.0.2.11")}},
		},
		IDs:    func(string, string) (int, int, error) { return os.Getuid(), os.Getgid(), nil },
		Report: func(format string, _ ...any) { m.log = append(m.log, "say: "+format) },
	}
}

// galera sets what the database says about itself.
func (m *machine) galera(status, state string) {
	m.queries["SHOW GLOBAL STATUS"] = answer{columns: []string{"Variable_name", "Value"}, rows: [][]driver.Value{
		{"wsrep_cluster_status", status}, {"wsrep_local_state", state}, {"wsrep_local_state_comment", "state " + state}, {"wsrep_ready", "ON"},
	}}
	m.queries["SELECT @@global.read_only"] = answer{columns: []string{"x"}, rows: [][]driver.Value{{"0"}}}
}

// Run plays systemd and the programs.
func (m *machine) Run(_ context.Context, c host.Command) ([]byte, error) {
	line := strings.Join(c.Args, " ")
	for _, value := range m.secrets() {
		if strings.Contains(line, value) {
			m.t.Errorf("a secret is on the command line: %s", line)
		}
	}
	m.env[line] = c.Env
	unit := c.Args[len(c.Args)-1]
	if strings.HasPrefix(line, "systemctl show") {
		if s, ok := m.units[unit]; ok {
			return []byte(s + "\n"), nil
		}
		return []byte("inactive\n"), nil
	}
	if strings.HasPrefix(line, "systemctl reset-failed") {
		return nil, nil
	}
	m.log = append(m.log, line)
	for words, left := range m.fails {
		if strings.HasPrefix(line, words) && left > 0 {
			m.fails[words]--
			return nil, &host.ExitError{Program: c.Args[0], Code: 1, Stderr: m.says[words]}
		}
	}
	switch {
	case strings.HasPrefix(line, "systemctl start"):
		m.units[unit] = "active"
		if m.started != nil {
			m.started(unit)
		}
	case strings.HasPrefix(line, "systemctl stop"):
		m.units[unit] = "inactive"
	case strings.HasPrefix(line, "/usr/bin/mariadb-install-db"):
		m.install(c.Args)
	}
	for words, text := range m.says {
		if strings.HasPrefix(line, words) {
			return []byte(text), nil
		}
	}
	return nil, nil
}

func (m *machine) secrets() []string {
	return []string{"canary-keystone-db", "canary-keystone-admin", "canary-keystone-fernet", "canary-keystone-credential", "canary-rabbitmq-cookie"}
}

// install makes what mariadb-install-db makes.
func (m *machine) install(args []string) {
	for _, a := range args {
		if dir, ok := strings.CutPrefix(a, "--datadir="); ok {
			for _, name := range []string{"ibdata1", "mysql/user.frm"} {
				m.put(filepath.Join(dir, name), "data")
			}
		}
	}
}

func (m *machine) put(path, text string) {
	m.t.Helper()
	if !strings.HasPrefix(path, m.root) {
		path = filepath.Join(m.root, path)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		m.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		m.t.Fatal(err)
	}
}

// read returns a file of the machine, or "missing".
func (m *machine) read(path string) string {
	m.t.Helper()
	data, err := os.ReadFile(filepath.Join(m.root, path))
	if errors.Is(err, os.ErrNotExist) {
		return "missing"
	}
	if err != nil {
		m.t.Fatal(err)
	}
	return string(data)
}

// had returns the lines of the log that hold a word.
func (m *machine) had(word string) []string {
	var lines []string
	for _, l := range m.log {
		if strings.Contains(l, word) {
			lines = append(lines, l)
		}
	}
	return lines
}

// The rest is database/sql's driver.

func (m *machine) Connect(context.Context) (driver.Conn, error) { return connection{m}, nil }
func (m *machine) Driver() driver.Driver                        { return nil }

type connection struct{ m *machine }

func (connection) Prepare(string) (driver.Stmt, error) { return nil, errors.New("not used") }
func (connection) Close() error                        { return nil }
func (connection) Begin() (driver.Tx, error)           { return nil, errors.New("not used") }

func (c connection) ExecContext(_ context.Context, q string, args []driver.NamedValue) (driver.Result, error) {
	for _, a := range args {
		if s, ok := a.Value.(string); ok {
			q += " <" + s + ">"
		}
	}
	for _, value := range c.m.secrets() {
		if strings.Contains(q, value) {
			c.m.t.Errorf("a secret is in a statement: %s", q)
		}
	}
	c.m.log = append(c.m.log, "sql: "+q)
	return driver.RowsAffected(1), c.m.answer(q).err
}

func (c connection) QueryContext(_ context.Context, q string, args []driver.NamedValue) (driver.Rows, error) {
	for _, arg := range args {
		q += " <" + arg.Value.(string) + ">"
	}
	a := c.m.answer(q)
	if a.err != nil {
		return nil, a.err
	}
	return &rows{a, 0}, nil
}

// answer finds the longest known beginning of the query, and else of a part.
func (m *machine) answer(q string) answer {
	var keys []string
	for k := range m.queries {
		if strings.HasPrefix(q, k) || strings.Contains(k, "<") && strings.HasSuffix(q, k) {
			keys = append(keys, k)
		}
	}
	if len(keys) == 0 {
		return answer{columns: []string{"x"}}
	}
	slices.SortFunc(keys, func(a, b string) int { return strings.Count(b, "<") - strings.Count(a, "<") })
	return m.queries[keys[0]]
}

type rows struct {
	a answer
	n int
}

func (r *rows) Columns() []string { return r.a.columns }
func (r *rows) Close() error      { return nil }
func (r *rows) Next(dest []driver.Value) error {
	if r.n >= len(r.a.rows) {
		return io.EOF
	}
	copy(dest, r.a.rows[r.n])
	r.n++
	return nil
}
