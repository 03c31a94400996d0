// Package disk lays an image's parts out on a disk: GPT by the Discoverable
// Partitions Specification, an EFI system partition with systemd-boot and the
// unified kernel image, the sealed root and its hash tree; it writes the
// definitions by which systemd-repart makes the rest on the machine, and reads
// finished disk images.
package disk

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"strings"
	"time"

	"trivet/builder/host"
)

// A Tool runs a program of the tools root with the given mounts, which it sees
// below /tmp, and waits for it. The program gets only these mounts and no
// network.
type Tool func(ctx context.Context, mounts []host.Mount, args ...string) error

// mib is the unit to which everything on the disk is aligned.
const mib = 1 << 20

// defaultPadding is what stays free at the end of a machine's disk: Ironic puts
// its config drive there, a partition of 64 MiB with an entry in the GPT.
const defaultPadding = 64 * mib

// A Layout says how large the partitions are, in bytes, each a multiple of
// 1 MiB.
type Layout struct {
	ESP     int64 // EFI system partition
	Root    int64 // each of the two root slots
	Verity  int64 // each of the two hash trees
	Padding int64 // left free at the end of the machine's disk; 0 is 64 MiB
	// SectorSize is the disk's logical sector size: 512 (also for 0) or 4096.
	SectorSize int
	Arch       string // Debian's name of the architecture; "" is amd64
}

// Contents are the files that go onto the disk.
type Contents struct {
	Loader   string    // path of systemd-boot
	UKI      string    // path of the unified kernel image
	Root     string    // path of the root file system
	Verity   string    // path of its hash tree
	RootHash string    // 64 hex digits
	Version  string    // of the image, for the UKI's name; "" leaves it out
	Epoch    time.Time // time of the files on the EFI system partition
}

// arch is what the specifications fix for an architecture: partition types
// (UAPI Group, Discoverable Partitions Specification) and the loader's names
// (UEFI Specification 2.10, 3.5.1.1; bootctl(1)).
type arch struct {
	name               string // systemd's
	root, verity       string
	fallback, bootName string
}

func archOf(name string) (arch, error) {
	switch name {
	case "", "amd64":
		return arch{
			"x86-64", "4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709", "2C7357ED-EBD2-46D9-AEC1-23D437EC2BF5",
			"BOOTX64.EFI", "systemd-bootx64.efi",
		}, nil
	case "arm64":
		return arch{
			"arm64", "B921B045-1DF0-41C3-AF44-4C6F280D3FAE", "DF3300CE-D69F-4C92-978C-9BFB0F38D820",
			"BOOTAA64.EFI", "systemd-bootaa64.efi",
		}, nil
	}
	return arch{}, fmt.Errorf("lay out a disk: no partition types are known for architecture %q (amd64 and arm64 are)", name)
}

// Partition types that do not depend on the architecture.
const (
	typeESP = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
	typeVar = "4D21B016-B534-45C2-A9FB-5C16E091FD2D"
)

// withDefaults fills in what was left out and refuses what cannot work.
func (l Layout) withDefaults() (Layout, arch, error) {
	a, err := archOf(l.Arch)
	if err != nil {
		return l, a, err
	}
	if l.SectorSize == 0 {
		l.SectorSize = 512
	}
	if l.Padding == 0 {
		l.Padding = defaultPadding
	}
	if l.SectorSize != 512 && l.SectorSize != 4096 {
		return l, a, fmt.Errorf("lay out a disk: sectors of %d bytes; 512 and 4096 are possible", l.SectorSize)
	}
	for _, p := range []struct {
		key  string
		size int64
	}{{"esp", l.ESP}, {"root", l.Root}, {"verity", l.Verity}, {"padding", l.Padding}} {
		if p.size <= 0 || p.size%mib != 0 || p.size > 1<<50 {
			return l, a, fmt.Errorf("lay out a disk: disk.%s is %d bytes, want a multiple of 1 MiB", p.key, p.size)
		}
	}
	if least := minESP(l.SectorSize); l.ESP < least {
		return l, a, fmt.Errorf("lay out a disk: disk.esp is %s, FAT32 with sectors of %d bytes needs at least %s", size(l.ESP), l.SectorSize, size(least))
	}
	return l, a, nil
}

// minESP is the smallest FAT32 file system, one cluster a sector: 65525 clusters
// (Microsoft, FAT: General Overview of On-Disk Format) and their tables, rounded
// up.
func minESP(sector int) int64 {
	if sector == 4096 {
		return 260 * mib
	}
	return 36 * mib
}

// size says a number of bytes as people do.
func size(n int64) string {
	if n%mib == 0 {
		return fmt.Sprintf("%d MiB", n/mib)
	}
	return fmt.Sprintf("%.1f MiB", float64(n)/mib)
}

// ids are the names of a disk and its partitions, all from the root hash.
type ids struct {
	disk, esp, root, verity string
	volume                  string // FAT volume id, 8 hex digits
}

func idsOf(rootHash string) (ids, error) {
	if !regexp.MustCompile(`^[0-9a-f]{64}$`).MatchString(rootHash) {
		return ids{}, fmt.Errorf("lay out a disk: %q is no root hash of 64 hex digits", rootHash)
	}
	derive := func(what string) []byte {
		sum := sha256.Sum256([]byte("trivet " + what + " " + rootHash))
		sum[6] = sum[6]&0x0f | 0x80 // RFC 9562: version 8, vendor-specific
		sum[8] = sum[8]&0x3f | 0x80
		return sum[:]
	}
	return ids{
		disk: uuid(hex.EncodeToString(derive("disk"))), esp: uuid(hex.EncodeToString(derive("esp"))),
		// Discoverable Partitions Specification: the root's UUID is the first, the
		// hash tree's the last 128 bits of the root hash.
		root: uuid(rootHash[:32]), verity: uuid(rootHash[32:]),
		volume: hex.EncodeToString(derive("volume")[:4]),
	}, nil
}

// uuid writes 32 hex digits as a UUID.
func uuid(h string) string {
	return strings.ToUpper(h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:32])
}
