package render

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"trivet/firstboot/node"
	"trivet/roles"
)

func withOptions() node.Config {
	return node.Config{Extra: map[string]map[string]map[string]string{
		"keystone": {"token": {"expiration": "7200", "allow_expired_window": "3600"}, "DEFAULT": {"debug": "true"}},
		"mariadb":  {"mariadbd": {"innodb_io_capacity": "1000"}},
		"nova-api": {"DEFAULT": {"debug": "true"}},
		"rsync":    {"x": {"y": "z"}},
	}}
}

// TestOptionsReachTheFiles renders the controller's own files with and without
// options: what is new stands at their ends, and nothing else changes.
func TestOptionsReachTheFiles(t *testing.T) {
	role, err := roles.Load("../../roles", "controller")
	if err != nil {
		t.Fatal(err)
	}
	root, plain, with := overlayRoot(t, role), t.TempDir(), t.TempDir()
	data := example(t, role)
	written, err := Files(root, plain, data, declared(role))
	if err != nil {
		t.Fatal(err)
	}
	data.Extra = withOptions().Extra
	if _, err := Files(root, with, data, declared(role)); err != nil {
		t.Fatal(err)
	}
	added := map[string]string{}
	for _, path := range written {
		before, after := readFile(t, filepath.Join(plain, path)), readFile(t, filepath.Join(with, path))
		rest, ok := strings.CutPrefix(after, before)
		if !ok {
			t.Errorf("%s changes before its end", path)
		}
		if rest != "" {
			added[path] = rest
		}
	}
	const says = "\n# From config: of the description; the last value of an option counts.\n"
	want := map[string]string{
		"/etc/keystone/keystone.conf": says + "[DEFAULT]\ndebug = true\n[token]\nallow_expired_window = 3600\nexpiration = 7200\n",
		"/etc/mysql/mariadb.cnf":      says + "[mariadbd]\ninnodb_io_capacity = 1000\n",
	}
	if d := cmp.Diff(want, added); d != "" {
		t.Error(d)
	}
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestUnheard: options of a service here that no file takes are told; those of
// another role's services are not.
func TestUnheard(t *testing.T) {
	role, err := roles.Load("../../roles", "controller")
	if err != nil {
		t.Fatal(err)
	}
	got, err := Unheard(overlayRoot(t, role), withOptions(), role)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"config of nova-api: no file of this image takes it"}, got); d != "" {
		t.Error(d)
	}
	if got, err := Unheard(t.TempDir(), node.Config{}, role); err != nil || got != nil {
		t.Errorf("%v %v", got, err)
	}
}

// TestTakersSeesEveryCall: whatever an overlay says of options, Takers reads.
func TestTakersSeesEveryCall(t *testing.T) {
	files, err := filepath.Glob("../../overlays/*/etc/*/*" + Suffix)
	if err != nil || len(files) < 10 {
		t.Fatalf("%d templates, %v", len(files), err)
	}
	for _, file := range files {
		text := readFile(t, file)
		if calls, seen := strings.Count(text, "options \""), len(optionsCall.FindAllString(text, -1)); calls != seen {
			t.Errorf("%s has %d calls of options, and %d are seen", file, calls, seen)
		}
	}
}

// TestRabbitHosts makes the transport_url that Config.RabbitHosts is for.
func TestRabbitHosts(t *testing.T) {
	data := small()
	data.VIP = netip.MustParsePrefix("10.9.0.100/24")
	data.Controllers = append(data.Controllers, node.Member{Name: "ctl2", Address: netip.MustParseAddr("10.9.0.12")})
	const text = `rabbit://{{range $i, $h := .RabbitHosts}}{{if $i}},{{end}}openstack:{{secret "a/b"}}@{{$h}}{{end}}/`
	for clients, want := range map[string]string{
		node.ClientsVIP:   "rabbit://openstack:s3cret-value@10.9.0.100:5672/",
		node.ClientsNodes: "rabbit://openstack:s3cret-value@10.9.0.11:5672,openstack:s3cret-value@10.9.0.12:5672/",
	} {
		data.Settings.RabbitMQ.Clients = clients
		root := t.TempDir()
		if err := write(root+"/etc/x.tmpl", []byte(text)); err != nil {
			t.Fatal(err)
		}
		if _, err := Files(root, root, data, []string{"a/b"}); err != nil {
			t.Fatal(err)
		}
		if got := readFile(t, root+"/etc/x"); got != want {
			t.Errorf("%s: %s, want %s", clients, got, want)
		}
	}
}
