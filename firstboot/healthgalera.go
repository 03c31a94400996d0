package firstboot

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// HAProxy asks each member every 500 ms and takes no answer within a second for
// a no. An answer serves those of all controllers for a part of that.
const (
	galeraLimit = 800 * time.Millisecond
	galeraKeep  = 200 * time.Millisecond
)

// Galera's node states, wsrep_local_state (Galera documentation).
const (
	galeraDonor  = "2"
	galeraSynced = "4"
)

// A galeraReport is what the database says about itself: Galera's status values
// by their names, and whether it is read-only.
type galeraReport struct {
	is       map[string]string
	readOnly bool
	err      error // it did not answer
}

// askGalera asks the database of this node, in two short queries.
func askGalera(ctx context.Context, db *sql.DB) galeraReport {
	r := galeraReport{is: map[string]string{}}
	if r.err = readStatus(ctx, db, r.is); r.err != nil {
		r.err = fmt.Errorf("ask Galera for its state: %w", r.err)
		return r
	}
	var readOnly string
	if err := db.QueryRowContext(ctx, "SELECT @@global.read_only").Scan(&readOnly); err != nil {
		r.err = fmt.Errorf("ask whether the database is read-only: %w", err)
	}
	r.readOnly = readOnly != "0" && readOnly != "OFF"
	return r
}

func readStatus(ctx context.Context, db *sql.DB, into map[string]string) error {
	if db == nil {
		return errors.New("this node has no database")
	}
	rows, err := db.QueryContext(ctx, "SHOW GLOBAL STATUS WHERE Variable_name IN ('wsrep_cluster_status', 'wsrep_local_state',"+
		" 'wsrep_local_state_comment', 'wsrep_ready', 'wsrep_cluster_size', 'wsrep_last_committed', 'wsrep_local_recv_queue',"+
		" 'wsrep_local_cert_failures', 'wsrep_flow_control_paused')")
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var name, value string
		if err := rows.Scan(&name, &value); err != nil {
			return err
		}
		into[strings.ToLower(name)] = value
	}
	return rows.Err()
}

// takesWrites returns nil if HAProxy may send clients to this member, else why
// not. A donor may serve them: the state transfer, by mariadb-backup, does not
// block it, and a member that joins must not take the writer away (as
// kolla-ansible's AVAILABLE_WHEN_DONOR=1).
func (r galeraReport) takesWrites() error {
	switch {
	case r.err != nil:
		return r.err
	case r.is["wsrep_cluster_status"] != "Primary":
		return fmt.Errorf("the component of Galera is %q, not Primary", r.is["wsrep_cluster_status"])
	case r.is["wsrep_local_state"] != galeraSynced && r.is["wsrep_local_state"] != galeraDonor:
		return fmt.Errorf("the member of Galera is %q, neither Synced nor a donor", r.is["wsrep_local_state_comment"])
	case r.is["wsrep_ready"] != "ON":
		return errors.New("the database does not take queries yet")
	case r.readOnly:
		return errors.New("the database is read-only")
	}
	return nil
}

// A gauge is a number with the end of its metric's name and what it is.
type gauge struct {
	name, help string
	value      float64
}

// numbers are the report's values for /metrics. A database that does not answer
// has but one.
func (r galeraReport) numbers() []gauge {
	all := []gauge{{"available", "Whether the database member of this node takes reads and writes.", truth(r.takesWrites() == nil)}}
	if r.err != nil {
		return all
	}
	all = append(all, gauge{"primary", "Whether this member is in the primary component.", truth(r.is["wsrep_cluster_status"] == "Primary")})
	for _, g := range []struct{ name, of, help string }{
		{"state", "wsrep_local_state", "State of this member: 1 joining, 2 donor, 3 joined, 4 synced."},
		{"members", "wsrep_cluster_size", "Members of the component that this one is in."},
		{"last_committed", "wsrep_last_committed", "Sequence number of the last transaction committed here."},
		{"receive_queue", "wsrep_local_recv_queue", "Transactions of other members that wait to be applied here."},
		{"certification_failures", "wsrep_local_cert_failures", "Transactions of this member that lost against one of another, since its start."},
		{"flow_control_paused", "wsrep_flow_control_paused", "Part of the time in which replication was paused, 0 to 1."},
	} {
		if value, err := strconv.ParseFloat(r.is[g.of], 64); err == nil {
			all = append(all, gauge{g.name, g.help, value})
		}
	}
	return all
}

func truth(is bool) float64 {
	if is {
		return 1
	}
	return 0
}
