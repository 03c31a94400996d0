package trust

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"

	"trivet/firstboot/bundle"
	"trivet/firstboot/node"
)

// A Request says which node's leaves are wanted.
type Request struct {
	Node       string
	Role       string       // controller, compute or storage
	Addresses  []netip.Addr // all of the node's, for its certificates
	VIP        netip.Addr   // of the cloud; for controllers
	Names      []string     // DNS names of the public endpoints; for controllers
	Secrets    []string     // that the services of the role declare, such as keystone/db
	Generation int          // of the node's description, from 1
	Ticket     string       // of Master.Ticket; for controllers of a cloud that has not formed
	Files      bundle.Files // to go along as they are, such as rings
	Now        time.Time
}

const maxNames = 64 // DNS names or addresses in one certificate

var dnsForm = regexp.MustCompile(`^(\*\.)?([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)*[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$`)

// Leaves makes what is secret about one node, and no more than its role needs:
// the secrets of its services, and for each circle of trust that it is in
//
//	pki/DOMAIN/ca.crt    the CA's certificate; two during a rotation
//	pki/DOMAIN/node.crt  the node's, with a CA's between during a rotation
//	pki/DOMAIN/node.key  PKCS #8
//
// beside keystone/fernet/N and keystone/credential/N, the files of keystone's
// repositories of keys, where the role has those secrets. The same request gives
// the same contents until something is rotated.
func (m *Master) Leaves(r Request) (bundle.Contents, error) {
	c, err := m.leaves(r)
	if err != nil {
		return bundle.Contents{}, fmt.Errorf("make the leaves of %s: %w", r.Node, err)
	}
	return c, nil
}

func (m *Master) leaves(r Request) (bundle.Contents, error) {
	if err := m.checkRequest(r); err != nil {
		return bundle.Contents{}, err
	}
	c := bundle.Contents{
		Cloud: m.Cloud(), Cluster: m.cluster, Node: r.Node, Role: r.Role, Generation: r.Generation,
		Secrets: bundle.Secrets{}, Files: maps.Clone(r.Files), Ticket: r.Ticket,
	}
	if c.Files == nil {
		c.Files = bundle.Files{}
	}
	for _, name := range r.Secrets {
		if err := allowed(r.Role, name); err != nil {
			return bundle.Contents{}, err
		}
		value := m.secret(name)
		if err := node.CheckSecret(value); err != nil {
			return bundle.Contents{}, fmt.Errorf("%s: %w", name, err)
		}
		c.Secrets[name] = value
		if isFernet(name) {
			maps.Copy(c.Files, m.fernetKeys(name))
		}
	}
	for _, d := range domains() {
		if err := m.addDomain(c.Files, d, r); err != nil {
			return bundle.Contents{}, err
		}
	}
	return c, nil
}

func (m *Master) checkRequest(r Request) error {
	switch {
	case !nodeForm.MatchString(r.Node):
		return errors.New("the node's name is not a host name without a domain")
	case !slices.Contains([]string{node.Controller, node.Compute, node.Storage}, r.Role):
		return fmt.Errorf("%q is not controller, compute or storage", r.Role)
	case r.Now.IsZero():
		return errors.New("the time is missing")
	case len(r.Addresses) == 0 || !valid(r.Addresses):
		return errors.New("the node has no address, or one is not right")
	case r.Role == node.Controller && !r.VIP.IsValid():
		return errors.New("the virtual IP is missing")
	case r.Role != node.Controller && r.Ticket != "":
		return fmt.Errorf("a %s node forms nothing and gets no formation ticket", r.Role)
	case len(r.Addresses)+len(r.Names) > maxNames:
		return fmt.Errorf("there are %d addresses and %d names, more than %d", len(r.Addresses), len(r.Names), maxNames)
	}
	for _, name := range r.Names {
		if !dnsForm.MatchString(name) || len(name) > 253 {
			return fmt.Errorf("%q is not a DNS name", name)
		}
	}
	for path := range r.Files {
		if strings.HasPrefix(path, "pki/") || strings.HasPrefix(path, "keystone/") {
			return fmt.Errorf("the file %s would take the place of a key", path)
		}
	}
	if r.Ticket != "" {
		t, err := bundle.VerifyTicket(r.Ticket, m.Signer(), r.Now)
		switch {
		case err != nil:
			return err
		case t.Cloud != m.Cloud() || !slices.Contains(t.Controllers, r.Node):
			return errors.New("the formation ticket is of another cloud, or of other controllers")
		}
	}
	return nil
}

func valid(all []netip.Addr) bool {
	return !slices.ContainsFunc(all, func(a netip.Addr) bool { return !a.IsValid() || a.Zone() != "" })
}

// addDomain adds the files of one circle of trust, if the role is in it.
func (m *Master) addDomain(files bundle.Files, d domain, r Request) error {
	wantsLeaf, wantsCA := d.gets(r.Role)
	if !wantsCA {
		return nil
	}
	cas, err := m.authorities(d)
	if err != nil {
		return err
	}
	at := "pki/" + d.name + "/"
	for _, a := range cas {
		files[at+"ca.crt"] = append(files[at+"ca.crt"], pemOf(a.cert)...)
	}
	if !wantsLeaf {
		return nil
	}
	n := names{node: r.Node, dns: []string{r.Node}, addresses: unmapped(r.Addresses)}
	if d.vip {
		n.dns = append(n.dns, sortedCopy(r.Names)...)
		n.addresses = append(n.addresses, r.VIP.Unmap())
	}
	cert, key, err := m.leaf(d, cas[0], n)
	if err != nil {
		return err
	}
	if r.Now.After(cert.NotAfter) || r.Now.Before(cert.NotBefore) {
		return fmt.Errorf("the certificate for %s is good from %s to %s, and now is %s; rotate %s%s",
			d.name, cert.NotBefore.Format(time.RFC3339), cert.NotAfter.Format(time.RFC3339), r.Now.UTC().Format(time.RFC3339), d.name, suffixNode)
	}
	chain := pemOf(cert)
	if len(cas) > 1 {
		between, err := m.carry(d, cas[0], cas[1])
		if err != nil {
			return err
		}
		chain = append(chain, pemOf(between)...)
	}
	files[at+"node.crt"] = chain
	files[at+"node.key"], err = pemOfKey(key)
	return err
}

func unmapped(all []netip.Addr) []netip.Addr {
	var out []netip.Addr
	for _, a := range all {
		if a = a.Unmap(); !slices.Contains(out, a) {
			out = append(out, a)
		}
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return out
}
