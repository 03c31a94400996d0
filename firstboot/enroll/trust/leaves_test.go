package trust

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"flag"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"trivet/firstboot/bundle"
	"trivet/firstboot/node"
)

var update = flag.Bool("update", false, "write the goldens anew")

func diffText(want, got string) string { return cmp.Diff(want, got) }

func leavesOf(t *testing.T, m *Master, of machine) bundle.Contents {
	t.Helper()
	c, err := m.Leaves(request(t, m, of))
	check(t, err)
	return c
}

// TestLeastPrivilege shows which role gets what, by the roles of this
// repository. A line more for a compute or storage node is to be thought about.
func TestLeastPrivilege(t *testing.T) {
	m := fixedMaster(t)
	has := map[string]map[string]bool{}
	mark := func(what, role string) {
		if has[what] == nil {
			has[what] = map[string]bool{}
		}
		has[what][role] = true
	}
	for _, of := range machines() {
		c := leavesOf(t, m, of)
		for name := range c.Secrets {
			mark("secret "+name, of.role)
		}
		for path := range c.Files {
			mark("file   "+path, of.role)
		}
		if c.Ticket != "" {
			mark("ticket", of.role)
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%-32s %-10s %-7s %s\n", "", "controller", "compute", "storage")
	for _, what := range sortedKeys(has) {
		line := fmt.Sprintf("%-32s %-10s %-7s %s", what, tick(has[what][node.Controller]), tick(has[what][node.Compute]), tick(has[what][node.Storage]))
		b.WriteString(strings.TrimRight(line, " ") + "\n")
	}
	golden(t, "least-privilege.txt", b.String())
	for what, by := range has {
		if (by[node.Compute] || by[node.Storage]) && (strings.Contains(what, "galera") || strings.Contains(what, "/db") || strings.Contains(what, "rabbit/") || what == "ticket") {
			t.Errorf("%s is not on controllers alone", what)
		}
	}
}

func tick(yes bool) string {
	if yes {
		return "x"
	}
	return ""
}

// TestSameLeavesAgain: what follows from a fixed master never changes, or every
// running cloud would be locked out by the next version of trivet.
func TestSameLeavesAgain(t *testing.T) {
	m := fixedMaster(t)
	var b strings.Builder
	for _, of := range machines() {
		r := request(t, m, of)
		r.Secrets = someSecrets(of.role)
		c, err := m.Leaves(r)
		check(t, err)
		plain, err := bundle.Encode(c)
		check(t, err)
		c, err = m.Leaves(r)
		check(t, err)
		again, err := bundle.Encode(c)
		check(t, err)
		if !bytes.Equal(plain, again) {
			t.Errorf("the leaves of %s are not the same twice", of.name)
		}
		k, err := m.NodeKey(of.name)
		check(t, err)
		fmt.Fprintf(&b, "%s %.32x %s\n", of.name, sha256.Sum256(plain), k.Recipient())
	}
	public, err := m.publicText()
	check(t, err)
	fmt.Fprintf(&b, "public.json %.32x\n", sha256.Sum256(public))
	golden(t, "digests.txt", b.String())
}

// TestDerivation compares with vectors that Python's hmac made by RFC 5869.
func TestDerivation(t *testing.T) {
	m := fixedMaster(t)
	for name, want := range map[string]string{
		"keystone/db":     "4pzds32i2a5cfa35knepzasofy4pfw4yz4xur4piypbq7uizhuda",
		"keystone/fernet": "YToVmc66jkjQly34VEYN5Ezz_j1ZYg4_c5VvGZNocKY",
	} {
		got, err := m.Secret(name)
		check(t, err)
		if got != want {
			t.Errorf("%s is %s", name, got)
		}
	}
	if got := fmt.Sprintf("%x", m.derive(purposeNodeKey, "ctl1", 1, 32)); got != "a160c308fb2a95a61187027d4eb1089165ac5c5dc4b5bd1bbf346aa3a9a7e254" {
		t.Errorf("node-key of ctl1 is %s", got)
	}
}

// TestSecretsFit: any configuration file can hold them, and no two are the same.
func TestSecretsFit(t *testing.T) {
	m := fixedMaster(t)
	seen := map[string]string{}
	for _, role := range []string{node.Controller, node.Compute, node.Storage} {
		for _, name := range declared(t, role) {
			value, err := m.Secret(name)
			check(t, err)
			if err := node.CheckSecret(value); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if other, twice := seen[value]; twice && other != name {
				t.Errorf("%s and %s are the same", name, other)
			}
			seen[value] = name
		}
	}
	files := m.fernetKeys("keystone/fernet")
	for path, text := range files {
		if raw, err := base64.URLEncoding.DecodeString(string(text)); err != nil || len(raw) != 32 {
			t.Errorf("%s is no Fernet key", path)
		}
	}
	staged := files["keystone/fernet/0"]
	_, err := m.Rotate("keystone/fernet", declared(t, node.Controller), testTime())
	check(t, err)
	after := m.fernetKeys("keystone/fernet")
	if !bytes.Equal(after["keystone/fernet/2"], staged) || !bytes.Equal(after["keystone/fernet/1"], files["keystone/fernet/1"]) || len(after) != 3 {
		t.Error("the staged key does not become the primary one, or the old one is lost")
	}
}

// certificates parses all of a file.
func certificates(t *testing.T, data []byte) []*x509.Certificate {
	t.Helper()
	var all []*x509.Certificate
	for len(data) > 0 {
		block, rest := pem.Decode(data)
		if block == nil {
			t.Fatal("not PEM")
		}
		c, err := x509.ParseCertificate(block.Bytes)
		check(t, err)
		all, data = append(all, c), rest
	}
	return all
}

// trusts answers whether one node takes another's certificate.
func trusts(t *testing.T, verifier, other bundle.Contents, domain, dns string, usage x509.ExtKeyUsage) error {
	t.Helper()
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	for _, c := range certificates(t, verifier.Files["pki/"+domain+"/ca.crt"]) {
		roots.AddCert(c)
	}
	chain := certificates(t, other.Files["pki/"+domain+"/node.crt"])
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{
		DNSName: dns, Roots: roots, Intermediates: between, CurrentTime: testTime().Add(2 * time.Hour), KeyUsages: []x509.ExtKeyUsage{usage},
	})
	return err
}

func TestCertificates(t *testing.T) {
	m := fixedMaster(t)
	all := map[string]bundle.Contents{}
	serials := map[string]bool{}
	for _, of := range machines() {
		c := leavesOf(t, m, of)
		all[of.name] = c
		for path, data := range c.Files {
			domain, ok := strings.CutSuffix(path, "/node.crt")
			if !ok {
				continue
			}
			leaf := certificates(t, data)[0]
			if serials[leaf.SerialNumber.String()] {
				t.Errorf("the serial number of %s's %s is there twice", of.name, path)
			}
			serials[leaf.SerialNumber.String()] = true
			block, _ := pem.Decode(c.Files[domain+"/node.key"])
			key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
			check(t, err)
			if !leaf.PublicKey.(*ecdsa.PublicKey).Equal(key.(*ecdsa.PrivateKey).Public()) {
				t.Errorf("the key of %s's %s is another's", of.name, path)
			}
		}
	}
	if len(serials) != 3*4+1+3 {
		t.Errorf("there are %d certificates", len(serials))
	}
	server, client := x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth
	for _, domain := range []string{"agent", "galera", "rabbit"} {
		check(t, trusts(t, all["ctl1"], all["ctl2"], domain, "ctl2", server))
		check(t, trusts(t, all["ctl1"], all["ctl2"], domain, "10.9.1.12", client))
		if trusts(t, all["ctl1"], all["ctl2"], domain, "ctl1", server) == nil || trusts(t, all["ctl1"], all["ctl2"], domain, "10.9.0.100", server) == nil {
			t.Errorf("%s: a certificate is good for another node or the VIP", domain)
		}
	}
	for _, name := range []string{"ctl2", "10.9.0.100", "cloud.example.org", "10.9.0.12"} {
		check(t, trusts(t, all["cmp1"], all["ctl2"], "api", name, server))
	}
	if trusts(t, all["cmp1"], all["ctl2"], "api", "ctl2", client) == nil {
		t.Error("a certificate of the API is good for clients")
	}
	check(t, trusts(t, all["ctl1"], all["cmp1"], "agent", "cmp1", client))
	check(t, trusts(t, all["sto1"], all["cmp1"], "agent", "10.9.0.21", server))
	// A stolen compute node's certificate does not let it into Galera.
	stolen := bundle.Contents{Files: bundle.Files{"pki/galera/node.crt": all["cmp1"].Files["pki/agent/node.crt"]}}
	if trusts(t, all["ctl1"], stolen, "galera", "cmp1", client) == nil {
		t.Error("Galera takes an agent's certificate")
	}
}

// TestRotationOfCA: at each stage, which nodes understand each other.
func TestRotationOfCA(t *testing.T) {
	m := fixedMaster(t)
	ctl := machines()[0]
	before := leavesOf(t, m, ctl)
	number, err := m.Rotate("galera/ca", nil, testTime())
	check(t, err)
	during := leavesOf(t, m, ctl)
	check(t, m.Retire("galera/ca"))
	after := leavesOf(t, m, ctl)
	ok := func(a, b bundle.Contents) bool {
		return trusts(t, a, b, "galera", "ctl1", x509.ExtKeyUsageServerAuth) == nil && trusts(t, b, a, "galera", "ctl1", x509.ExtKeyUsageClientAuth) == nil
	}
	if number != 2 || !ok(before, before) || !ok(before, during) || !ok(during, during) || !ok(during, after) || !ok(after, after) {
		t.Errorf("epoch %d: nodes do not understand each other while the CA is rotated", number)
	}
	if ok(before, after) {
		t.Error("what was stolen before is still trusted")
	}
	if n := len(certificates(t, during.Files["pki/galera/node.crt"])); n != 2 {
		t.Errorf("during the rotation a node sends %d certificates", n)
	}
	if bytes.Equal(before.Files["pki/galera/node.key"], during.Files["pki/galera/node.key"]) {
		t.Error("a new CA signs the old key")
	}
	if !bytes.Equal(before.Files["pki/rabbit/node.crt"], after.Files["pki/rabbit/node.crt"]) {
		t.Error("another domain's certificate changed")
	}
}

func TestLeavesRefuses(t *testing.T) {
	m := fixedMaster(t)
	other := newMaster("", "other", [masterSize]byte{1}, "22222222-2222-4222-8222-222222222222", testTime(), testProtect())
	foreign, err := other.Ticket(controllers(), testTime(), 0)
	check(t, err)
	for name, c := range map[string]struct {
		of    int
		alter func(r *Request)
		want  string
	}{
		"database on compute": {3, func(r *Request) { r.Secrets = append(r.Secrets, "nova/db") }, "a compute node may not have nova/db, which is for controllers"},
		"root on storage":     {4, func(r *Request) { r.Secrets = []string{"mariadb/root"} }, "a storage node may not have mariadb/root"},
		"a CA's key":          {0, func(r *Request) { r.Secrets = []string{"galera/ca"} }, "it is a key of the operator"},
		"a node's key":        {0, func(r *Request) { r.Secrets = []string{"node-key"} }, "it is a key of the operator"},
		"fernet's keys":       {0, func(r *Request) { r.Secrets = []string{"keystone/fernet-key"} }, "it is a key of the operator"},
		"no secret's name":    {0, func(r *Request) { r.Secrets = []string{"a|b"} }, "is not a secret's name"},
		"ticket on compute":   {3, func(r *Request) { r.Ticket = "x" }, "gets no formation ticket"},
		"no ticket":           {0, func(r *Request) { r.Ticket = "x" }, "read the formation ticket"},
		"foreign ticket":      {0, func(r *Request) { r.Ticket = foreign }, "this cloud's operator did not sign it"},
		"ticket that ended":   {0, func(r *Request) { r.Now = testTime().Add(48 * time.Hour) }, "the formation ticket has ended"},
		"a late controller":   {0, func(r *Request) { r.Node = "ctl4" }, "of other controllers"},
		"role":                {0, func(r *Request) { r.Role = "proxy" }, "is not controller, compute or storage"},
		"node":                {0, func(r *Request) { r.Node = "ctl1|x" }, "is not a host name"},
		"no address":          {0, func(r *Request) { r.Addresses = nil }, "no address"},
		"no VIP":              {0, func(r *Request) { r.VIP = netip.Addr{} }, "the virtual IP is missing"},
		"no time":             {0, func(r *Request) { r.Now = time.Time{} }, "the time is missing"},
		"name":                {0, func(r *Request) { r.Names = []string{"a b"} }, "is not a DNS name"},
		"file over a key":     {0, func(r *Request) { r.Files = bundle.Files{"pki/galera/node.key": nil} }, "would take the place of a key"},
		"generation":          {0, func(r *Request) { r.Generation = 0 }, ""}, // bundle.Seal refuses it
		"too late":            {3, func(r *Request) { r.Now = testTime().AddDate(4, 0, 0) }, "rotate agent/node"},
	} {
		r := request(t, m, machines()[c.of])
		c.alter(&r)
		contents, err := m.Leaves(r)
		if c.want == "" {
			if _, err := bundle.Encode(contents); err == nil {
				t.Errorf("%s: it is taken", name)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, not %q", name, err, c.want)
		}
	}
}
