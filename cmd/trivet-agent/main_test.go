package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"trivet/firstboot"
	"trivet/roles"
)

const seed = `#trivet/v1
cluster: lab
name: ctl1
role: controller
vip: 192.0.2.100/24
address: 192.0.2.11/24
controllers:
  - {name: ctl1, address: 192.0.2.11}
secrets:
  front/admin: canary-of-the-description
`

// tree makes the root of an image with a seed in it.
func tree(t *testing.T, userData string) string {
	t.Helper()
	root := t.TempDir()
	role := roles.Role{Name: "controller", Services: []roles.Service{{Name: "front", Secrets: []string{"front/admin"}}}}
	data, err := role.JSON()
	if err != nil {
		t.Fatal(err)
	}
	for path, text := range map[string]string{
		"usr/share/trivet/role.json":           string(data),
		"etc/front.conf.tmpl":                  `{{.Name}} {{.Device}} {{secret "front/admin"}}`,
		"var/lib/cloud/seed/nocloud/meta-data": "instance-id: i-1\n",
		"var/lib/cloud/seed/nocloud/user-data": userData,
	} {
		path = filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func agent(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(t.Context(), append([]string{"trivet-agent"}, args...), &out, &errs)
	return code, out.String(), errs.String()
}

func TestUsage(t *testing.T) {
	for _, c := range []struct {
		args []string
		code int
		out  string // in stdout
		err  string // in stderr
	}{
		{nil, 0, "trivet-agent explain --json | jq .taken", ""},
		{[]string{"--help"}, 0, "Systemd runs \"trivet-agent run\"", ""},
		{[]string{"--version"}, 0, "unknown", ""},
		{[]string{"explian"}, exitUsage, "", `there is no command "explian"`},
		{[]string{"explain", "now"}, exitUsage, "", "explain takes no arguments"},
		{[]string{"explain", "--jsn"}, exitUsage, "", "--help"},
		{[]string{"run", "now"}, exitUsage, "", "run takes no arguments"},
		{[]string{"render"}, exitUsage, "", "to"},
		{[]string{"explain", "--root", "/no/such/root"}, exitFailed, "", "read the image's role: open /no/such/root/usr/share/trivet/role.json"},
	} {
		code, out, errs := agent(t, c.args...)
		if code != c.code || !strings.Contains(out, c.out) || !strings.Contains(errs, c.err) {
			t.Errorf("%v: code %d\nstdout: %s\nstderr: %s", c.args, code, out, errs)
		}
		if code != 0 && strings.Count(errs, "\n") > 2 {
			t.Errorf("%v says too much: %s", c.args, errs)
		}
	}
}

func TestExplain(t *testing.T) {
	root := tree(t, seed)
	code, out, errs := agent(t, "explain", "--root", root)
	if code != 0 || !strings.Contains(out, "ctl1 is controller of lab, at 192.0.2.11/24; virtual IP 192.0.2.100/24; controllers: ctl1 192.0.2.11") || strings.Contains(out, "canary") {
		t.Errorf("%d %s %s", code, out, errs)
	}
	code, out, _ = agent(t, "explain", "--json", "--root", root)
	var e firstboot.Explanation
	if err := json.Unmarshal([]byte(out), &e); err != nil || code != 0 {
		t.Fatal(code, err)
	}
	want := &firstboot.Summary{
		Origin: "/var/lib/cloud/seed/nocloud", Instance: "i-1", Cluster: "lab", Name: "ctl1", Role: "controller", Address: "192.0.2.11/24", VIP: "192.0.2.100/24",
		Controllers: []string{"ctl1 192.0.2.11"}, Secrets: 1, Bundle: "in the description", Network: "DHCP on every card",
	}
	if d := cmp.Diff(want, e.Taken); d != "" {
		t.Error(d)
	}
	var states []string
	for _, s := range e.Sources {
		states = append(states, s.Source+" "+s.State)
	}
	if d := cmp.Diff([]string{
		"cmdline-url absent", "credential absent", "cmdline-ds absent", "smbios-serial absent", "seed-dir taken",
		"config-2 absent", "cidata absent", "openstack-imds absent", "ec2 absent", "none passed over",
	}, states); d != "" {
		t.Error(d)
	}
	_, out, _ = agent(t, "explain", "--root", tree(t, "#trivet/v1\nname: [\n"))
	if !strings.Contains(out, "It cannot be used:\n  /var/lib/cloud/seed/nocloud/user-data:2:") || !strings.Contains(out, "the node waits") {
		t.Error(out)
	}
}

func TestRender(t *testing.T) {
	root := tree(t, seed)
	for want, args := range map[string][]string{
		"ctl1 eth0 [redacted]":                nil,
		"ctl1 ens3 canary-of-the-description": {"--device", "ens3", "--with-secrets"},
	} {
		to := t.TempDir()
		code, out, errs := agent(t, append([]string{"render", "--root", root, "--to", to}, args...)...)
		if code != 0 || out != "/etc/front.conf\n" {
			t.Errorf("%v: %d %s %s", args, code, out, errs)
		}
		got, err := os.ReadFile(filepath.Join(to, "etc/front.conf"))
		if err != nil || string(got) != want {
			t.Errorf("%v: %q %v, want %q", args, got, err, want)
		}
	}
}
