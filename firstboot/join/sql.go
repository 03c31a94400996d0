package join

import (
	"context"
	"crypto/sha1"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"

	"trivet/firstboot/node"
)

// socketPath is where Debian's mariadbd listens for this machine's own.
const socketPath = "/run/mysqld/mysqld.sock"

// OpenDatabase returns MariaDB on this node, as root by its socket: the account
// has no password, the kernel says who asks. It connects when it is first used.
func OpenDatabase() (*sql.DB, error) {
	c := mysql.NewConfig()
	c.User, c.Net, c.Addr = "root", "unix", socketPath
	c.Timeout, c.ReadTimeout, c.WriteTimeout = 5*time.Second, 30*time.Second, 30*time.Second
	c.Logger = silent{} // each use returns its error
	connector, err := mysql.NewConnector(c)
	if err != nil {
		return nil, fmt.Errorf("open the database: %w", err)
	}
	db := sql.OpenDB(connector)
	db.SetMaxOpenConns(2)
	db.SetMaxIdleConns(1)
	db.SetConnMaxIdleTime(time.Minute)
	return db, nil
}

type silent struct{}

func (silent) Print(...any) {}

// galeraStatus returns what Galera tells about this member. It answers outside of
// a primary component too.
func galeraStatus(ctx context.Context, db *sql.DB) (map[string]string, error) {
	rows, err := db.QueryContext(ctx, "SHOW GLOBAL STATUS WHERE Variable_name IN ('wsrep_cluster_status', 'wsrep_local_state', "+
		"'wsrep_local_state_comment', 'wsrep_ready', 'wsrep_cluster_state_uuid', 'wsrep_last_committed')")
	if err != nil {
		return nil, fmt.Errorf("ask Galera for its state: %w", err)
	}
	defer rows.Close()
	is := map[string]string{}
	for rows.Next() {
		var name, value string
		if err := rows.Scan(&name, &value); err != nil {
			return nil, fmt.Errorf("ask Galera for its state: %w", err)
		}
		is[strings.ToLower(name)] = value
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("ask Galera for its state: %w", err)
	}
	return is, nil
}

// galeraWhole returns nil if the member is in the primary component and has all
// data. One that gives a copy to another has them and takes writes meanwhile, as
// mariadb-backup does not block it; with two members there is nobody else to.
func galeraWhole(is map[string]string) error {
	// Galera's node states, wsrep_local_state.
	const donor, synced = "2", "4"
	switch state := is["wsrep_local_state"]; {
	case is["wsrep_cluster_status"] != "Primary":
		return fmt.Errorf("the component of Galera is %q, not Primary", is["wsrep_cluster_status"])
	case state != synced && state != donor:
		return fmt.Errorf("the member of Galera is %q, not Synced", is["wsrep_local_state_comment"])
	case is["wsrep_ready"] != "ON":
		return errors.New("the database does not take queries yet")
	}
	return nil
}

// GaleraState returns nil if the member can take reads and writes: it is in the
// primary component, has all data, and is not read-only. Else the error says
// what is missing.
func GaleraState(ctx context.Context, db *sql.DB) error {
	is, err := galeraStatus(ctx, db)
	if err == nil {
		err = galeraWhole(is)
	}
	if err != nil {
		return err
	}
	var readOnly string
	if err := db.QueryRowContext(ctx, "SELECT @@global.read_only").Scan(&readOnly); err != nil {
		return fmt.Errorf("ask whether the database is read-only: %w", err)
	}
	if readOnly != "0" && readOnly != "OFF" {
		return errors.New("the database is read-only")
	}
	return nil
}

// ensureAccount makes a database and an account of the same name that owns it,
// reachable from every node, and gives the account its password anew. Names are
// words of ours, never of outside input.
func ensureAccount(ctx context.Context, db *sql.DB, name string, password node.Secret) error {
	hash := nativeHash(password)
	for _, q := range []string{
		"CREATE DATABASE IF NOT EXISTS `" + name + "` CHARACTER SET utf8mb3",
		"CREATE USER IF NOT EXISTS '" + name + "'@'%' IDENTIFIED VIA mysql_native_password USING '" + hash + "'",
		"ALTER USER '" + name + "'@'%' IDENTIFIED VIA mysql_native_password USING '" + hash + "'",
		"GRANT ALL ON `" + name + "`.* TO '" + name + "'@'%'",
	} {
		if _, err := db.ExecContext(ctx, q); err != nil {
			what, _, _ := strings.Cut(q, "IDENTIFIED")
			return fmt.Errorf("%s: %w", strings.TrimSpace(what), err)
		}
	}
	return nil
}

// nativeHash is what mysql_native_password keeps: SHA1(SHA1(password)) in
// capital hex after a star (MariaDB documentation, PASSWORD()). With it the
// password itself is in no query.
func nativeHash(password node.Secret) string {
	once := sha1.Sum([]byte(password.Reveal()))
	twice := sha1.Sum(once[:])
	return "*" + strings.ToUpper(hex.EncodeToString(twice[:]))
}
