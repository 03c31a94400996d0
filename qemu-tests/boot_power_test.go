package qemutests

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"trivet/qemu-tests/cluster"
)

// A cut is a moment of a first boot in which the power goes: when a record
// comes, and a little later.
type cut struct {
	record func(cluster.Record) bool
	later  time.Duration
}

// step likes records of a step whose message holds a text.
func step(name, message string) func(cluster.Record) bool {
	return func(r cluster.Record) bool { return r.Step == name && strings.Contains(r.Message, message) }
}

// TestBootAfterPowerCutInFirstBoot turns machines off in the middle of their
// first boot, where the most is half done, and wants the next boot to be good.
func TestBootAfterPowerCutInFirstBoot(t *testing.T) {
	wantsQEMU(t)
	for _, tt := range []struct {
		name, role string
		cuts       []cut
	}{
		{"storage while its disks are made", "storage", []cut{
			{record: step("initrd-root", ""), later: 200 * time.Millisecond}, // systemd-repart comes next
			{record: step("swift-account", ""), later: time.Second},
		}},
		{"controller while its database is made", "controller", []cut{
			{record: step("mariadb", ""), later: 2 * time.Second},
			{record: step("keystone", "tables"), later: 3 * time.Second},
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, l := machines(t, tt.role), newLab(t)
			n := c.AddNode(tt.role, l.options(c, tt.role, cluster.Virtio))
			for _, cut := range tt.cuts {
				n.Start()
				n.WaitRecord(readyTime, "the step to be cut", cut.record)
				time.Sleep(c.Bound(cut.later))
				n.Kill()
			}
			n.Start()
			n.WaitReady(readyTime)
			checkUnits(t, n)
			checkDisk(t, n)
			if tt.role == "controller" {
				l.token(t, c, n)
			} else if status, body := swift(t, c, n, "PUT", 6200, objectPath, "x"); status != http.StatusCreated {
				t.Errorf("store an object: status %d: %s", status, body)
			}
		})
	}
}
