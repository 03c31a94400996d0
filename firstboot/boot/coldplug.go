package boot

import (
	"os"
	"path/filepath"
	"strings"
)

// Limits of the walk through sysfs. A server with many disks, functions and
// memory blocks has some 20 000 devices, not deeper than 20 folders.
const (
	maxDevices  = 200_000
	maxDepth    = 40
	maxModalias = 16 << 10
)

// modaliases returns what the devices below dir (/sys/devices) say they are, each
// once. Devices that vanish meanwhile are passed over; links are not followed.
func modaliases(dir string) []string {
	w := aliasWalk{seen: map[string]bool{}}
	w.walk(dir, 0)
	return w.found
}

type aliasWalk struct {
	seen    map[string]bool
	found   []string
	devices int
}

func (w *aliasWalk) walk(dir string, depth int) {
	if w.devices++; w.devices > maxDevices || depth > maxDepth {
		return
	}
	d, err := os.Open(dir)
	if err != nil {
		return
	}
	// Unsorted, and without a stat for each: sysfs tells what an entry is.
	entries, _ := d.ReadDir(-1)
	d.Close()
	for _, e := range entries {
		switch {
		case e.IsDir():
			w.walk(filepath.Join(dir, e.Name()), depth+1)
		case e.Name() == "modalias":
			w.read(filepath.Join(dir, "modalias"))
		}
	}
}

func (w *aliasWalk) read(name string) {
	text, err := readLimited(name, maxModalias)
	if err != nil {
		return
	}
	if alias := strings.TrimSpace(string(text)); alias != "" && !w.seen[alias] {
		w.seen[alias] = true
		w.found = append(w.found, alias)
	}
}
