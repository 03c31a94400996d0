package enroll

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"trivet/firstboot/bundle"
	"trivet/firstboot/enroll/cloud"
	"trivet/firstboot/enroll/trust"
	"trivet/firstboot/node"
	"trivet/roles"
)

// newMaker is an operator with the example of three controllers.
func newMaker(t *testing.T) Maker {
	t.Helper()
	return makerOf(t, "three")
}

// makerOf is an operator with an example.
func makerOf(t *testing.T, example string) Maker {
	t.Helper()
	text, err := cloud.Example(example)
	if err != nil {
		t.Fatal(err)
	}
	m := Maker{Now: time.Date(2026, 11, 23, 3, 0, 0, 0, time.UTC), Forms: true, Rings: bundle.Files{"rings/object.ring.gz": {0x1f, 0x8b, 0}}}
	if m.Cloud, err = cloud.Parse(example+".yaml", text); err != nil {
		t.Fatal(err)
	}
	if m.Roles, err = roles.LoadAll("../../roles"); err != nil {
		t.Fatal(err)
	}
	if m.Keys, err = trust.Init(t.TempDir()+"/keys", m.Cloud.Name, trust.Protect{Passphrase: "a long passphrase"}, m.Now); err != nil {
		t.Fatal(err)
	}
	return m
}

// TestSeed makes what each node of 3+1+3 is told: the node itself reads it with
// its key; without the key nothing of it but topology can be read; no other
// node's key opens it.
func TestSeed(t *testing.T) {
	m := newMaker(t)
	others := m.Cloud.Nodes()
	for i, n := range others {
		t.Run(n.Name, func(t *testing.T) {
			s, err := m.Seed(n)
			if err != nil {
				t.Fatal(err)
			}
			key, err := bundle.ParseKey(s.Key)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := bundle.Verify(s.UserData, key.Signer); err != nil {
				t.Error(err)
			}
			d, err := node.Parse("user-data", s.UserData, "")
			if err != nil {
				t.Fatal(err)
			}
			if d.Config.Name != n.Name || d.Config.Role != n.Role || d.Config.Generation != int(m.Now.Unix()/60) || len(d.Config.Secrets) != 0 {
				t.Errorf("the description is of %s, a %s, generation %d, with %d secrets in the clear", d.Config.Name, d.Config.Role, d.Config.Generation, len(d.Config.Secrets))
			}
			c, err := bundle.Open(d.Config.Bundle, key)
			if err != nil {
				t.Fatal(err)
			}
			checkContents(t, m, n, c, s.UserData)
			stranger, err := m.Keys.NodeKey(others[(i+1)%len(others)].Name)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := bundle.Open(d.Config.Bundle, stranger); err == nil {
				t.Error("the key of another node opens it")
			}
		})
	}
}

// checkContents wants what the role needs and nothing secret in the text.
func checkContents(t *testing.T, m Maker, n cloud.Node, c bundle.Contents, userData []byte) {
	t.Helper()
	if err := c.For(m.Cloud.Name, n.Name, n.Role, c.Generation); err != nil {
		t.Error(err)
	}
	for name, value := range c.Secrets {
		if bytes.Contains(userData, []byte(value)) {
			t.Errorf("the secret %s can be read without the key", name)
		}
	}
	for path, data := range c.Files {
		if strings.HasSuffix(path, ".key") && bytes.Contains(userData, data) {
			t.Errorf("%s can be read without the key", path)
		}
	}
	_, hasRings := c.Files["rings/object.ring.gz"]
	_, hasGalera := c.Files["pki/galera/node.key"]
	if controller := n.Role == node.Controller; hasGalera != controller || (c.Ticket != "") != controller || hasRings != (n.Role != node.Compute) {
		t.Errorf("a %s has Galera's key %v, a ticket of %d bytes, rings %v", n.Role, hasGalera, len(c.Ticket), hasRings)
	}
}

// TestSeedInClearText has all secrets in the description, which says so. What
// cannot be in it is refused.
func TestSeedInClearText(t *testing.T) {
	m := makerOf(t, "lab")
	m.Cleartext, m.Generation = true, 7
	refused := func(m Maker, why string) {
		t.Helper()
		if _, err := m.Seed(m.Cloud.Controllers[0]); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%v, want %s", err, why)
		}
	}
	refused(m, "leave out --form")
	m.Forms = false
	refused(m, "leave out --rings")
	m.Rings = nil
	three := newMaker(t)
	three.Cleartext = true
	refused(three, "make encrypted bundles")
	s, err := m.Seed(m.Cloud.Controllers[0])
	if err != nil {
		t.Fatal(err)
	}
	d, err := node.Parse("user-data", s.UserData, "")
	if err != nil {
		t.Fatal(err)
	}
	if s.Key != nil || !d.Config.Cleartext || d.Config.Generation != 7 || len(d.Config.Secrets) == 0 || d.Config.Bundle != "" {
		t.Errorf("key of %d bytes, cleartext %v, generation %d, %d secrets", len(s.Key), d.Config.Cleartext, d.Config.Generation, len(d.Config.Secrets))
	}
}
