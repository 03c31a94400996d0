// Package enroll is the operator's side of first boot: from one description of
// the whole cloud to what each node is told. It is the recipe over its own
// stages: cloud reads and checks the description, rings makes Swift's rings.
package enroll

import (
	"fmt"

	"trivet/firstboot/enroll/cloud"
	"trivet/firstboot/enroll/rings"
	"trivet/roles"
)

// RingPlan is what the rings of a cloud are to be: a device for each disk of
// each storage node, in the description's order, as the agent names them (d1,
// d2, …). The ports are those of the servers in the storage role.
func RingPlan(c cloud.Cloud, storage roles.Role) (rings.Plan, error) {
	p := rings.Plan{PartPower: c.Swift.PartPower, Replicas: c.Swift.Replicas, MinPartHours: c.Swift.MinPartHours, Ports: map[string]int{}}
	for _, name := range rings.Names() {
		s, ok := storage.Service("swift-" + name)
		if !ok || len(s.Ports) == 0 {
			return p, fmt.Errorf("plan the rings: role %s has no service swift-%s with a port", storage.Name, name)
		}
		p.Ports[name] = s.Ports[0].Number
	}
	for _, n := range c.Storages {
		for i, d := range n.Disks {
			p.Devices = append(p.Devices, rings.Device{Zone: n.Zone, Address: n.On(cloud.Storage).Addr(), Name: fmt.Sprintf("d%d", i+1), Weight: d.Weight})
		}
	}
	return p, nil
}
