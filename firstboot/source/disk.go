package source

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"trivet/firstboot/node"
)

// label is that of a NoCloud seed's file system, in any case.
const label = "cidata"

// A seedDisk is a block device with a seed's label.
type seedDisk struct {
	device string // below Root
	name   string // for people
	probe  Label
}

// lookDisks takes the file system labelled cidata. Whole disks and partitions
// are looked at. Two with different content are an error: nobody can know
// which is meant.
func lookDisks(env Env) (*Candidate, error) {
	disks, looked, err := seedDisks(env)
	switch {
	case err != nil:
		return nil, err
	case len(looked) == 0:
		return nil, Absent("there are no block devices")
	case len(disks) == 0:
		return nil, Absent("no file system has the label; looked at " + strings.Join(looked, ", "))
	}
	origin := fmt.Sprintf("%s (%s, label %s)", disks[0].name, disks[0].probe.Type, disks[0].probe.Name)
	return &Candidate{Origin: origin, Read: func(context.Context) (Payload, error) {
		files, err := env.ReadDisk(disks[0].device, disks[0].probe.Type, names(), node.MaxDescription)
		if err != nil {
			return Payload{}, err
		}
		for _, other := range disks[1:] {
			again, err := env.ReadDisk(other.device, other.probe.Type, names(), node.MaxDescription)
			if err != nil {
				return Payload{}, err
			}
			if !maps.EqualFunc(files, again, slices.Equal[[]byte]) {
				return Payload{}, fmt.Errorf("%s and %s are both labelled %s and differ; detach one", disks[0].name, other.name, label)
			}
		}
		return payload(disks[0].name+":/", files)
	}}, nil
}

// seedDisks probes all block devices, in the order of their names.
func seedDisks(env Env) (found []seedDisk, looked []string, err error) {
	entries, err := os.ReadDir(env.path("/sys/class/block"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, nil, fmt.Errorf("list block devices: %w", err)
	}
	for _, e := range entries {
		name := e.Name()
		if strings.HasPrefix(name, "loop") || strings.HasPrefix(name, "ram") || strings.HasPrefix(name, "zram") || strings.HasPrefix(name, "dm-") || strings.HasPrefix(name, "nbd") {
			continue // never how a machine is given a seed
		}
		// A "!" stands for the slash of a name such as cciss/c0d0 (sysfs).
		device := env.path(filepath.Join("/dev", strings.ReplaceAll(name, "!", "/")))
		looked = append(looked, "/dev/"+name)
		l, err := probeDevice(device)
		if err != nil {
			continue // an empty drive, or a device that just went away
		}
		if strings.EqualFold(l.Name, label) || strings.EqualFold(l.Boot, label) {
			found = append(found, seedDisk{device: device, name: "/dev/" + name, probe: l})
		}
	}
	return found, looked, nil
}

func probeDevice(path string) (Label, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return Label{}, err
	}
	defer f.Close()
	l, ok := Probe(f)
	if !ok {
		return Label{}, errors.New("no file system that a seed can be on")
	}
	return l, nil
}
