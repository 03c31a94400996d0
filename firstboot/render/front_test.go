package render

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"trivet/firstboot/node"
	"trivet/roles"
)

// TestGoldenThree renders what stands at the doors of a cloud of three
// controllers: HAProxy, keepalived and the firewall of a node of each role.
func TestGoldenThree(t *testing.T) {
	for name, paths := range map[string][]string{
		"controller": {"/etc/haproxy/haproxy.cfg", "/etc/keepalived/keepalived.conf", "/etc/nftables.conf"},
		"compute":    {"/etc/nftables.conf"},
		"storage":    {"/etc/nftables.conf"},
	} {
		role, err := roles.Load("../../roles", name)
		if err != nil {
			t.Fatal(err)
		}
		to := t.TempDir()
		if _, err := Files(overlayRoot(t, role), to, exampleOf(t, role, "testdata/three/"+name+".yaml"), declared(role)); err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			got, err := os.ReadFile(filepath.Join(to, path))
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join("testdata/three", name, path)
			if updating() {
				if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			golden(t, file, string(got))
		}
	}
}

// TestFronts: what a port does not say, its kind does.
func TestFronts(t *testing.T) {
	service := func(name string, boot bool, ports ...roles.Port) roles.Service {
		return roles.Service{Name: name, Boot: boot, Ports: ports}
	}
	d := NewData(node.Config{}, "eth0", roles.Role{
		Services: []roles.Service{
			service("base", true, roles.Port{Name: "ssh", Number: 22, Proto: "tcp", Public: true, From: roles.FromAnyone}),
			service("web", false,
				roles.Port{Name: "site", Number: 80, Proto: "tcp", VIP: "http", Public: true, From: roles.FromAnyone, Sticky: "cookie"},
				roles.Port{Name: "queue", Number: 81, Proto: "tcp", VIP: "tcp", From: roles.FromCloud, Timeout: "5m", Balance: "source"},
				roles.Port{Name: "tunnel", Number: 82, Proto: "udp", From: roles.FromControllers}),
			service("off", false, roles.Port{Name: "nothing", Number: 90, Proto: "tcp", VIP: "tcp", From: roles.FromCloud}),
		},
		Start: []string{"web"},
	})
	fronts := []Front{
		{Service: "web", Name: "site", Port: 80, HTTP: true, Balance: "roundrobin", Timeout: "1m", Cookie: true},
		{Service: "web", Name: "queue", Port: 81, Balance: "source", Timeout: "5m"},
	}
	if diff := cmp.Diff(fronts, d.Fronts); diff != "" {
		t.Errorf("fronts (-want +got):\n%s", diff)
	}
	ports := []Open{
		{"base", "ssh", "tcp", 22, roles.FromAnyone, false},
		{"web", "site", "tcp", 80, roles.FromAnyone, true},
		{"web", "site", "tcp", 80, roles.FromControllers, false},
		{"web", "queue", "tcp", 81, roles.FromCloud, false},
		{"web", "tunnel", "udp", 82, roles.FromControllers, false},
	}
	if diff := cmp.Diff(ports, d.Ports); diff != "" {
		t.Errorf("ports (-want +got):\n%s", diff)
	}
}

// TestVRRPPriority: each controller has another one, none is 255, which means
// the owner of the address, nor 0, which means that it leaves.
func TestVRRPPriority(t *testing.T) {
	c := node.Config{}
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		c.Controllers = append(c.Controllers, node.Member{Name: name})
	}
	for i, want := range []int{250, 210, 170, 130, 90} {
		c.Name = c.Controllers[i].Name
		if got := (Data{Config: c}).VRRPPriority(); got != want {
			t.Errorf("%s has %d, want %d", c.Name, got, want)
		}
	}
}

// TestNumbers: the templates name these ports themselves, since no port of a
// service is HAProxy's own front.
func TestNumbers(t *testing.T) {
	role, err := roles.Load("../../roles", "controller")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("../../overlays/haproxy/etc/haproxy/haproxy.cfg.tmpl")
	if err != nil {
		t.Fatal(err)
	}
	for service, line := range map[string]map[string]string{
		"haproxy": {"haproxy-metrics": "bind {{.Address.Addr}}:%d\n", "haproxy-peers": "peer {{.Name}} {{.Address}}:%d\n"},
		"base":    {"health": "check port %d backup\n"},
		"mariadb": {"mysql": "server {{.Name}} {{.Address}}:%d check"},
	} {
		s, _ := role.Service(service)
		for _, p := range s.Ports {
			want, ok := line[p.Name]
			if delete(line, p.Name); ok && !strings.Contains(string(text), fmt.Sprintf(want, p.Number)) {
				t.Errorf("HAProxy's template lacks %q", fmt.Sprintf(want, p.Number))
			}
		}
		if len(line) > 0 {
			t.Errorf("%s has no port %v", service, line)
		}
	}
}
