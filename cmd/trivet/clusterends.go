package main

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"time"

	"github.com/urfave/cli/v3"

	"trivet/firstboot/enroll/cloud"
	"trivet/firstboot/enroll/trust"
	"trivet/firstboot/node"
)

// endsSoon is how long before the end of a certificate `check` begins to warn:
// time to make new bundles and boot every node with its own.
const endsSoon = 60 * 24 * time.Hour

// endings finds the certificates of the cloud's keys that end soon. Keys that are
// not there, or are another cloud's, are no fault unless --keys names them.
func endings(c *cli.Command, cluster string, now time.Time) ([]cloud.Finding, error) {
	dir := c.String("keys")
	of, ending, err := trust.Ending(dir, now.Add(endsSoon))
	switch {
	case errors.Is(err, fs.ErrNotExist) && !c.IsSet("keys"):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("look for certificates that end soon: %w", err)
	case of != cluster && c.IsSet("keys"):
		return nil, fmt.Errorf("look for certificates that end soon: the keys in %s are of the cloud %s, and the description is of %s", dir, of, cluster)
	case of != cluster:
		return nil, nil
	}
	var found []cloud.Finding
	for _, p := range ending {
		found = append(found, cloud.Finding{
			ID: "keys-end", Severity: cloud.Warning,
			Problem: node.Problem{File: filepath.Join(dir, "epochs.json"), Line: 1, Column: 1, Message: ends(p, now)},
		})
	}
	return found, nil
}

// ends says when and what to do.
func ends(p trust.Purpose, now time.Time) string {
	days := int(p.Until.Sub(now).Hours() / 24)
	when := fmt.Sprintf("end on %s, in %d days", p.Until.Format(time.DateOnly), days)
	if !now.Before(p.Until) {
		when = fmt.Sprintf("ended on %s", p.Until.Format(time.DateOnly))
	}
	kind := "certificates of nodes"
	if strings.HasSuffix(p.Name, "/ca") {
		kind = "the CA and all it signed"
	}
	return fmt.Sprintf("%s: %s %s; trivet cluster rotate %s, and make new bundles", p.Name, kind, when, p.Name)
}
