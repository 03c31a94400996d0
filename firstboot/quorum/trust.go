package quorum

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"
)

// What is spoken on a connection, chosen by ALPN (RFC 7301).
const (
	protocolRaft = "trivet-raft/1" // Raft's own messages, after a preamble
	protocolRPC  = "trivet-rpc/1"  // HTTP/1.1 with JSON
)

// trust decides who is a controller.
type trust struct {
	self      string
	addresses map[string]netip.AddrPort // of the controllers, by name
	pool      *x509.CertPool
	cert      tls.Certificate
	now       func() time.Time
}

func newTrust(c Config) (*trust, error) {
	t := &trust{self: c.Self, addresses: map[string]netip.AddrPort{}, pool: x509.NewCertPool(), now: c.Now}
	for _, m := range c.Controllers {
		t.addresses[m.Name] = netip.AddrPortFrom(m.Address, uint16(c.Port))
	}
	if !t.pool.AppendCertsFromPEM(c.CA) {
		return nil, errors.New("the CA of the agents is no PEM certificate")
	}
	var err error
	if t.cert, err = tls.X509KeyPair(c.Cert, c.Key); err != nil {
		return nil, fmt.Errorf("read the agent's certificate and key: %w", err)
	}
	if t.cert.Leaf == nil || !named(t.cert.Leaf, c.Self) {
		return nil, fmt.Errorf("the agent's certificate is not of %s", c.Self)
	}
	return t, nil
}

// server is for connections that come in.
func (t *trust) server() *tls.Config {
	return &tls.Config{
		Certificates: []tls.Certificate{t.cert}, ClientCAs: t.pool, ClientAuth: tls.RequireAndVerifyClientCert,
		MinVersion: tls.VersionTLS13, NextProtos: []string{protocolRaft, protocolRPC}, SessionTicketsDisabled: true, Time: t.now,
		VerifyConnection: func(s tls.ConnectionState) error {
			_, err := t.peer(s)
			return err
		},
	}
}

// client is for connections to the controller of this name.
func (t *trust) client(name, protocol string) *tls.Config {
	return &tls.Config{
		Certificates: []tls.Certificate{t.cert}, RootCAs: t.pool, ServerName: name,
		MinVersion: tls.VersionTLS13, NextProtos: []string{protocol}, SessionTicketsDisabled: true, Time: t.now,
		VerifyConnection: func(s tls.ConnectionState) error {
			if peer, err := t.peer(s); err != nil || peer != name {
				return errors.Join(err, fmt.Errorf("its certificate is not of the controller %s", name))
			}
			return nil
		},
	}
}

// peer returns the controller at the other end. A certificate of the right CA
// is not enough: compute and storage nodes have one too.
func (t *trust) peer(s tls.ConnectionState) (string, error) {
	if len(s.PeerCertificates) == 0 || len(s.VerifiedChains) == 0 {
		return "", errors.New("the peer has no certificate")
	}
	leaf := s.PeerCertificates[0]
	name := leaf.Subject.CommonName
	switch {
	case !named(leaf, name):
		return "", fmt.Errorf("the certificate of %q does not name it as a host", name)
	case !slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageServerAuth), !slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageClientAuth):
		return "", fmt.Errorf("the certificate of %q is not for both ends of a connection", name)
	case !t.addresses[name].IsValid():
		return "", fmt.Errorf("%q is none of the controllers", name)
	case s.NegotiatedProtocol != protocolRaft && s.NegotiatedProtocol != protocolRPC:
		return "", fmt.Errorf("%q chose no protocol", name)
	}
	return name, nil
}

// named answers whether a certificate is of the node of this name.
func named(c *x509.Certificate, name string) bool {
	return c.Subject.CommonName == name && slices.Contains(c.DNSNames, name)
}

// near answers whether an address is of a controller. It proves nothing, but
// keeps others from taking up what the port can hold.
func (t *trust) near(a net.Addr) bool {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return false
	}
	from := tcp.AddrPort().Addr().Unmap().WithZone("")
	for _, at := range t.addresses {
		if at.Addr().Unmap() == from {
			return true
		}
	}
	return false
}

// dial connects to a controller.
func (t *trust) dial(ctx context.Context, name, protocol string, timeout time.Duration) (*tls.Conn, error) {
	at := t.addresses[name]
	if !at.IsValid() {
		return nil, fmt.Errorf("connect to %s: it is none of the controllers", name)
	}
	d := &tls.Dialer{Config: t.client(name, protocol), NetDialer: &net.Dialer{
		Timeout: timeout,
		// From this node's own address, not from a virtual one that it may hold.
		LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(t.addresses[t.self].Addr(), 0)),
	}}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	c, err := d.DialContext(ctx, "tcp", at.String())
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", name, err)
	}
	return c.(*tls.Conn), nil
}
