package trust

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
)

const otherPhrase = "another phrase of words"

// TestReprotect goes from a passphrase to recipients and back; the cloud stays
// the same.
func TestReprotect(t *testing.T) {
	m := fixedMaster(t)
	one, err := age.GenerateX25519Identity()
	check(t, err)
	check(t, m.Reprotect(Protect{Recipients: []string{one.Recipient().String()}}))
	if _, err := Open(m.dir, Unlock{Passphrase: phrase}); err == nil || !strings.Contains(err.Error(), "it is encrypted to recipients") {
		t.Errorf("the old passphrase: %v", err)
	}
	again, err := Open(m.dir, Unlock{Identities: one.String()})
	check(t, err)
	if again.seed() != m.seed() || again.Cloud() != m.Cloud() {
		t.Error("another master")
	}
	if p, err := ReadPublic(m.dir); err != nil || p.ByPassphrase() || len(p.Protection.Recipients) != 1 {
		t.Errorf("public.json: %+v %v", p.Protection, err)
	}
	check(t, again.Reprotect(Protect{Passphrase: otherPhrase, work: 2}))
	_, err = Open(m.dir, Unlock{Passphrase: otherPhrase})
	check(t, err)
	if p, err := ReadPublic(m.dir); err != nil || !p.ByPassphrase() || p.Protection.Recipients != nil {
		t.Errorf("public.json: %+v %v", p.Protection, err)
	}
	for _, refused := range []Protect{{}, {Passphrase: "short"}, {Passphrase: phrase, Recipients: []string{one.Recipient().String()}}, {Recipients: []string{"age1x"}}} {
		before, err := os.ReadFile(filepath.Join(m.dir, masterFile))
		check(t, err)
		if err := again.Reprotect(refused); err == nil || !strings.HasPrefix(err.Error(), "encrypt the master in ") || strings.Contains(err.Error(), phrase) {
			t.Errorf("%v: %v", refused, err)
		}
		after, err := os.ReadFile(filepath.Join(m.dir, masterFile))
		if check(t, err); string(after) != string(before) {
			t.Errorf("%v: it was refused, and the file changed", refused)
		}
	}
}

// TestReprotectCutAnywhere: after a cut the old passphrase opens or the new one,
// just one of them, and public.json tells which once the directory is opened.
func TestReprotectCutAnywhere(t *testing.T) {
	one, err := age.GenerateX25519Identity()
	check(t, err)
	old, fresh := 0, 0
	for n := 0; ; n++ {
		m := fixedMaster(t)
		other, err := Open(m.dir, Unlock{Passphrase: phrase})
		check(t, err)
		_, err = other.Rotate("galera/ca", nil, testTime().Add(time.Hour)) // which m has not seen
		check(t, err)
		m.disk, _ = cutAt(n)
		cut := m.Reprotect(Protect{Recipients: []string{one.Recipient().String()}})
		before, errBefore := Open(m.dir, Unlock{Passphrase: phrase})
		after, errAfter := Open(m.dir, Unlock{Identities: one.String()})
		if (errBefore == nil) == (errAfter == nil) {
			t.Fatalf("step %d: the old one opens: %v, the new one: %v", n, errBefore, errAfter)
		}
		opened := before
		if errAfter == nil {
			fresh++
			opened = after
		} else {
			old++
		}
		p, err := ReadPublic(m.dir)
		check(t, err)
		if p.ByPassphrase() != (errBefore == nil) || opened.epochs.get("galera/ca").Number != 2 || len(p.CAs) != 5 {
			t.Fatalf("step %d: public.json tells of a passphrase %v and %d CAs", n, p.ByPassphrase(), len(p.CAs))
		}
		if cut == nil {
			break
		}
	}
	if old < 5 || fresh < 5 {
		t.Errorf("%d cuts left the old protection and %d the new; were there steps?", old, fresh)
	}
}
