package join

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"database/sql"
	"database/sql/driver"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/go-sql-driver/mysql"

	"trivet/firstboot/node"
)

// The ledger notes, in the cloud's database, what was done once for the whole
// cloud: schemas, first accounts, the catalogue. It is there exactly as long as
// what it tells of.

// An entry of the ledger is a task, what it was done with, and the generation of
// the description that gave it.
type entry struct {
	task       string // at most 64 bytes
	inputs     string // a digest
	generation int    // 0: the description has no number
}

// ledgerDone answers whether a task was done with these inputs, or with those of
// a newer description: while the controllers of a cloud are brought to a new one,
// one by one, the old ones must not take it back. A description without a number
// is as new as any.
func ledgerDone(ctx context.Context, db *sql.DB, e entry) (bool, error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return false, fmt.Errorf("read the ledger: %w", err)
	}
	defer conn.Close()
	// The connection goes with what is set on it: where the member has lost the
	// others, a look at its state must not wait for them.
	defer func() { _ = conn.Raw(func(any) error { return driver.ErrBadConn }) }()
	// What another controller wrote a moment ago may not be applied here yet.
	if _, err := conn.ExecContext(ctx, "SET SESSION wsrep_sync_wait = 1"); err != nil {
		return false, fmt.Errorf("wait for the ledger of the other controllers: %w", err)
	}
	var was string
	var generation int
	err = conn.QueryRowContext(ctx, "SELECT inputs, generation FROM trivet.ledger WHERE task = ?", e.task).Scan(&was, &generation)
	switch {
	case errors.Is(err, sql.ErrNoRows), err != nil && noSuchTable(err):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("read the ledger: %w", err)
	}
	return was == e.inputs || e.generation != 0 && e.generation < generation, nil
}

// ledgerNote notes that a task was done.
func ledgerNote(ctx context.Context, db *sql.DB, e entry) error {
	for _, q := range []string{
		"CREATE DATABASE IF NOT EXISTS trivet",
		"CREATE TABLE IF NOT EXISTS trivet.ledger (task VARCHAR(64) PRIMARY KEY, inputs CHAR(64) NOT NULL, generation INT NOT NULL DEFAULT 0, done TIMESTAMP NOT NULL DEFAULT UTC_TIMESTAMP)",
		"ALTER TABLE trivet.ledger ADD COLUMN IF NOT EXISTS generation INT NOT NULL DEFAULT 0 AFTER inputs", // ledgers of earlier images
	} {
		if _, err := db.ExecContext(ctx, q); err != nil {
			return fmt.Errorf("make the ledger: %w", err)
		}
	}
	if _, err := db.ExecContext(ctx, "REPLACE INTO trivet.ledger (task, inputs, generation) VALUES (?, ?, ?)", e.task, e.inputs, e.generation); err != nil {
		return fmt.Errorf("write the ledger: %w", err)
	}
	return nil
}

// tableBlank answers whether a table is missing or has no row. The name is a
// word of ours.
func tableBlank(ctx context.Context, db *sql.DB, table string) (bool, error) {
	var any bool
	err := db.QueryRowContext(ctx, "SELECT EXISTS (SELECT 1 FROM "+table+")").Scan(&any)
	switch {
	case err != nil && noSuchTable(err):
		return true, nil
	case err != nil:
		return false, fmt.Errorf("look into %s: %w", table, err)
	}
	return !any, nil
}

// noSuchTable answers whether the table, its database or a column is not there:
// errors 1146, 1049 and 1054 of MariaDB.
func noSuchTable(err error) bool {
	var e *mysql.MySQLError
	return errors.As(err, &e) && (e.Number == 1146 || e.Number == 1049 || e.Number == 1054)
}

// digest is a keyed hash of inputs, so that the ledger tells a change of a
// secret and not the secret.
func digest(key node.Secret, inputs ...string) string {
	h := hmac.New(sha256.New, []byte(key.Reveal()))
	for _, s := range inputs {
		fmt.Fprintf(h, "%d:%s", len(s), s)
	}
	return hex.EncodeToString(h.Sum(nil))
}
