package quorum

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"trivet/firstboot/node"
)

// TestStrangers shows who is not let in as a controller.
func TestStrangers(t *testing.T) {
	t.Parallel()
	c := newControllers(t, 3)
	c.start("ctl1")
	foreign := newCA(t)
	for what, s := range map[string]struct {
		ca       *testCA
		name     string
		protocol string
		usage    []x509.ExtKeyUsage
	}{
		"a compute node":                     {c.ca, "cmp1", protocolRPC, bothEnds},
		"a compute node, to Raft":            {c.ca, "cmp1", protocolRaft, bothEnds},
		"a controller by another CA":         {foreign, "ctl2", protocolRPC, bothEnds},
		"a controller for clients only":      {c.ca, "ctl2", protocolRPC, bothEnds[1:]},
		"a controller for servers only":      {c.ca, "ctl2", protocolRPC, bothEnds[:1]},
		"a controller with another protocol": {c.ca, "ctl2", "h2", bothEnds},
		"a controller with no protocol":      {c.ca, "ctl2", "", bothEnds},
	} {
		if err := speak(t, c, s.ca, s.name, s.protocol, s.usage); err == nil {
			t.Errorf("%s was let in", what)
		}
	}
	if err := speak(t, c, c.ca, "ctl2", protocolRPC, bothEnds); err != nil {
		t.Errorf("a controller was not let in: %v", err)
	}
}

// from dials from a controller's address.
func (c *testControllers) from(name string) *net.Dialer {
	i := slices.Index(c.names, name)
	return &net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(c.config[name].Controllers[i].Address, 0))}
}

// TestFar shows that an address of no controller takes up no place.
func TestFar(t *testing.T) {
	t.Parallel()
	c := newControllers(t, 3)
	c.start("ctl1")
	for range 2 * maxConnections {
		conn, err := net.Dial("tcp", c.nodes["ctl1"].port.listener.Addr().String())
		must(t, err)
		_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
		if _, err := conn.Read(make([]byte, 1)); err == nil || os.IsTimeout(err) {
			t.Fatalf("an address of no controller: %v", err)
		}
		conn.Close()
	}
}

// speak greets ctl1 as somebody.
func speak(t *testing.T, c *testControllers, ca *testCA, name, protocol string, usage []x509.ExtKeyUsage) error {
	t.Helper()
	cert, key := ca.leaf(t, name, usage...)
	pair, err := tls.X509KeyPair(cert, key)
	must(t, err)
	pool := x509.NewCertPool()
	pool.AddCert(c.ca.cert)
	config := &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: pool, ServerName: "ctl1"}
	if protocol != "" {
		config.NextProtos = []string{protocol}
	}
	conn, err := tls.DialWithDialer(c.from("ctl2"), "tcp", c.nodes["ctl1"].port.listener.Addr().String(), config)
	if err != nil {
		return err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := conn.Write([]byte("POST /greet HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")); err != nil {
		return err
	}
	_, err = conn.Read(make([]byte, 1)) // the server's verdict on the client comes here
	return err
}

func TestOldTLS(t *testing.T) {
	t.Parallel()
	c := newControllers(t, 3)
	c.start("ctl1")
	config := c.nodes["ctl1"].trust.client("ctl1", protocolRPC)
	config.MinVersion, config.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	if conn, err := tls.DialWithDialer(c.from("ctl2"), "tcp", c.nodes["ctl1"].port.listener.Addr().String(), config); err == nil {
		conn.Close()
		t.Error("TLS 1.2 was spoken")
	}
}

// TestImpostor lets a controller answer where another one should.
func TestImpostor(t *testing.T) {
	t.Parallel()
	c := newControllers(t, 3)
	c.start("ctl1", "ctl3")
	q := c.nodes["ctl1"]
	q.trust.addresses["ctl2"] = q.trust.addresses["ctl3"]
	if conn, err := q.trust.dial(t.Context(), "ctl2", protocolRPC, time.Second); err == nil {
		conn.Close()
		t.Error("ctl3 was taken for ctl2")
	}
	if _, err := q.trust.dial(t.Context(), "cmp1", protocolRPC, time.Second); err == nil {
		t.Error("a stranger was called")
	}
}

// TestOtherDisk connects Raft to a disk that is gone, and to another cluster's.
func TestOtherDisk(t *testing.T) {
	t.Parallel()
	c := newControllers(t, 3)
	c.start(c.names...)
	c.formed(c.names...)
	from, to := c.nodes["ctl1"], c.nodes["ctl2"]
	good := preamble{from.own().Founding.id(), from.self(), to.self()}
	for what, change := range map[string]func(*preamble){
		"":                 func(*preamble) {},
		"this is ctl2/":    func(p *preamble) { p.To = identity("ctl2", random()) },
		"another cluster":  func(p *preamble) { p.Cluster = digest("other") },
		"of somebody else": func(p *preamble) { p.From = c.nodes["ctl3"].self() },
	} {
		p := good
		change(&p)
		conn, err := from.trust.dial(t.Context(), "ctl2", protocolRaft, time.Second)
		must(t, err)
		err = sendPreamble(conn, p, time.Second)
		conn.Close()
		if (err == nil) != (what == "") || err != nil && !strings.Contains(err.Error(), what) {
			t.Errorf("want %q, got %v", what, err)
		}
	}
}

// TestManyConnections fills the port with those who say nothing; they are sent
// away after a while, and controllers come in again.
func TestManyConnections(t *testing.T) {
	t.Parallel()
	c := newControllers(t, 3)
	c.start("ctl1")
	for range maxConnections + 10 {
		conn, err := c.from("ctl3").Dial("tcp", c.nodes["ctl1"].port.listener.Addr().String())
		must(t, err)
		defer conn.Close()
	}
	if err := speak(t, c, c.ca, "ctl2", protocolRPC, bothEnds); err != nil {
		t.Errorf("a controller was kept out: %v", err)
	}
}

func TestConfigs(t *testing.T) {
	t.Parallel()
	c := newControllers(t, 3)
	other, otherKey := c.ca.leaf(t, "ctl2", bothEnds...)
	taken, err := net.Listen("tcp", netip.AddrPortFrom(c.config["ctl1"].Controllers[0].Address, DefaultPort+1).String())
	must(t, err)
	defer taken.Close()
	for want, change := range map[string]func(*Config){
		"listen for the other controllers": func(c *Config) { c.Port = DefaultPort + 1 },
		"not 1, 3 or 5":                    func(c *Config) { c.Controllers = c.Controllers[:2] },
		"is none of the controllers":       func(c *Config) { c.Self = "cmp1" },
		"named twice":                      func(c *Config) { c.Controllers = append(slices.Clone(c.Controllers[:2]), c.Controllers[1]) },
		"host name's form":                 func(c *Config) { c.Controllers = append(slices.Clone(c.Controllers[:2]), node.Member{Name: "a/b"}) },
		"not a UUID":                       func(c *Config) { c.Cloud = "lab" },
		"no PEM certificate":               func(c *Config) { c.CA = nil },
		"read the agent's certificate":     func(c *Config) { c.Key = nil },
		"certificate is not of ctl1":       func(c *Config) { c.Cert, c.Key = other, otherKey },
	} {
		config := c.config["ctl1"]
		change(&config)
		if q, err := Open(t.Context(), config); err == nil || !strings.HasPrefix(err.Error(), "open the quorum: ") || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
			if q != nil {
				_ = q.Close()
			}
		}
	}
}
