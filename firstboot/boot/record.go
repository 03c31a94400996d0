package boot

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"
)

// RecordPath is where the record lies on a node.
const RecordPath = "/run/trivet/boot.json"

// A Record is what the initrd tells the agent.
type Record struct {
	RootHash     string             `json:"root_hash"`
	Slot         string             `json:"slot"` // a or b, from the label of the partition
	Disk         string             `json:"disk"` // the kernel's name, such as vda
	SectorSize   int                `json:"sector_size"`
	RootDevice   string             `json:"root_device"`   // the partition, such as /dev/vda2
	VerityDevice string             `json:"verity_device"` // the partition with the hash tree
	MappedDevice string             `json:"mapped_device"` // what is mounted, such as /dev/dm-0
	RootType     string             `json:"root_type"`     // squashfs or erofs
	VarDevice    string             `json:"var_device"`
	VarFsck      string             `json:"var_fsck"`   // clean, mended, skipped, did not run, errors left (…)
	FirstBoot    bool               `json:"first_boot"` // the machine got its id in this boot
	Modules      []string           `json:"modules"`    // in the order of loading
	Seconds      map[string]float64 `json:"seconds"`    // of each step; total from the start of /init, kernel before it
}

// writeRecord leaves the record in /run, which moves to the new root.
func (b *Boot) writeRecord(context.Context) (string, error) {
	b.record.Modules = b.modules.loaded
	total := b.Now().Sub(b.began).Seconds()
	b.record.Seconds["total"] = round(total)
	b.record.Seconds["kernel"] = round(uptime(b.at("proc/uptime")) - total)
	text, err := json.MarshalIndent(b.record, "", "  ")
	if err != nil {
		return "", fmt.Errorf("write the boot record: %w", err)
	}
	if err := os.WriteFile(b.at(RecordPath), append(text, '\n'), 0o644); err != nil {
		return "", fmt.Errorf("write the boot record: %w", err)
	}
	return fmt.Sprintf("systemd takes over after %.2f s in the initrd", total), nil
}

// uptime reads the seconds since the kernel's start, the first word of /proc/uptime.
func uptime(path string) float64 {
	text, _ := readLimited(path, 256)
	first, _, _ := strings.Cut(string(text), " ")
	seconds, _ := strconv.ParseFloat(first, 64)
	return seconds
}

// round keeps milliseconds.
func round(seconds float64) float64 { return math.Round(seconds*1000) / 1000 }
