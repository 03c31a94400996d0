package boot

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Linux is the kernel that this program runs on.
type Linux struct {
	// Events is a socket of kobject events, or -1: see OpenEvents.
	Events int
}

// kobjectEvents is the multicast group of the kernel's own events
// (linux/netlink.h; group 2 is udev's).
const kobjectEvents = 1

// OpenEvents listens to devices that come and go, so that Wait can end early.
// Without it, waiting is only slower.
func OpenEvents() (Linux, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_KOBJECT_UEVENT)
	if err != nil {
		return Linux{Events: -1}, fmt.Errorf("open a socket for device events: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: kobjectEvents}); err != nil {
		_ = unix.Close(fd)
		return Linux{Events: -1}, fmt.Errorf("listen to device events: %w", err)
	}
	return Linux{Events: fd}, nil
}

// Wait returns a moment after the first device event, or after d.
func (l Linux) Wait(d time.Duration) {
	if l.Events < 0 {
		time.Sleep(min(d, 100*time.Millisecond))
		return
	}
	fds := []unix.PollFd{{Fd: int32(l.Events), Events: unix.POLLIN}}
	n, err := unix.Poll(fds, int(d.Milliseconds()))
	if err != nil && !errors.Is(err, unix.EINTR) {
		time.Sleep(min(d, 100*time.Millisecond))
		return
	}
	if n > 0 {
		// Events come in showers; what they say is read from sysfs anyway.
		time.Sleep(10 * time.Millisecond)
		drain(l.Events)
	}
}

// drain reads what a socket holds, at most as much as its buffer could.
func drain(fd int) {
	b := make([]byte, 8<<10)
	for range 10_000 {
		if _, err := unix.Read(fd, b); err != nil && !errors.Is(err, unix.ENOBUFS) && !errors.Is(err, unix.EINTR) {
			return
		}
	}
}

// Release returns uname's release.
func (Linux) Release() (string, error) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "", fmt.Errorf("ask for the kernel's version: %w", err)
	}
	return unix.ByteSliceToString(u.Release[:]), nil
}

// LoadModule calls finit_module(2). Compressed modules are the kernel's to unpack.
func (Linux) LoadModule(file, params string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	flags := 0
	if !strings.HasSuffix(file, ".ko") {
		flags = unix.MODULE_INIT_COMPRESSED_FILE
	}
	return unix.FinitModule(int(f.Fd()), params, flags)
}

// Mount calls mount(2).
func (Linux) Mount(source, target, fstype string, flags uintptr, data string) error {
	return unix.Mount(source, target, fstype, flags, data)
}

// Detach calls umount2(2).
func (Linux) Detach(target string) error { return unix.Unmount(target, unix.MNT_DETACH) }

// Random calls getrandom(2), which is bounded here: it waits for the kernel's
// generator to be seeded, at most 30 s.
func (Linux) Random(b []byte) error {
	for range 300 {
		n, err := unix.Getrandom(b, unix.GRND_NONBLOCK)
		if err == nil && n == len(b) {
			return nil
		}
		if err != nil && !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("read random bytes: %w", err)
		}
		time.Sleep(100 * time.Millisecond)
	}
	return errors.New("read random bytes: the kernel had none for 30 s")
}

// Exec calls execve(2).
func (Linux) Exec(args, env []string) error { return unix.Exec(args[0], args, env) }

// AddPartition calls BLKPG with BLKPG_ADD_PARTITION. Start and length are bytes.
func (Linux) AddPartition(disk string, number int, start, length int64) error {
	f, err := os.Open(disk)
	if err != nil {
		return err
	}
	defer f.Close()
	p := unix.BlkpgPartition{Start: start, Length: length, Pno: int32(number)}
	arg := unix.BlkpgIoctlArg{Op: unix.BLKPG_ADD_PARTITION, Datalen: int32(unsafe.Sizeof(p)), Data: (*byte)(unsafe.Pointer(&p))}
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), unix.BLKPG, uintptr(unsafe.Pointer(&arg))); errno != 0 {
		return errno
	}
	return nil
}
