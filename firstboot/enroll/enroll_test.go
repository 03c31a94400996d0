package enroll

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"trivet/firstboot/enroll/cloud"
	"trivet/roles"
)

// TestRingPlan plans the rings of the example with three storage nodes.
func TestRingPlan(t *testing.T) {
	text, err := cloud.Example("three")
	if err != nil {
		t.Fatal(err)
	}
	c, err := cloud.Parse("three.yaml", text)
	if err != nil {
		t.Fatal(err)
	}
	storage, err := roles.Load("../../roles", "storage")
	if err != nil {
		t.Fatal(err)
	}
	p, err := RingPlan(c, storage)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]int{"account": 6202, "container": 6201, "object": 6200}, p.Ports); diff != "" {
		t.Errorf("ports (-want +got):\n%s", diff)
	}
	zones := map[int]bool{}
	names := map[string]int{}
	for _, d := range p.Devices {
		zones[d.Zone] = true
		names[d.Name]++
		if !c.Networks.Storage.CIDR.Contains(d.Address) {
			t.Errorf("device %s of %v is not on the storage network %v", d.Name, d.Address, c.Networks.Storage.CIDR)
		}
	}
	if len(zones) != 3 || names["d1"] != 3 || p.Replicas != 3 {
		t.Errorf("%d replicas in %d zones, devices %v", p.Replicas, len(zones), names)
	}
}

// TestRingPlanNeedsPorts: a role without Swift's services plans nothing.
func TestRingPlanNeedsPorts(t *testing.T) {
	_, err := RingPlan(cloud.Cloud{}, roles.Role{Name: "storage"})
	if err == nil || !strings.Contains(fmt.Sprint(err), "no service swift-account with a port") {
		t.Errorf("%v", err)
	}
}
