package join

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"trivet/roles"
)

func TestKeepalived(t *testing.T) {
	_, env := controller(t, "keepalived", "keepalived.service")
	looks := 0
	env.Holds = func(a netip.Addr) (string, string, error) {
		if looks++; looks < 3 || a != env.Node.VIP.Addr() {
			return "", "eth0 has 192.0.2.11/24", nil
		}
		return "eth0", "", nil
	}
	if err := keepalived().Do(t.Context(), env); err != nil || looks != 3 {
		t.Errorf("after %d looks: %v", looks, err)
	}
	if done, err := keepalived().Done(t.Context(), env); !done || err != nil {
		t.Errorf("done %t %v", done, err)
	}
}

// TestChecks tries each kind of check, well and unwell.
func TestChecks(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/moved":
			http.Redirect(w, r, "/ok", http.StatusFound)
		case "/ok":
		default:
			w.WriteHeader(http.StatusInternalServerError)
		}
	}))
	defer s.Close()
	m, env := controller(t, "x", "up.service")
	env.Node.Address = netip.MustParsePrefix("127.0.0.1/8")
	env.Node.VIP = netip.MustParsePrefix("127.0.0.1/8")
	m.units["up.service"] = "active"
	m.fails["/bin/no"] = 100
	port := s.URL[strings.LastIndex(s.URL, ":"):]
	for _, c := range []struct {
		check roles.Check
		want  string
	}{
		{roles.Check{Unit: "up.service"}, ""},
		{roles.Check{Unit: "down.service"}, "down.service is inactive"},
		{roles.Check{HTTP: "http://{node}" + port + "/ok"}, ""},
		{roles.Check{HTTP: "http://{vip}" + port + "/bad"}, "GET http://127.0.0.1" + port + "/bad answers 500 Internal Server Error"},
		{roles.Check{HTTP: "http://{vip}" + port + "/moved"}, "GET http://127.0.0.1" + port + "/moved answers 302 Found"},
		{roles.Check{TCP: "{node}" + port}, ""},
		{roles.Check{TCP: "{node}:1"}, "dial tcp 127.0.0.1:1: connect: connection refused"},
		{roles.Check{Run: []string{"/bin/yes"}}, ""},
		{roles.Check{Run: []string{"/bin/no"}}, "/bin/no: exit code 1"},
		{roles.Check{}, "the check is empty"},
	} {
		got := ""
		if err := Check(t.Context(), env, c.check); err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%+v: %q, want %q", c.check, got, c.want)
		}
	}
}

// TestUp: a service without a step is started; a step that is done is not run;
// an unknown step is an error.
func TestUp(t *testing.T) {
	m, env := controller(t, "memcached", "memcached.service")
	env.Service.Health = []roles.Check{{Unit: "memcached.service"}}
	if err := Up(t.Context(), env); err != nil {
		t.Error(err)
	}
	if d := cmp.Diff([]string{"systemctl start memcached.service"}, m.log); d != "" {
		t.Error(d)
	}
	env.Service.Join = "no-such-step"
	if err := Up(t.Context(), env); err == nil {
		t.Error("an unknown step was taken")
	}
	m, env = controller(t, "rabbitmq", "rabbitmq-server.service")
	env.Service.Join = "rabbitmq"
	m.units["rabbitmq-server.service"] = "active"
	if err := Up(t.Context(), env); err != nil || len(m.log) > 0 {
		t.Errorf("%v %v", err, m.log)
	}
}

// TestStepsAndRoles: every step that a service names exists, and every step is
// named.
func TestStepsAndRoles(t *testing.T) {
	all, err := roles.LoadAll("../../roles")
	if err != nil {
		t.Fatal(err)
	}
	named := map[string]bool{}
	for _, r := range all {
		for _, s := range r.Services {
			if s.Join != "" {
				named[s.Join] = true
			}
		}
	}
	for _, s := range All() {
		if !named[s.Name] {
			t.Errorf("no service names the step %s", s.Name)
		}
		delete(named, s.Name)
	}
	for name := range named {
		t.Errorf("there is no step %s", name)
	}
}
