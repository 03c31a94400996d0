// Package rings makes and keeps Swift's rings on the operator's side. Rings are
// data: nodes get the files, and nobody elects anything. swift-ring-builder(1)
// does the work; this package decides what to ask of it, so that the rings of a
// cloud follow its description, and keeps every version with its builder files,
// without which a ring cannot be changed any more.
package rings

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// A Plan is what the rings are to be. All three have the same devices.
type Plan struct {
	PartPower    int            `json:"part_power"` // 2^n partitions; fixed for ever
	Replicas     int            `json:"replicas"`
	MinPartHours int            `json:"min_part_hours"` // before a partition may move again
	Ports        map[string]int `json:"ports"`          // of the servers, by ring: account, container, object
	Devices      []Device       `json:"devices"`
}

// A Device is one disk of a storage node.
type Device struct {
	Zone    int        `json:"zone"`
	Address netip.Addr `json:"address"`
	Name    string     `json:"name"`   // the mount point below /srv/node
	Weight  float64    `json:"weight"` // relative to the others'
}

// at is how swift-ring-builder finds and adds a device.
func (d Device) at(port int) string {
	return fmt.Sprintf("r1z%d-%s/%s", d.Zone, netip.AddrPortFrom(d.Address, uint16(port)), d.Name)
}

// A Version is one state of the rings.
type Version struct {
	Number int      `json:"version"` // from 1
	Plan   Plan     `json:"plan"`
	Dir    string   `json:"-"`    // that holds NAME.ring.gz and NAME.builder
	Said   []string `json:"said"` // warnings of swift-ring-builder
}

// Names are Swift's three rings.
func Names() []string { return []string{"account", "container", "object"} }

// A Run runs a program in dir, writes what it prints to out, and returns its
// exit code; the error is one of running it at all.
type Run func(ctx context.Context, dir string, out io.Writer, args ...string) (exit int, err error)

const (
	record = "rings.json" // in a version's directory, written last
	seed   = "trivet"     // the same changes make the same rings
)

// Current is the newest version below dir; it wraps fs.ErrNotExist if there is
// none.
func Current(dir string) (Version, error) {
	found, err := filepath.Glob(filepath.Join(dir, "rings-*", record))
	if err != nil {
		return Version{}, fmt.Errorf("look for rings: %w", err)
	}
	newest := 0
	for _, path := range found {
		n, err := strconv.Atoi(strings.TrimPrefix(filepath.Base(filepath.Dir(path)), "rings-"))
		if err == nil {
			newest = max(newest, n)
		}
	}
	if newest == 0 {
		return Version{}, fmt.Errorf("look for rings in %s: %w", dir, fs.ErrNotExist)
	}
	v := Version{Dir: filepath.Join(dir, fmt.Sprintf("rings-%d", newest))}
	text, err := os.ReadFile(filepath.Join(v.Dir, record))
	if err == nil {
		err = json.Unmarshal(text, &v)
	}
	if err == nil && v.Number != newest {
		err = fmt.Errorf("it says that it is version %d", v.Number)
	}
	if err != nil {
		return Version{}, fmt.Errorf("read the record of %s: %w", v.Dir, err)
	}
	return v, nil
}

// Update makes the rings below dir what want says and returns their version,
// with true if it is a new one. A version is whole or not there.
func Update(ctx context.Context, dir string, want Plan, run Run) (Version, bool, error) {
	want = want.sorted()
	if err := want.check(); err != nil {
		return Version{}, false, err
	}
	old, err := Current(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return Version{}, false, err
	case old.Plan.equal(want):
		return old, false, nil
	case old.Plan.PartPower != want.PartPower:
		return Version{}, false, fmt.Errorf("change the rings: the part power is %d and cannot become %d: every object's place follows from it", old.Plan.PartPower, want.PartPower)
	}
	v := Version{Number: old.Number + 1, Plan: want}
	fresh := filepath.Join(dir, ".new")
	if err := os.RemoveAll(fresh); err != nil {
		return Version{}, false, fmt.Errorf("make the rings: %w", err)
	}
	if err := os.MkdirAll(fresh, 0o755); err != nil {
		return Version{}, false, fmt.Errorf("make the rings: %w", err)
	}
	for _, name := range Names() {
		said, err := makeRing(ctx, fresh, name, old, want, run)
		if err != nil {
			return Version{}, false, err
		}
		v.Said = append(v.Said, said...)
	}
	v.Dir = filepath.Join(dir, fmt.Sprintf("rings-%d", v.Number))
	return v, true, v.keep(fresh)
}

// keep gives a finished version its name.
func (v Version) keep(fresh string) error {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("write the record of the rings: %w", err)
	}
	if err := os.RemoveAll(filepath.Join(fresh, "backups")); err != nil { // the versions are the backups
		return fmt.Errorf("keep the rings: %w", err)
	}
	if err := os.WriteFile(filepath.Join(fresh, record), append(text, '\n'), 0o644); err != nil {
		return fmt.Errorf("write the record of the rings: %w", err)
	}
	if err := syncDir(fresh); err != nil {
		return fmt.Errorf("keep the rings: %w", err)
	}
	if err := os.Rename(fresh, v.Dir); err != nil {
		return fmt.Errorf("keep the rings: %w", err)
	}
	return syncDir(filepath.Dir(v.Dir))
}

// syncDir brings a directory and its files to the disk: a lost builder file
// cannot be made again.
func syncDir(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	paths := []string{dir}
	for _, e := range entries {
		if e.Type().IsRegular() {
			paths = append(paths, filepath.Join(dir, e.Name()))
		}
	}
	for _, path := range paths {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		if err := errors.Join(f.Sync(), f.Close()); err != nil {
			return err
		}
	}
	return nil
}

func (p Plan) sorted() Plan {
	p.Devices = slices.Clone(p.Devices)
	slices.SortFunc(p.Devices, func(a, b Device) int {
		if c := a.Address.Compare(b.Address); c != 0 {
			return c
		}
		return strings.Compare(a.Name, b.Name)
	})
	return p
}

func (p Plan) equal(o Plan) bool {
	return p.PartPower == o.PartPower && p.Replicas == o.Replicas && p.MinPartHours == o.MinPartHours &&
		maps.Equal(p.Ports, o.Ports) && slices.Equal(p.Devices, o.Devices)
}

func (p Plan) check() error {
	switch {
	case p.PartPower < 1 || p.PartPower > 32: // swift.common.ring.builder
		return fmt.Errorf("make rings: part power %d is not from 1 to 32", p.PartPower)
	case p.Replicas < 1 || p.Replicas > len(p.Devices):
		return fmt.Errorf("make rings: %d replicas need as many devices, there are %d", p.Replicas, len(p.Devices))
	case p.MinPartHours < 0 || p.MinPartHours > 255:
		return fmt.Errorf("make rings: min_part_hours %d is not from 0 to 255", p.MinPartHours)
	}
	for _, name := range Names() {
		if port := p.Ports[name]; port < 1 || port > 65535 {
			return fmt.Errorf("make rings: the %s servers have no port", name)
		}
	}
	for i, d := range p.Devices {
		if !d.Address.IsValid() || d.Name == "" || strings.ContainsAny(d.Name, "/ \t\n_") || d.Zone < 1 || d.Weight <= 0 {
			return fmt.Errorf("make rings: device %q of %v (zone %d, weight %v) is not complete", d.Name, d.Address, d.Zone, d.Weight)
		}
		if i > 0 && p.Devices[i-1].Address == d.Address && p.Devices[i-1].Name == d.Name {
			return fmt.Errorf("make rings: device %s of %s is there twice", d.Name, d.Address)
		}
	}
	return nil
}
