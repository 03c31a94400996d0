package trust

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"slices"
	"time"

	"trivet/firstboot/node"
)

// A domain is a circle of trust with a CA of its own: Galera and Erlang take any
// certificate of their CA, so that one for all would let a stolen compute node
// copy the database.
type domain struct {
	name   string
	roles  []string // whose nodes get a certificate
	trusts []string // whose nodes get the CA's certificate only
	usage  []x509.ExtKeyUsage
	vip    bool // the certificate is for the virtual IP and the public names, too
}

// domains lists the circles: agents among each other; Galera's replication and
// state transfer; RabbitMQ's nodes among each other; and what answers clients,
// by HAProxy or behind it, AMQP and MySQL included.
func domains() []domain {
	peer := []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	all := []string{node.Controller, node.Compute, node.Storage}
	controllers := []string{node.Controller}
	return []domain{
		{name: "agent", roles: all, usage: peer},
		{name: "galera", roles: controllers, usage: peer},
		{name: "rabbit", roles: controllers, usage: peer},
		{name: "api", roles: controllers, trusts: []string{node.Compute}, usage: peer[:1], vip: true},
	}
}

// Life of certificates, from the date of their epoch. What a node has is not
// renewed by itself yet, so it lasts years; a stolen one ends by rotating and
// retiring its CA.
const (
	caYears   = 10
	leafYears = 3
	// skew is how far a new machine's clock may be behind the operator's.
	skew = 24 * time.Hour
)

func caEnd(e epoch) time.Time { return e.Since.AddDate(caYears, 0, 0) }

func leafEnd(e, ca epoch) time.Time {
	end := laterOf(e.Since, ca.Since).AddDate(leafYears, 0, 0)
	if last := caEnd(ca); end.After(last) {
		return last
	}
	return end
}

func laterOf(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// scalar makes a key on P-256 out of 48 bytes (FIPS 186-5 A.2.1): MariaDB,
// Erlang and HAProxy of Debian 13 all take it.
func scalar(seed []byte) (*ecdsa.PrivateKey, error) {
	one := big.NewInt(1)
	d := new(big.Int).Mod(new(big.Int).SetBytes(seed), new(big.Int).Sub(elliptic.P256().Params().N, one))
	return ecdsa.ParseRawPrivateKey(elliptic.P256(), d.Add(d, one).FillBytes(make([]byte, 32)))
}

// An authority is the CA of a domain in one epoch.
type authority struct {
	domain string
	epoch  epoch
	key    *ecdsa.PrivateKey
	cert   *x509.Certificate
}

// authority makes the CA again.
func (m *Master) authority(d domain, e epoch) (authority, error) {
	a := authority{domain: d.name, epoch: e}
	key, err := scalar(m.derive(d.name+suffixCA, "", e.Number, 48))
	if err != nil {
		return a, fmt.Errorf("make the CA of %s: %w", d.name, err)
	}
	a.key = key
	template := m.caTemplate(d, e)
	// One CA may stand between, and so carry over from one epoch to the next.
	template.MaxPathLen = 1
	if a.cert, err = issue(template, template, &key.PublicKey, key); err != nil {
		return a, fmt.Errorf("make the CA of %s: %w", d.name, err)
	}
	return a, nil
}

// caTemplate has no name constraints: the CA's certificate must stay the same in
// its epoch while nodes and addresses come and go, and its key never leaves the
// operator. What a leaf is good for, its own names and usages say.
func (m *Master) caTemplate(d domain, e epoch) *x509.Certificate {
	return &x509.Certificate{
		Subject: pkix.Name{
			Organization: []string{m.cluster},
			CommonName:   fmt.Sprintf("trivet %s CA %d of %.8s", d.name, e.Number, m.Cloud()),
		},
		NotBefore:             e.Since.Add(-skew),
		NotAfter:              caEnd(e),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
}

// carry is the new CA's certificate as the old CA signs it. A node sends it with
// its own, so that those which only know the old CA believe it.
func (m *Master) carry(d domain, now, old authority) (*x509.Certificate, error) {
	template := m.caTemplate(d, now.epoch)
	template.MaxPathLenZero = true
	if end := caEnd(old.epoch); template.NotAfter.After(end) {
		template.NotAfter = end
	}
	c, err := issue(template, old.cert, &now.key.PublicKey, old.key)
	if err != nil {
		return nil, fmt.Errorf("make the CA of %s: %w", d.name, err)
	}
	return c, nil
}

// names are what a leaf is for.
type names struct {
	node      string
	dns       []string
	addresses []netip.Addr
}

// leaf makes a node's key and certificate.
func (m *Master) leaf(d domain, ca authority, n names) (cert *x509.Certificate, key *ecdsa.PrivateKey, err error) {
	e := m.epochs.at(d.name+suffixNode, n.node)
	// The CA's number is part of the epoch: a new CA means new keys.
	key, err = scalar(m.derive(d.name+suffixNode, n.node, ca.epoch.Number<<20|e.Number, 48))
	if err != nil {
		return nil, nil, fmt.Errorf("make the certificate of %s for %s: %w", n.node, d.name, err)
	}
	template := &x509.Certificate{
		Subject:               pkix.Name{Organization: []string{m.cluster}, CommonName: n.node},
		NotBefore:             laterOf(e.Since, ca.epoch.Since).Add(-skew),
		NotAfter:              leafEnd(e, ca.epoch),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           d.usage,
		BasicConstraintsValid: true,
		DNSNames:              n.dns,
	}
	for _, a := range n.addresses {
		template.IPAddresses = append(template.IPAddresses, net.IP(a.AsSlice()))
	}
	if cert, err = issue(template, ca.cert, &key.PublicKey, ca.key); err != nil {
		return nil, nil, fmt.Errorf("make the certificate of %s for %s: %w", n.node, d.name, err)
	}
	return cert, key, nil
}

// issue signs a template. The same input gives the same bytes: the signature is
// RFC 6979's, and the serial number follows from everything else, so that
// two different certificates of one CA never share one (RFC 5280 §4.1.2.2).
func issue(template, parent *x509.Certificate, public *ecdsa.PublicKey, with *ecdsa.PrivateKey) (*x509.Certificate, error) {
	var err error
	if template.SubjectKeyId, err = keyID(public); err != nil {
		return nil, err
	}
	self := template == parent
	template.SerialNumber = big.NewInt(1)
	first, err := x509.CreateCertificate(nil, template, parent, public, with)
	if err != nil {
		return nil, err
	}
	drafted, err := x509.ParseCertificate(first)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(drafted.RawTBSCertificate)
	sum[0] = sum[0]&0x3f | 0x40 // positive, and always of the same length
	template.SerialNumber = new(big.Int).SetBytes(sum[:16])
	if self {
		parent = template
	}
	der, err := x509.CreateCertificate(nil, template, parent, public, with)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

// keyID is the first 20 bytes of the public key's SHA-256 (RFC 7093 §2, method
// 1), set here so that it does not depend on Go's version.
func keyID(public *ecdsa.PublicKey) ([]byte, error) {
	point, err := public.Bytes()
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(point)
	return sum[:20], nil
}

// pemOf writes certificates one after the other.
func pemOf(all ...*x509.Certificate) []byte {
	var b bytes.Buffer
	for _, c := range all {
		_ = pem.Encode(&b, &pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}) // a buffer takes all
	}
	return b.Bytes()
}

func pemOfKey(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// authorities are the CA that issues, and the one of before if nodes still trust
// it.
func (m *Master) authorities(d domain) ([]authority, error) {
	e := m.epochs.get(d.name + suffixCA)
	all := []epoch{e}
	if e.Before != nil {
		all = append(all, *e.Before)
	}
	var made []authority
	for _, one := range all {
		a, err := m.authority(d, one)
		if err != nil {
			return nil, err
		}
		made = append(made, a)
	}
	return made, nil
}

// gets answers whether a role's nodes get a certificate of the domain, and
// whether they get its CA's.
func (d domain) gets(role string) (leaf, ca bool) {
	leaf = slices.Contains(d.roles, role)
	return leaf, leaf || slices.Contains(d.trusts, role)
}
