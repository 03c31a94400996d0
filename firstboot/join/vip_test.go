package join

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"

	"trivet/firstboot/node"
)

// A segment is an Ethernet network: who has which address.
type segment map[string]net.HardwareAddr

func (s segment) probe(_ context.Context, _ string, addr netip.Addr) (net.HardwareAddr, error) {
	return s[addr.String()], nil
}

// three is the first controller of three.
func threeControllers(t *testing.T) (*machine, Env) {
	m, env := controller(t, "keepalived", "keepalived.service")
	env.Device = "eth0"
	env.Node.Controllers = append(
		env.Node.Controllers,
		node.Member{Name: "ctl2", Address: netip.MustParseAddr("192.0.2.12")},
		node.Member{Name: "ctl3", Address: netip.MustParseAddr("192.0.2.13")},
	)
	env.Holds = func(netip.Addr) (string, string, error) { return "", "eth0 has 192.0.2.11/24", nil }
	return m, env
}

var (
	macTwo, macThree = net.HardwareAddr{2, 0, 0, 0, 0, 2}, net.HardwareAddr{2, 0, 0, 0, 0, 3}
	macStrange       = net.HardwareAddr{2, 0, 0, 0, 0, 9}
)

// TestVIPOfStranger: keepalived is not started while a machine that is no
// controller has the virtual IP, and is as soon as it has gone.
func TestVIPOfStranger(t *testing.T) {
	m, env := threeControllers(t)
	lan := segment{"192.0.2.100": macStrange, "192.0.2.12": macTwo} // ctl3 is off
	step := keepalivedWith(lan.probe)
	err := step.Do(t.Context(), env)
	if err == nil || !strings.Contains(err.Error(), "hardware address 02:00:00:00:00:09 on the network of eth0 has the virtual IP 192.0.2.100") {
		t.Errorf("got %v", err)
	}
	if len(m.log) > 0 {
		t.Errorf("something was done: %v", m.log)
	}
	delete(lan, "192.0.2.100")
	m.started = func(string) { lan["192.0.2.100"] = macTwo }
	if err := step.Do(t.Context(), env); err != nil {
		t.Error(err)
	}
	if n := len(m.had("systemctl start keepalived.service")); n != 1 {
		t.Errorf("started %d times", n)
	}
}

// TestVIPOfPeer: another controller may have the virtual IP, whatever its agent
// does.
func TestVIPOfPeer(t *testing.T) {
	m, env := threeControllers(t)
	lan := segment{"192.0.2.100": macThree, "192.0.2.12": macTwo, "192.0.2.13": macThree}
	if err := keepalivedWith(lan.probe).Do(t.Context(), env); err != nil || m.units["keepalived.service"] != "active" {
		t.Errorf("%v, %v", err, m.units)
	}
}

// TestVIPLeftHere: an address that a killed keepalived left here is nobody
// else's, and its next start clears it.
func TestVIPLeftHere(t *testing.T) {
	m, env := threeControllers(t)
	env.Holds = func(netip.Addr) (string, string, error) { return "eth0", "", nil }
	lan := func(context.Context, string, netip.Addr) (net.HardwareAddr, error) {
		return nil, errors.New("nobody needs to be asked")
	}
	if err := keepalivedWith(lan).Do(t.Context(), env); err != nil || m.units["keepalived.service"] != "active" {
		t.Errorf("%v, %v", err, m.units)
	}
}

func TestVIPTell(t *testing.T) {
	m, env := threeControllers(t)
	for _, c := range []struct{ state, device, want string }{
		{"inactive", "", `{"active":false,"holds":false}`},
		{"active", "", `{"active":true,"holds":false}`},
		{"active", "eth0", `{"active":true,"holds":true}`},
	} {
		m.units["keepalived.service"] = c.state
		env.Holds = func(netip.Addr) (string, string, error) { return c.device, "", nil }
		got, err := keepalived().Tell(t.Context(), env)
		if err != nil || string(got) != c.want {
			t.Errorf("%s: %s, %v, want %s", c.state, got, err, c.want)
		}
	}
}
