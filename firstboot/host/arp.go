package host

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// RFC 5227 §1.1 asks three times, with up to 2 s between. The cloud's own
// network answers sooner.
const (
	arpProbes = 3
	arpPause  = 300 * time.Millisecond
)

// arpSize is that of an ARP packet for IPv4 on Ethernet, in bytes (RFC 826).
const arpSize = 28

// ProbeARP asks on a network interface who has an IPv4 address, as RFC 5227 does
// before an address is taken: the question names no sender, so that no neighbour
// learns anything from it. It returns the hardware address of whoever says that
// the address is his, or nil after 0.9 s without such a word. This machine does
// not hear itself.
func ProbeARP(ctx context.Context, device string, addr netip.Addr) (net.HardwareAddr, error) {
	owner, err := probeARP(ctx, device, addr)
	if err != nil {
		return nil, fmt.Errorf("ask on %s who has %s: %w", device, addr, err)
	}
	return owner, nil
}

func probeARP(ctx context.Context, device string, addr netip.Addr) (net.HardwareAddr, error) {
	link, err := net.InterfaceByName(device)
	if err != nil {
		return nil, err
	}
	if len(link.HardwareAddr) != 6 || !addr.Is4() {
		return nil, errors.New("ARP is for IPv4 on Ethernet")
	}
	protocol := binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, unix.ETH_P_ARP))
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, int(protocol))
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	here := unix.SockaddrLinklayer{Protocol: protocol, Ifindex: link.Index}
	if err := unix.Bind(fd, &here); err != nil {
		return nil, err
	}
	all := unix.SockaddrLinklayer{Protocol: protocol, Ifindex: link.Index, Halen: 6, Addr: [8]byte{255, 255, 255, 255, 255, 255}}
	for range arpProbes {
		if err := unix.Sendto(fd, arpQuestion(link.HardwareAddr, addr), 0, &all); err != nil {
			return nil, err
		}
		owner, err := hearARP(ctx, fd, link.HardwareAddr, addr)
		if owner != nil || err != nil {
			return owner, err
		}
	}
	return nil, nil
}

// hearARP listens for one pause.
func hearARP(ctx context.Context, fd int, own net.HardwareAddr, addr netip.Addr) (net.HardwareAddr, error) {
	packet := make([]byte, 256)
	for end := time.Now().Add(arpPause); ; {
		left := time.Until(end)
		if left <= 0 || ctx.Err() != nil {
			return nil, ctx.Err()
		}
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(left/time.Millisecond)+1)
		if err == nil && n > 0 {
			n, _, err = unix.Recvfrom(fd, packet, unix.MSG_DONTWAIT)
			if mac, ip, ok := parseARP(packet[:max(n, 0)]); err == nil && ok && ip == addr && !bytes.Equal(mac, own) {
				return mac, nil
			}
		}
		if err != nil && !errors.Is(err, unix.EINTR) && !errors.Is(err, unix.EAGAIN) {
			return nil, err
		}
	}
}

// arpQuestion is a probe: hardware type 1, protocol IPv4, operation 1, a sender
// without an address (RFC 5227 §2.1.1).
func arpQuestion(own net.HardwareAddr, addr netip.Addr) []byte {
	packet := append(make([]byte, 0, arpSize), 0, 1, 8, 0, 6, 4, 0, 1)
	packet = append(packet, own...)
	packet = append(packet, make([]byte, 4+6)...)
	return append(packet, addr.AsSlice()...)
}

// parseARP returns who sent an ARP packet, a question or an answer.
func parseARP(packet []byte) (mac net.HardwareAddr, ip netip.Addr, ok bool) {
	if len(packet) < arpSize || !bytes.Equal(packet[:7], []byte{0, 1, 8, 0, 6, 4, 0}) || packet[7] != 1 && packet[7] != 2 {
		return nil, netip.Addr{}, false
	}
	return bytes.Clone(packet[8:14]), netip.AddrFrom4([4]byte(packet[14:18])), true
}
