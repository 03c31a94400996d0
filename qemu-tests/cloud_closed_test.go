package qemutests

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"trivet/qemu-tests/nspawn"
	"trivet/roles"
)

// testClosed checks what a formed cloud lets in: nothing listens on an outside
// address but the ports of the role's services, a machine that is no controller
// does not reach what is between controllers, and that is TLS.
func testClosed(t *testing.T, c *testCloud) {
	role, err := roles.DecodeJSON([]byte(c.nodes[0].Must("/bin/cat", "/usr/share/trivet/role.json")))
	if err != nil {
		t.Fatal(err)
	}
	declared := map[int]roles.Port{}
	for _, s := range role.Services {
		for _, p := range s.Ports {
			if s.Boot || slices.Contains(role.Start, s.Name) {
				declared[p.Number] = p
			}
		}
	}
	for _, n := range c.nodes {
		for _, at := range listening(t, n) {
			if _, ok := declared[int(at.Port())]; !ok {
				t.Errorf("%s listens at %s, which is no port of the role", n.Name, at)
			}
		}
	}
	peer := c.nodes[0].Address.Addr()
	for number, p := range declared {
		at := fmt.Sprintf("%s:%d", peer, number)
		want := p.From == roles.FromCloud || number == 22
		if got := reaches(t, c.client.Dial, at); got != want {
			t.Errorf("a machine of the network reaches %s (%s): %v, want %v", at, p.Name, got, want)
		}
	}
	for number, domain := range map[int]string{4567: "galera", 25672: "rabbit"} {
		testSpeaksTLS(t, c.nodes[1], fmt.Sprintf("%s:%d", peer, number), c.nodes[0].Name, domain)
	}
}

// listening lists where a node's programs listen for others.
func listening(t *testing.T, n *nspawn.Node) []netip.AddrPort {
	t.Helper()
	var all []netip.AddrPort
	for line := range strings.Lines(n.Must("/usr/bin/ss", "--no-header", "--tcp", "--udp", "--listening", "--numeric")) {
		fields := strings.Fields(line)
		if len(fields) < 5 {
			t.Fatalf("ss says %q", line)
		}
		host, device, scoped := strings.Cut(fields[4], "%")
		if scoped {
			_, port, _ := strings.Cut(device, ":")
			host += ":" + port
		}
		at, err := netip.ParseAddrPort(strings.Replace(host, "*:", "0.0.0.0:", 1))
		if err != nil {
			t.Fatalf("ss says %q: %v", line, err)
		}
		if !at.Addr().IsLoopback() {
			all = append(all, at)
		}
	}
	return all
}

// A dialFunc connects from somewhere.
type dialFunc func(ctx context.Context, network, address string) (net.Conn, error)

func reaches(t *testing.T, dial dialFunc, at string) bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	conn, err := dial(ctx, "tcp", at)
	if err != nil {
		return false
	}
	conn.Close()
	return true
}

// testSpeaksTLS connects as a controller without a certificate would: the other
// side shows its own, of the circle of trust.
func testSpeaksTLS(t *testing.T, from *nspawn.Node, at, name, domain string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	conn, err := from.Dial(ctx, "tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	// The certificate is what is asked for, whoever signed it.
	session := tls.Client(conn, &tls.Config{InsecureSkipVerify: true})
	err = session.HandshakeContext(ctx)
	certs := session.ConnectionState().PeerCertificates
	if len(certs) == 0 {
		t.Errorf("%s does not speak TLS: %v", at, err)
		return
	}
	if got := certs[0].Subject.CommonName; got != name || !strings.Contains(certs[0].Issuer.CommonName, domain+" CA") {
		t.Errorf("%s shows a certificate of %s by %s; want %s by the CA of %s", at, got, certs[0].Issuer.CommonName, name, domain)
	}
	// Without a certificate of one's own there is no way on.
	_ = session.SetDeadline(time.Now().Add(5 * time.Second))
	if err == nil {
		_, err = session.Read(make([]byte, 1))
	}
	if err == nil {
		t.Errorf("%s talks to one without a certificate", at)
	}
}
