package boot

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The device-mapper's ioctl interface (linux/dm-ioctl.h): a struct dm_ioctl of 312
// bytes, for a table followed by a struct dm_target_spec of 40 and its parameters.
const (
	dmControl     = "/dev/mapper/control"
	dmHeaderSize  = 312
	dmTargetSize  = 40
	dmNameSize    = 128 // with the zero that ends it
	dmUUIDSize    = 129
	dmTypeSize    = 16
	dmMaxParams   = 4096
	dmReadOnly    = 1 << 0
	dmIoctlBase   = 0xc138fd00 // _IOWR(0xfd, n, struct dm_ioctl)
	dmVersion     = 0
	dmDevCreate   = 3
	dmDevRemove   = 4
	dmDevSuspend  = 6 // without DM_SUSPEND_FLAG: resume
	dmTableLoad   = 9
	dmSectorBytes = 512 // the unit of tables, whatever the disk's sectors are
)

// A VerityDevice is what OpenVerity makes of the two partitions.
type VerityDevice struct {
	Name       string // below /dev/mapper
	Data, Tree string // device nodes
	Super      Superblock
	Root       RootHash
}

// dmUUID is what libcryptsetup would call the device; systemd finds the disks
// behind / by it.
func (v VerityDevice) dmUUID() string {
	return "CRYPT-VERITY-" + hex.EncodeToString(v.Super.UUID[:]) + "-" + v.Name
}

// dmRequest is the input of one ioctl. Only a table load has a target.
type dmRequest struct {
	name, uuid string
	flags      uint32
	sectors    uint64
	target     string
	params     string
}

// encode lays the request out as the kernel reads it.
func (r dmRequest) encode() ([]byte, error) {
	if len(r.name) >= dmNameSize || len(r.uuid) >= dmUUIDSize || len(r.target) >= dmTypeSize || len(r.params) > dmMaxParams {
		return nil, errors.New("name, uuid or table is too long")
	}
	size := dmHeaderSize
	if r.target != "" {
		size += (dmTargetSize + len(r.params) + 1 + 7) &^ 7
	}
	b := make([]byte, size)
	ne := binary.NativeEndian
	ne.PutUint32(b[0:], 4) // version 4.0.0: any kernel with 4.x takes it
	ne.PutUint32(b[12:], uint32(size))
	ne.PutUint32(b[16:], dmHeaderSize) // data_start
	ne.PutUint32(b[28:], r.flags)
	copy(b[48:48+dmNameSize], r.name)
	copy(b[48+dmNameSize:48+dmNameSize+dmUUIDSize], r.uuid)
	if r.target == "" {
		return b, nil
	}
	ne.PutUint32(b[20:], 1) // target_count
	t := b[dmHeaderSize:]
	ne.PutUint64(t[8:], r.sectors) // sector_start is 0
	copy(t[24:24+dmTypeSize], r.target)
	copy(t[dmTargetSize:], r.params)
	return b, nil
}

// dmMinor reads the minor number from the answer of DM_DEV_CREATE, in the
// kernel's huge encoding of a device number.
func dmMinor(answer []byte) uint64 { return uint64(unix.Minor(dmDev(answer))) }

func dmDev(answer []byte) uint64 { return binary.NativeEndian.Uint64(answer[40:]) }

// OpenVerity creates a read-only dm-verity device and returns its node,
// /dev/dm-N. When it fails, nothing is left behind.
func (Linux) OpenVerity(v VerityDevice) (string, error) {
	data, err := deviceNumber(v.Data)
	if err != nil {
		return "", err
	}
	tree, err := deviceNumber(v.Tree)
	if err != nil {
		return "", err
	}
	control, err := os.OpenFile(dmControl, os.O_RDWR, 0)
	if err != nil {
		return "", err
	}
	defer control.Close()
	if _, err := dmCall(control, dmVersion, dmRequest{}); err != nil {
		return "", fmt.Errorf("ask the device-mapper for its version: %w", err)
	}
	answer, err := dmCall(control, dmDevCreate, dmRequest{name: v.Name, uuid: v.dmUUID(), flags: dmReadOnly})
	if err != nil {
		return "", fmt.Errorf("create the device-mapper device %s: %w", v.Name, err)
	}
	load := dmRequest{
		name: v.Name, flags: dmReadOnly, sectors: v.Super.Blocks * (verityBlock / dmSectorBytes),
		target: "verity", params: v.Super.table(data, tree, v.Root),
	}
	if _, err = dmCall(control, dmTableLoad, load); err != nil {
		err = fmt.Errorf("load the table of %s (%s): %w", v.Name, load.params, err)
	} else if _, err = dmCall(control, dmDevSuspend, dmRequest{name: v.Name, flags: dmReadOnly}); err != nil {
		err = fmt.Errorf("activate %s: %w", v.Name, err)
	}
	if err != nil {
		_, _ = dmCall(control, dmDevRemove, dmRequest{name: v.Name})
		return "", err
	}
	return fmt.Sprintf("/dev/dm-%d", dmMinor(answer)), nil
}

func dmCall(control *os.File, number uintptr, r dmRequest) ([]byte, error) {
	b, err := r.encode()
	if err != nil {
		return nil, err
	}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, control.Fd(), dmIoctlBase|number, uintptr(unsafe.Pointer(&b[0])))
	runtime.KeepAlive(control)
	if errno != 0 {
		return nil, errno
	}
	return b, nil
}

// deviceNumber returns MAJOR:MINOR of a block device's node.
func deviceNumber(node string) (string, error) {
	var st unix.Stat_t
	if err := unix.Stat(node, &st); err != nil {
		return "", fmt.Errorf("stat %s: %w", node, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFBLK {
		return "", fmt.Errorf("stat %s: not a block device", node)
	}
	return fmt.Sprintf("%d:%d", unix.Major(uint64(st.Rdev)), unix.Minor(uint64(st.Rdev))), nil
}
