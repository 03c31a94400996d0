package quorum

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"trivet/firstboot/bundle"
	"trivet/firstboot/node"
)

const testCloud = "6f1f3c1e-8f0a-4c9a-9d5e-1f2e3d4c5b6a"

// A testCA signs what a test needs.
type testCA struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

func newCA(t testing.TB) *testCA {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "trivet agent CA"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(10 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	must(t, err)
	cert, err := x509.ParseCertificate(der)
	must(t, err)
	return &testCA{cert, key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}
}

// leaf is a node's certificate and key.
func (ca *testCA) leaf(t testing.TB, name string, usage ...x509.ExtKeyUsage) (cert, key []byte) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(10 * time.Hour), KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: usage,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, k.Public(), ca.key)
	must(t, err)
	raw, err := x509.MarshalPKCS8PrivateKey(k)
	must(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw})
}

var bothEnds = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}

// A testControllers is some controllers on one machine.
type testControllers struct {
	t      testing.TB
	ca     *testCA
	signer ed25519.PrivateKey
	names  []string
	ticket string
	config map[string]Config
	nodes  map[string]*Quorum

	mu      sync.Mutex
	reports []string
}

// clouds gives each test addresses of its own.
var clouds atomic.Int32

func newControllers(t testing.TB, n int) *testControllers {
	t.Helper()
	_, signer, err := ed25519.GenerateKey(rand.Reader)
	must(t, err)
	c := &testControllers{t: t, ca: newCA(t), signer: signer, config: map[string]Config{}, nodes: map[string]*Quorum{}}
	// All of 127.0.0.0/8 is this machine; the process number keeps test runs apart.
	number := clouds.Add(1)
	var members []node.Member
	for i := range n {
		name := fmt.Sprintf("ctl%d", i+1)
		c.names = append(c.names, name)
		members = append(members, node.Member{Name: name, Address: netip.AddrFrom4([4]byte{127, byte(1 + os.Getpid()%250), byte(number), byte(i + 1)})})
	}
	c.ticket = c.newTicket(time.Hour)
	dir := t.TempDir()
	for _, name := range c.names {
		cert, key := c.ca.leaf(t, name, bothEnds...)
		c.config[name] = Config{
			Dir: filepath.Join(dir, name), Cloud: testCloud, Self: name, Controllers: members, Ticket: c.ticket, Signer: signer.Public().(ed25519.PublicKey),
			CA: c.ca.pem, Cert: cert, Key: key, Times: testTimes(),
			Report: func(format string, args ...any) { c.report(name, fmt.Sprintf(format, args...)) },
			Answer: func(_ context.Context, step string) ([]byte, error) { return []byte(name + " tells of " + step), nil },
		}
	}
	t.Cleanup(func() {
		for _, q := range c.nodes {
			if t.Failed() {
				t.Logf("%+v", q.Status())
			}
			_ = q.Close()
		}
		if t.Failed() {
			c.mu.Lock()
			defer c.mu.Unlock()
			for _, r := range c.reports {
				t.Log(r)
			}
		}
	})
	return c
}

// testTimes are as short as a busy machine allows.
func testTimes() Times {
	return Times{
		Heartbeat: 300 * time.Millisecond, Lease: 1500 * time.Millisecond, Silence: time.Second,
		Greet: 40 * time.Millisecond, Watch: 100 * time.Millisecond, Call: 2 * time.Second,
	}
}

func (c *testControllers) report(name, text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reports = append(c.reports, time.Now().Format("05.000 ")+name+": "+text)
}

func (c *testControllers) newTicket(life time.Duration) string {
	c.t.Helper()
	text, err := bundle.Ticket{Cloud: testCloud, Nonce: random(), Controllers: c.names, NotAfter: time.Now().Add(life).UTC().Truncate(time.Second)}.Sign(c.signer)
	must(c.t, err)
	return text
}

// set changes what a controller is told.
func (c *testControllers) set(name string, change func(*Config)) {
	config := c.config[name]
	change(&config)
	c.config[name] = config
}

func (c *testControllers) start(names ...string) {
	c.t.Helper()
	for _, name := range names {
		q, err := Open(context.Background(), c.config[name])
		must(c.t, err)
		c.nodes[name] = q
	}
}

// kill ends a controller without a word to the others.
func (c *testControllers) kill(names ...string) {
	c.t.Helper()
	for _, name := range names {
		must(c.t, c.nodes[name].shut())
		delete(c.nodes, name)
	}
}

// wipe takes away what a controller that was killed had.
func (c *testControllers) wipe(name string) {
	c.t.Helper()
	must(c.t, os.RemoveAll(c.config[name].Dir))
}

func (c *testControllers) formed(names ...string) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for _, name := range names {
		must(c.t, c.nodes[name].WaitFormed(ctx))
	}
}

// until waits for a condition.
func until(t testing.TB, what string, condition func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !condition(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

func (c *testControllers) put(name, key, value string, version uint64) bool {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	set, err := c.nodes[name].Put(ctx, key, []byte(value), version)
	must(c.t, err)
	return set
}

func (c *testControllers) get(name, key string) (string, uint64) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	value, version, err := c.nodes[name].Get(ctx, key)
	must(c.t, err)
	return string(value), version
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
