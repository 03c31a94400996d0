package host

import (
	"net"
	"net/netip"
	"testing"
)

func TestARP(t *testing.T) {
	own, addr := net.HardwareAddr{2, 0, 0, 0, 0, 1}, netip.MustParseAddr("192.0.2.100")
	question := arpQuestion(own, addr)
	mac, ip, ok := parseARP(question)
	if !ok || mac.String() != own.String() || ip != netip.IPv4Unspecified() || netip.AddrFrom4([4]byte(question[24:])) != addr {
		t.Errorf("the question is %x: from %s %s, %t", question, mac, ip, ok)
	}
	// As a kernel answers: padded to the least size of an Ethernet frame.
	answer := append([]byte{0, 1, 8, 0, 6, 4, 0, 2, 2, 0, 0, 0, 0, 9, 192, 0, 2, 100, 2, 0, 0, 0, 0, 1, 0, 0, 0, 0}, make([]byte, 18)...)
	mac, ip, ok = parseARP(answer)
	if !ok || mac.String() != "02:00:00:00:00:09" || ip != addr {
		t.Errorf("the answer is of %s %s, %t", mac, ip, ok)
	}
	for i, wrong := range map[int]byte{0: 1, 3: 6, 5: 16, 7: 3} {
		bad := append([]byte(nil), answer...)
		bad[i] = wrong
		if _, _, ok := parseARP(bad); ok {
			t.Errorf("byte %d is %d, and the packet was taken", i, wrong)
		}
	}
	if _, _, ok := parseARP(answer[:27]); ok {
		t.Error("a short packet was taken")
	}
	if _, err := ProbeARP(t.Context(), "no-such-card", addr); err == nil {
		t.Error("a card that is not there is no error")
	}
}

func FuzzParseARP(f *testing.F) {
	f.Add(arpQuestion(net.HardwareAddr{2, 0, 0, 0, 0, 1}, netip.MustParseAddr("192.0.2.100")))
	f.Fuzz(func(t *testing.T, packet []byte) {
		if mac, ip, ok := parseARP(packet); ok && (len(mac) != 6 || !ip.Is4()) {
			t.Errorf("%x is of %s %s", packet, mac, ip)
		}
	})
}
