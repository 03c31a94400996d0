package source

import (
	"os"
	"path/filepath"
	"strings"
)

// sysBlock lists block devices, whole ones and partitions
// (Documentation/ABI/stable/sysfs-block of Linux).
const sysBlock = "/sys/class/block"

// sysValue reads an attribute of a block device, or "".
func sysValue(env Env, device, attribute string) string {
	data, err := os.ReadFile(env.path(filepath.Join(sysBlock, device, attribute)))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(data))
}

func isPartition(env Env, device string) bool { return sysValue(env, device, "partition") != "" }

// wholeDisk returns the disk that a partition is on: the folder of a partition
// lies in that of its disk. A disk is its own.
func wholeDisk(env Env, device string) string {
	if !isPartition(env, device) {
		return device
	}
	real, err := filepath.EvalSymlinks(env.path(filepath.Join(sysBlock, device)))
	if err != nil {
		return device
	}
	return filepath.Base(filepath.Dir(real))
}

// isRemovable answers for optical drives, USB sticks and virtual media.
func isRemovable(env Env, device string) bool {
	disk := wholeDisk(env, device)
	return strings.HasPrefix(disk, "sr") || sysValue(env, disk, "removable") == "1"
}

// rootDisks returns the disks that the sealed root is on: those below the
// device mapper, which dm-verity opened. Nothing else uses it that early.
func rootDisks(env Env) map[string]bool {
	disks := map[string]bool{}
	slaves, _ := filepath.Glob(env.path(filepath.Join(sysBlock, "dm-*", "slaves", "*")))
	for _, s := range slaves {
		disks[wholeDisk(env, filepath.Base(s))] = true
	}
	return disks
}
