package host

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// DeviceOf returns the network interface that holds an address, or "" and what
// addresses there are instead.
func DeviceOf(want netip.Addr) (device, have string, err error) {
	links, err := net.Interfaces()
	if err != nil {
		return "", "", fmt.Errorf("list network interfaces: %w", err)
	}
	var seen []string
	for _, link := range links {
		if link.Flags&net.FlagLoopback != 0 {
			continue
		}
		addrs, err := link.Addrs()
		if err != nil {
			continue // it went away meanwhile
		}
		text := link.Name + " has none"
		if link.Flags&net.FlagRunning == 0 {
			text = link.Name + " has no carrier"
		}
		var own []string
		for _, a := range addrs {
			p, err := netip.ParsePrefix(a.String())
			if err != nil || !p.Addr().Is4() {
				continue
			}
			if p.Addr() == want {
				return link.Name, "", nil
			}
			own = append(own, p.String())
		}
		if len(own) > 0 {
			text = link.Name + " has " + strings.Join(own, " ")
		}
		seen = append(seen, text)
	}
	if len(seen) == 0 {
		seen = []string{"there is no network card"}
	}
	return "", strings.Join(seen, ", "), nil
}

// Online answers whether any interface has an IPv4 address that leads further
// than its link.
func Online() bool {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return false
	}
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Is4() && !p.Addr().IsLoopback() && !p.Addr().IsLinkLocalUnicast() {
			return true
		}
	}
	return false
}

// LinkOf returns the name of the network card with a hardware address, which
// bonds, VLANs and bridges on it may have too.
func LinkOf(mac string) (string, bool) {
	for _, card := range cards() {
		if card.HardwareAddr.String() == mac {
			return card.Name, true
		}
	}
	return "", false
}

// Cards returns the hardware addresses of the network cards, in the kernel's
// order.
func Cards() []string {
	var all []string
	for _, card := range cards() {
		all = append(all, card.HardwareAddr.String())
	}
	return all
}

// cards are the interfaces with a device behind them and an Ethernet address.
func cards() []net.Interface {
	links, err := net.Interfaces()
	if err != nil {
		return nil
	}
	slices.SortFunc(links, func(a, b net.Interface) int { return a.Index - b.Index })
	return slices.DeleteFunc(links, func(l net.Interface) bool {
		_, err := os.Stat(filepath.Join("/sys/class/net", l.Name, "device"))
		return err != nil || len(l.HardwareAddr) != 6
	})
}

// RenameLink gives a network interface another name. An interface that is up is
// taken down first where the kernel wants that, and networkd brings it up again.
func RenameLink(from, to string) error {
	if from == to {
		return nil
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("rename link %s to %s: %w", from, to, err)
	}
	defer unix.Close(fd)
	err = rename(fd, from, to)
	if errors.Is(err, unix.EBUSY) {
		if err = setDown(fd, from); err == nil {
			err = rename(fd, from, to)
		}
	}
	if err != nil {
		return fmt.Errorf("rename link %s to %s: %w", from, to, err)
	}
	return nil
}

// ifreqNames is struct ifreq of linux/if.h with ifr_newname in its union; the
// union is 24 bytes long.
type ifreqNames struct {
	name    [unix.IFNAMSIZ]byte
	newName [24]byte
}

func rename(fd int, from, to string) error {
	var r ifreqNames
	copy(r.name[:unix.IFNAMSIZ-1], from)
	copy(r.newName[:unix.IFNAMSIZ-1], to)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCSIFNAME, uintptr(unsafe.Pointer(&r))); errno != 0 {
		return errno
	}
	return nil
}

func setDown(fd int, name string) error {
	r, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFFLAGS, r); err != nil {
		return err
	}
	r.SetUint16(r.Uint16() &^ unix.IFF_UP)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, r)
}
