package trust

import (
	"bytes"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"trivet/firstboot/bundle"
)

// Public is public.json: what anyone may know of a cloud.
type Public struct {
	Version    int        `json:"version"`
	Cloud      string     `json:"cloud"` // UUID
	Cluster    string     `json:"cluster"`
	Created    time.Time  `json:"created"`
	Signer     string     `json:"signer"` // ed25519:BASE64
	Protection protection `json:"protection"`
	CAs        []CA       `json:"cas"`
}

// CA is the certificate of a circle of trust. During a rotation a domain has
// two, the issuing one first.
type CA struct {
	Domain      string    `json:"domain"` // agent, galera, rabbit or api
	Epoch       int       `json:"epoch"`
	NotBefore   time.Time `json:"not_before"`
	NotAfter    time.Time `json:"not_after"`
	Certificate string    `json:"certificate"` // PEM
}

const maxPublicFile = 1 << 20 // bytes

// ByPassphrase answers whether the master is under a passphrase; else it is to
// recipients.
func (p Public) ByPassphrase() bool { return p.Protection.Passphrase }

// ReadPublic reads public.json of the directory, which needs no unlocking.
func ReadPublic(dir string) (Public, error) {
	path := filepath.Join(dir, publicFile)
	data, err := read(path, maxPublicFile)
	if err != nil {
		return Public{}, fmt.Errorf("read the cloud's public part: %w", err)
	}
	p, err := parsePublic(data)
	if err != nil {
		return Public{}, fmt.Errorf("read %s: %w", path, err)
	}
	return p, nil
}

func parsePublic(data []byte) (Public, error) {
	var p Public
	if len(data) > maxPublicFile {
		return Public{}, fmt.Errorf("it has more than %d bytes", maxPublicFile)
	}
	if err := decodeStrict(data, &p); err != nil {
		return Public{}, err
	}
	switch {
	case p.Version != 1:
		return Public{}, fmt.Errorf("its form is version %d, and this trivet reads 1", p.Version)
	case !uuidForm.MatchString(p.Cloud) || !clusterForm.MatchString(p.Cluster):
		return Public{}, errors.New("cloud or cluster is not right")
	}
	if _, err := bundle.ParseSigner(p.Signer); err != nil {
		return Public{}, err
	}
	for _, ca := range p.CAs {
		block, rest := pem.Decode([]byte(ca.Certificate))
		if block == nil || len(bytes.TrimSpace(rest)) > 0 {
			return Public{}, fmt.Errorf("the CA of %q is not one certificate", ca.Domain)
		}
		if c, err := x509.ParseCertificate(block.Bytes); err != nil || !c.IsCA {
			return Public{}, fmt.Errorf("the CA of %q is not a CA's certificate", ca.Domain)
		}
	}
	return p, nil
}

// Key is the signer's public key.
func (p Public) Key() (ed25519.PublicKey, error) { return bundle.ParseSigner(p.Signer) }

// Public makes what public.json is to hold. It follows from the master, the
// epochs and the protection.
func (m *Master) Public() (Public, error) {
	p := Public{
		Version: 1, Cloud: m.Cloud(), Cluster: m.cluster, Created: m.epochs.Created,
		Signer: bundle.FormatSigner(m.Signer()), Protection: m.protect,
	}
	for _, d := range domains() {
		cas, err := m.authorities(d)
		if err != nil {
			return Public{}, err
		}
		for _, a := range cas {
			p.CAs = append(p.CAs, CA{d.name, a.epoch.Number, a.cert.NotBefore, a.cert.NotAfter, string(pemOf(a.cert))})
		}
	}
	return p, nil
}
