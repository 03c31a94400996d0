package trust

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"trivet/firstboot/node"
	"trivet/roles"
)

// The cloud of these tests.
const (
	testCloud   = "0f1e2d3c-4b5a-4978-8695-a4b3c2d1e0ff"
	testCluster = "lab"
	phrase      = "five words are a phrase"
)

func testTime() time.Time { return time.Date(2026, 11, 2, 9, 30, 0, 0, time.UTC) }

func testProtect() Protect { return Protect{Passphrase: phrase, work: 2} }

// fixedMaster has the master 00 01 02 … 1f, in a new directory.
func fixedMaster(t *testing.T) *Master {
	t.Helper()
	var seed [masterSize]byte
	for i := range seed {
		seed[i] = byte(i)
	}
	m := newMaster(filepath.Join(t.TempDir(), "keys"), testCluster, seed, testCloud, testTime(), testProtect())
	if err := m.create(testProtect()); err != nil {
		t.Fatal(err)
	}
	return m
}

// A machine of the test's cloud.
type machine struct {
	name, role string
	addresses  []netip.Addr
}

// machines are 3+1+3 nodes.
func machines() []machine {
	at := func(last byte) []netip.Addr {
		return []netip.Addr{netip.AddrFrom4([4]byte{10, 9, 0, last}), netip.AddrFrom4([4]byte{10, 9, 1, last})}
	}
	return []machine{
		{"ctl1", node.Controller, at(11)},
		{"ctl2", node.Controller, at(12)},
		{"ctl3", node.Controller, at(13)},
		{"cmp1", node.Compute, at(21)},
		{"sto1", node.Storage, at(31)},
		{"sto2", node.Storage, at(32)},
		{"sto3", node.Storage, at(33)},
	}
}

func controllers() []string { return []string{"ctl1", "ctl2", "ctl3"} }

// declared are the secrets of a role, as the repository's roles have them.
func declared(t *testing.T, role string) []string {
	t.Helper()
	r, err := roles.Load(filepath.Join("..", "..", "..", "roles"), role)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, s := range r.Services {
		for _, name := range s.Secrets {
			seen[name] = true
		}
	}
	return sortedKeys(seen)
}

// someSecrets are of no repository's state, so that goldens of bytes stay.
func someSecrets(role string) []string {
	switch role {
	case node.Controller:
		return []string{"keystone/admin", "keystone/credential", "keystone/db", "keystone/fernet", "mariadb/root", "nova/service", "rabbitmq/cookie", "swift/hash-prefix"}
	case node.Compute:
		return []string{"nova/service", "rabbitmq/openstack"}
	}
	return []string{"swift/hash-prefix", "swift/hash-suffix"}
}

// request asks for all that a machine may have.
func request(t *testing.T, m *Master, of machine) Request {
	t.Helper()
	r := Request{
		Node: of.name, Role: of.role, Addresses: of.addresses, Secrets: declared(t, of.role), Generation: 1,
		VIP: netip.MustParseAddr("10.9.0.100"), Names: []string{"cloud.example.org"}, Now: testTime().Add(time.Hour),
	}
	if of.role == node.Controller {
		ticket, err := m.Ticket(controllers(), testTime(), 0)
		if err != nil {
			t.Fatal(err)
		}
		r.Ticket = ticket
	}
	return r
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// golden compares text with a file of testdata, or writes that with -update.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		check(t, os.WriteFile(path, []byte(got), 0o644))
	}
	want, err := os.ReadFile(path)
	check(t, err)
	if diff := diffText(string(want), got); diff != "" {
		t.Errorf("%s (renew it with -update): %s", path, diff)
	}
}
