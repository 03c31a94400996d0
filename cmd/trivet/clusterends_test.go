package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"filippo.io/age"

	"trivet/firstboot/enroll/cloud"
	"trivet/firstboot/enroll/trust"
)

// trivet runs the command in-process.
func trivet(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(t.Context(), append([]string{"trivet"}, args...), &out, &errs)
	return code, out.String(), errs.String()
}

// TestCheckTellsEnds: certificates that end within 60 days are a warning, and
// need no passphrase to be seen.
func TestCheckTellsEnds(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "cloud.yaml")
	text, err := cloud.Example("three")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	keys := func(name, cluster string, made time.Time) string {
		t.Helper()
		at := filepath.Join(dir, name)
		if _, err := trust.Init(at, cluster, trust.Protect{Recipients: []string{id.Recipient().String()}}, made); err != nil {
			t.Fatal(err)
		}
		return at
	}
	const years = 3 // of a leaf
	fresh := keys("fresh", "acme", time.Now().AddDate(-years, 0, 62))
	soon := keys("soon", "acme", time.Now().AddDate(-years, 0, 50))
	over := keys("over", "acme", time.Now().AddDate(-years, 0, -3))
	other := keys("other", "emca", time.Now())
	for _, c := range []struct {
		keys string
		code int
		want string // in stdout, or stderr of a failure
		all  int    // warnings
	}{
		{"", 0, "0 warnings", 0},
		{fresh, 0, "0 warnings", 0},
		{soon, 0, soon + "/epochs.json:1:1: warning: agent/node: certificates of nodes end on ", 4},
		{over, 0, over + "/epochs.json:1:1: warning: galera/node: certificates of nodes ended on ", 4},
		{other, 1, "are of the cloud emca", 0},
		{filepath.Join(dir, "none"), 1, "no such file", 0},
	} {
		args := []string{"cluster", "check", file}
		if c.keys != "" {
			args = append(args, "--keys", c.keys)
		}
		code, out, errs := trivet(t, args...)
		if code != c.code || !strings.Contains(out+errs, c.want) || strings.Count(out, "[keys-end]") != c.all {
			t.Errorf("%s: code %d\n%s%s", c.keys, code, out, errs)
		}
	}
	if code, out, _ := trivet(t, "cluster", "check", "--json", file, "--keys", soon); code != 0 || strings.Count(out, `"id": "keys-end"`) != 4 {
		t.Errorf("code %d\n%s", code, out)
	}
}
