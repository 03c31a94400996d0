package source

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// A Medium is a file system that holds a payload.
type Medium struct {
	Device   string // below Env.Root, for Env.ReadDisk
	Name     string // for people, such as /dev/vdb
	Type     string // iso9660 or vfat, as mount(8) names them
	Label    string
	Part     bool // a partition, not a whole disk
	Writable bool // the device lets itself be written
	// Secrets are the names under which its files may hold user-data, below
	// its root folder. Not all need be there.
	Secrets []string
}

func (m Medium) String() string { return fmt.Sprintf("%s (%s, label %s)", m.Name, m.Type, m.Label) }

// labelled probes all block devices, in the order of their names, and returns
// those whose file system has a label, in any case.
func labelled(env Env, label string) (found []Medium, looked []string, err error) {
	entries, err := os.ReadDir(env.path(sysBlock))
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
			m := Medium{Device: device, Name: "/dev/" + name, Type: l.Type, Label: l.Name}
			m.Part, m.Writable = isPartition(env, name), sysValue(env, name, "ro") != "1"
			found = append(found, m)
		}
	}
	return found, looked, nil
}

// noMedium says that no file system has the label.
func noMedium(looked []string) error {
	if len(looked) == 0 {
		return Absent("there are no block devices")
	}
	return Absent("no file system has the label; looked at " + strings.Join(looked, ", "))
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
