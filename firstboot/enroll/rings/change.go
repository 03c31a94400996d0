package rings

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// makeRing writes the builder and ring files of one ring into fresh.
func makeRing(ctx context.Context, fresh, name string, old Version, want Plan, run Run) (said []string, err error) {
	file := name + ".builder"
	if old.Number > 0 {
		text, err := os.ReadFile(filepath.Join(old.Dir, file))
		if err != nil {
			return nil, fmt.Errorf("change the %s ring: %w", name, err)
		}
		if err := os.WriteFile(filepath.Join(fresh, file), text, 0o644); err != nil {
			return nil, fmt.Errorf("change the %s ring: %w", name, err)
		}
	}
	for _, args := range commands(name, old, want) {
		var out bytes.Buffer
		exit, err := run(ctx, fresh, &out, slices.Concat([]string{"swift-ring-builder", file}, args)...)
		if err != nil {
			return nil, fmt.Errorf("make the %s ring: %w", name, err)
		}
		text := strings.TrimSpace(out.String())
		switch exit { // swift.cli.ringbuilder: 1 is a warning, such as a balance that cannot be had yet
		case 0:
		case 1:
			said = append(said, name+": "+text)
		default:
			return nil, fmt.Errorf("make the %s ring: swift-ring-builder %s ends with %d: %s", name, args[0], exit, text)
		}
	}
	if _, err := os.Stat(filepath.Join(fresh, name+".ring.gz")); err != nil {
		return nil, fmt.Errorf("make the %s ring: swift-ring-builder wrote none: %w", name, fs.ErrNotExist)
	}
	return said, nil
}

// commands are what leads from the old rings to the wanted ones. Devices that
// are gone leave first, so that one that moves to another zone may come again.
func commands(name string, old Version, want Plan) [][]string {
	number := strconv.Itoa
	var all [][]string
	have := old.Plan
	if old.Number == 0 {
		all = append(all, []string{"create", number(want.PartPower), number(want.Replicas), number(want.MinPartHours)})
	} else {
		if have.Replicas != want.Replicas {
			all = append(all, []string{"set_replicas", number(want.Replicas)})
		}
		if have.MinPartHours != want.MinPartHours {
			all = append(all, []string{"set_min_part_hours", number(want.MinPartHours)})
		}
	}
	before, after := byPlace(have, name), byPlace(want, name)
	for _, d := range have.Devices {
		if at := d.at(have.Ports[name]); after[at] == 0 {
			all = append(all, []string{"remove", at, "--yes"})
		}
	}
	for _, d := range want.Devices {
		at, weight := d.at(want.Ports[name]), strconv.FormatFloat(d.Weight, 'f', -1, 64)
		switch before[at] {
		case d.Weight:
		case 0:
			all = append(all, []string{"add", at, weight})
		default:
			all = append(all, []string{"set_weight", at, weight, "--yes"})
		}
	}
	return append(all, []string{"rebalance", "--seed", seed})
}

// byPlace maps a plan's devices to their weights, which are never 0.
func byPlace(p Plan, name string) map[string]float64 {
	all := map[string]float64{}
	for _, d := range p.Devices {
		all[d.at(p.Ports[name])] = d.Weight
	}
	return all
}
