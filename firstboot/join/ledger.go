package join

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/go-sql-driver/mysql"

	"trivet/firstboot/node"
)

// The ledger notes, in the cloud's database, what was done once for the whole
// cloud and with which inputs: schemas, first accounts, the catalogue. It is
// there exactly as long as what it tells of.

// ledgerDone answers whether a task was done with these inputs.
func ledgerDone(ctx context.Context, db *sql.DB, task, inputs string) (bool, error) {
	var was string
	err := db.QueryRowContext(ctx, "SELECT inputs FROM trivet.ledger WHERE task = ?", task).Scan(&was)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return false, nil
	case err != nil && noSuchTable(err):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("read the ledger: %w", err)
	}
	return was == inputs, nil
}

// ledgerNote notes that a task was done.
func ledgerNote(ctx context.Context, db *sql.DB, task, inputs string) error {
	for _, q := range []string{
		"CREATE DATABASE IF NOT EXISTS trivet",
		"CREATE TABLE IF NOT EXISTS trivet.ledger (task VARCHAR(64) PRIMARY KEY, inputs CHAR(64) NOT NULL, done TIMESTAMP NOT NULL DEFAULT UTC_TIMESTAMP)",
	} {
		if _, err := db.ExecContext(ctx, q); err != nil {
			return fmt.Errorf("make the ledger: %w", err)
		}
	}
	if _, err := db.ExecContext(ctx, "REPLACE INTO trivet.ledger (task, inputs) VALUES (?, ?)", task, inputs); err != nil {
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

// noSuchTable answers whether the table or its database is not there: errors
// 1146 and 1049 of MariaDB.
func noSuchTable(err error) bool {
	var e *mysql.MySQLError
	return errors.As(err, &e) && (e.Number == 1146 || e.Number == 1049)
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
