package join

import (
	"context"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"trivet/firstboot/host"
	"trivet/firstboot/node"
	"trivet/roles"
)

// A script logs every program, and answers nothing.
type script struct{ log []string }

func (s *script) Run(_ context.Context, c host.Command) ([]byte, error) {
	s.log = append(s.log, strings.Join(c.Args, " "))
	return nil, nil
}

func compute(t *testing.T, service, unit string) (Env, *script) {
	s := &script{}
	return Env{
		Root: t.TempDir(), Host: s, Report: t.Logf,
		Service: roles.Service{Name: service, Units: []string{unit}},
		Node: node.Config{
			Name: "cmp1", Role: node.Compute, Address: netip.MustParsePrefix("192.0.2.31/24"),
			Controllers: []node.Member{{Name: "ctl1", Address: netip.MustParseAddr("192.0.2.11")}, {Name: "ctl2", Address: netip.MustParseAddr("192.0.2.12")}},
		},
	}, s
}

func TestOVNSetsChassis(t *testing.T) {
	e, s := compute(t, "openvswitch", "openvswitch-switch.service")
	if done, err := ovn().Done(t.Context(), e); done || err != nil {
		t.Fatalf("done %v, %v", done, err)
	}
	if err := ovn().Do(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"systemctl reset-failed openvswitch-switch.service", "systemctl start openvswitch-switch.service",
		`ovs-vsctl --timeout=60 set Open_vSwitch .` +
			` external_ids:system-id="cmp1" external_ids:hostname="cmp1"` +
			` external_ids:ovn-encap-type="geneve" external_ids:ovn-encap-ip="192.0.2.31"` +
			` external_ids:ovn-remote-probe-interval="60000"` +
			` external_ids:ovn-remote="tcp:192.0.2.11:6642,tcp:192.0.2.12:6642"`,
	}
	if diff := cmp.Diff(want, s.log); diff != "" {
		t.Errorf("programs (-want +got):\n%s", diff)
	}
}

func TestOVNController(t *testing.T) {
	e, s := compute(t, "ovn-controller", "ovn-controller.service")
	if err := ovn().Do(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	want := []string{"systemctl reset-failed ovn-controller.service", "systemctl start ovn-controller.service"}
	if diff := cmp.Diff(want, s.log); diff != "" {
		t.Errorf("programs (-want +got):\n%s", diff)
	}
}

func TestLibvirtSaysWhenItEmulates(t *testing.T) {
	for _, kvm := range []bool{false, true} {
		e, s := compute(t, "libvirt", "libvirtd.service")
		var said []string
		e.Report = func(format string, _ ...any) { said = append(said, format) }
		if kvm {
			if err := os.MkdirAll(e.Path("/dev"), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(e.Path("/dev/kvm"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := libvirt().Do(t.Context(), e); err != nil {
			t.Fatal(err)
		}
		if emulates := len(said) == 1 && strings.Contains(said[0], "/dev/kvm"); emulates == kvm {
			t.Errorf("with KVM %v it says %q", kvm, said)
		}
		if len(s.log) != 2 || s.log[1] != "systemctl start libvirtd.service" {
			t.Errorf("programs %q", s.log)
		}
	}
}
