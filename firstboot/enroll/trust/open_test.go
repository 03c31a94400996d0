package trust

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"filippo.io/age"

	"trivet/firstboot/bundle"
	"trivet/firstboot/node"
)

func TestInitAndOpen(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "deep", "keys")
	m, err := Init(dir, "lab", testProtect(), testTime())
	check(t, err)
	again, err := Open(dir, Unlock{Passphrase: phrase})
	check(t, err)
	if m.seed() != again.seed() || m.Cloud() != again.Cloud() || again.Cluster() != "lab" || !again.Signer().Equal(m.Signer()) {
		t.Error("what was opened is not what was made")
	}
	for name, mode := range map[string]os.FileMode{"": 0o700 | os.ModeDir, masterFile: 0o600, epochsFile: 0o600, publicFile: 0o644} {
		info, err := os.Stat(filepath.Join(dir, name))
		check(t, err)
		if info.Mode() != mode {
			t.Errorf("%s has mode %s, not %s", name, info.Mode(), mode)
		}
	}
	p, err := ReadPublic(dir)
	check(t, err)
	key, err := p.Key()
	check(t, err)
	if !p.ByPassphrase() || p.Cluster != "lab" || !key.Equal(m.Signer()) || len(p.CAs) != 4 {
		t.Errorf("public.json says %+v", p)
	}
	other, err := Init(filepath.Join(t.TempDir(), "keys"), "lab", testProtect(), testTime())
	check(t, err)
	if other.seed() == m.seed() || other.Cloud() == m.Cloud() {
		t.Error("two clouds have one master")
	}
}

func TestInitRefuses(t *testing.T) {
	full := t.TempDir()
	check(t, os.WriteFile(filepath.Join(full, "x"), nil, 0o600))
	file := filepath.Join(full, "x")
	link := filepath.Join(t.TempDir(), "link")
	check(t, os.Symlink("/nowhere/at/all", link))
	_, made := fixedMaster(t), ""
	for name, c := range map[string]struct {
		dir, cluster string
		protect      Protect
		want         string
	}{
		"something is there": {full, "lab", testProtect(), "x is there already"},
		"a file is there":    {file, "lab", testProtect(), "not a directory"},
		"a dead link":        {link, "lab", testProtect(), "a link that leads nowhere"},
		"name":               {made, "Lab!", testProtect(), "is not a cloud's name"},
		"no protection":      {made, "lab", Protect{}, "neither a passphrase nor a recipient"},
		"both":               {made, "lab", Protect{Passphrase: phrase, Recipients: []string{"age1"}}, "not both"},
		"short":              {made, "lab", Protect{Passphrase: "short"}, "less than 12"},
		"recipient":          {made, "lab", Protect{Recipients: []string{"ssh-ed25519 AAAA"}}, "is not a recipient of age"},
	} {
		dir := c.dir
		if dir == "" {
			dir = filepath.Join(t.TempDir(), "keys")
		}
		_, err := Init(dir, c.cluster, c.protect, testTime())
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), phrase) {
			t.Errorf("%s: %v, not %q", name, err, c.want)
		}
		if _, err := os.Stat(dir); c.dir == "" && err == nil {
			t.Errorf("%s: it left %s", name, dir)
		}
	}
}

func TestInitTwice(t *testing.T) {
	dir := t.TempDir() // empty, so it may be taken
	_, err := Init(dir, "lab", testProtect(), testTime())
	check(t, err)
	before, err := os.ReadFile(filepath.Join(dir, masterFile))
	check(t, err)
	if _, err := Init(dir, "lab", testProtect(), testTime()); err == nil {
		t.Fatal("keys are made twice")
	}
	after, err := os.ReadFile(filepath.Join(dir, masterFile))
	check(t, err)
	if !bytes.Equal(before, after) {
		t.Error("the master was overwritten")
	}
}

func TestRecipients(t *testing.T) {
	one, err := age.GenerateX25519Identity()
	check(t, err)
	two, err := age.GenerateX25519Identity()
	check(t, err)
	hybrid, err := age.GenerateHybridIdentity()
	check(t, err)
	dir := filepath.Join(t.TempDir(), "keys")
	m, err := Init(dir, "lab", Protect{Recipients: []string{one.Recipient().String(), two.Recipient().String()}}, testTime())
	check(t, err)
	for _, i := range []*age.X25519Identity{one, two} {
		again, err := Open(dir, Unlock{Identities: "# mine\n\n" + i.String() + "\n"})
		check(t, err)
		if again.seed() != m.seed() {
			t.Error("another master")
		}
	}
	quantum := filepath.Join(t.TempDir(), "keys")
	_, err = Init(quantum, "lab", Protect{Recipients: []string{hybrid.Recipient().String()}}, testTime())
	check(t, err)
	_, err = Open(quantum, Unlock{Identities: hybrid.String()})
	check(t, err)
	for name, c := range map[string]struct {
		dir  string
		u    Unlock
		want string
	}{
		"another identity": {quantum, Unlock{Identities: one.String()}, "no identity that was given"},
		"a passphrase":     {dir, Unlock{Passphrase: phrase}, "it is encrypted to recipients"},
		"nothing":          {dir, Unlock{}, "neither a passphrase nor an identity"},
		"both":             {dir, Unlock{phrase, one.String()}, "not both"},
		"half an identity": {dir, Unlock{Identities: one.String()[:40]}, "is not age's"},
	} {
		_, err := Open(c.dir, c.u)
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "SECRET-KEY-1") {
			t.Errorf("%s: %v, not %q", name, err, c.want)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	_, other := fixedMaster(t), fixedMaster(t)
	var err error
	other.epochs.Cloud = "22222222-2222-4222-8222-222222222222"
	foreign, err := encode(other.epochs)
	check(t, err)
	foreignPublic, err := other.publicText()
	check(t, err)
	for name, c := range map[string]struct {
		file, want string
		alter      func(data []byte) []byte
		u          Unlock
	}{
		"wrong passphrase": {masterFile, "the passphrase is not the right one", nil, Unlock{Passphrase: "another phrase that is long"}},
		"an identity":      {masterFile, "give that, not an identity", nil, Unlock{Identities: "AGE-SECRET-KEY-1PYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSTFVYXW"}},
		"cut master":       {masterFile, "cut or altered", func(d []byte) []byte { return d[:len(d)/2] }, Unlock{}},
		"altered master":   {masterFile, "cut or altered", func(d []byte) []byte { return bytes.Replace(d, []byte("A"), []byte("B"), 3) }, Unlock{}},
		"cut epochs":       {epochsFile, "epochs.json: the JSON is broken or cut", func(d []byte) []byte { return d[:len(d)-4] }, Unlock{}},
		"unknown key":      {epochsFile, "unknown field", func(d []byte) []byte { return bytes.Replace(d, []byte(`"version"`), []byte(`"x": 1, "version"`), 1) }, Unlock{}},
		"key twice": {epochsFile, `"cloud" is there twice`, func(d []byte) []byte {
			return bytes.Replace(d, []byte(`"version"`), []byte(`"cloud": "", "version"`), 1)
		}, Unlock{}},
		"foreign epochs": {epochsFile, "the files are of two clouds", func([]byte) []byte { return foreign }, Unlock{}},
		"foreign public": {publicFile, "is of another cloud", func([]byte) []byte { return foreignPublic }, Unlock{}},
		"no public":      {publicFile, "public.json", func([]byte) []byte { return nil }, Unlock{}},
	} {
		m := fixedMaster(t)
		path := filepath.Join(m.dir, c.file)
		data, err := os.ReadFile(path)
		check(t, err)
		if c.alter != nil {
			data = c.alter(data)
			c.u = Unlock{Passphrase: phrase}
		}
		check(t, os.WriteFile(path, data, 0o600))
		_, err = Open(m.dir, c.u)
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), phrase) {
			t.Errorf("%s: %v, not %q", name, err, c.want)
		}
	}
}

var errCut = errors.New("the power failed")

// cutAt ends all work at a step, as a power cut does: nothing after it happens,
// cleaning up neither.
func cutAt(n int) (disk, *int) {
	done := 0
	return disk{cut: func(string) error {
		if done >= n {
			return errCut
		}
		done++
		return nil
	}}, &done
}

// TestInitCutAnywhere: after a cut there is no directory, or a whole one.
func TestInitCutAnywhere(t *testing.T) {
	whole, none := 0, 0
	for n := 0; ; n++ {
		dir := filepath.Join(t.TempDir(), "keys")
		d, _ := cutAt(n)
		_, err := initialise(dir, "lab", testProtect(), testTime(), d)
		if _, statErr := os.Lstat(dir); statErr != nil {
			none++
			if err == nil {
				t.Fatalf("step %d: Init says it worked, and nothing is there", n)
			}
			// The next attempt is not hindered.
			_, err := Init(dir, "lab", testProtect(), testTime())
			check(t, err)
			continue
		}
		whole++
		if _, openErr := Open(dir, Unlock{Passphrase: phrase}); openErr != nil {
			t.Fatalf("step %d: a part is there: %v", n, openErr)
		}
		if err == nil {
			break
		}
	}
	if none < 15 || whole < 2 {
		t.Errorf("%d cuts left nothing and %d a whole; were there steps?", none, whole)
	}
}

// TestRotateCutAnywhere: after a cut the purpose is at the old or the new epoch,
// and all files agree once the directory is opened.
func TestRotateCutAnywhere(t *testing.T) {
	old, fresh := 0, 0
	for n := 0; ; n++ {
		m := fixedMaster(t)
		d, _ := cutAt(n)
		m.disk = d
		_, err := m.Rotate("galera/ca", nil, testTime().Add(time.Hour))
		again, openErr := Open(m.dir, Unlock{Passphrase: phrase})
		if openErr != nil {
			t.Fatalf("step %d: %v", n, openErr)
		}
		number := again.epochs.get("galera/ca").Number
		p, readErr := ReadPublic(m.dir)
		check(t, readErr)
		cas := slices.DeleteFunc(p.CAs, func(ca CA) bool { return ca.Domain != "galera" })
		if len(cas) != number || cas[0].Epoch != number {
			t.Fatalf("step %d: the epoch is %d, and public.json has %d CAs, the first of epoch %d", n, number, len(cas), cas[0].Epoch)
		}
		if number == 1 {
			old++
		} else {
			fresh++
		}
		_, rotateErr := again.Rotate("keystone/db", []string{"keystone/db"}, testTime().Add(2*time.Hour))
		check(t, rotateErr)
		left, globErr := filepath.Glob(filepath.Join(m.dir, ".*"))
		if check(t, globErr); len(left) > 0 {
			t.Fatalf("step %d: %v are left", n, left)
		}
		if err == nil {
			break
		}
	}
	if old < 5 || fresh < 5 {
		t.Errorf("%d cuts left the old epoch and %d the new; were there steps?", old, fresh)
	}
}

func TestRotate(t *testing.T) {
	m := fixedMaster(t)
	names := declared(t, node.Controller)
	before, err := m.Secret("keystone/db")
	check(t, err)
	other, err := m.Secret("glance/db")
	check(t, err)
	number, err := m.Rotate("keystone/db", names, testTime().Add(time.Hour))
	check(t, err)
	again, err := Open(m.dir, Unlock{Passphrase: phrase})
	check(t, err)
	after, err := again.Secret("keystone/db")
	check(t, err)
	same, err := again.Secret("glance/db")
	check(t, err)
	if number != 2 || after == before || same != other {
		t.Errorf("epoch %d: the secret did not change, or another did", number)
	}
	// A node's own rotations and everybody's give numbers that it never had.
	seen := map[string]bool{}
	for _, purpose := range []string{"", "node-key@cmp1", "node-key", "node-key@cmp1", "node-key"} {
		if purpose != "" {
			_, err := m.Rotate(purpose, names, testTime().Add(2*time.Hour))
			check(t, err)
		}
		k, err := m.NodeKey("cmp1")
		check(t, err)
		if seen[k.Recipient()] {
			t.Errorf("%s: the key of cmp1 is one that it had before", purpose)
		}
		seen[k.Recipient()] = true
	}
	for purpose, want := range map[string]string{
		"swift/hash-prefix":  "it can never change: the place of every object",
		"swift/hash-suffix":  "it can never change",
		"signer":             "it can never change: every node has its public key",
		"keystone/dbs":       "there is no such purpose; known are agent/ca, agent/node, api/ca",
		"keystone/db@ctl1":   "leave out @ctl1",
		"node-key@ctl1|x":    "is not a node's name",
		"swift/hash@ctl1":    "there is no such purpose",
		"galera/ca@ctl1":     "leave out @ctl1",
		"keystone/fernet-ke": "there is no such purpose",
	} {
		if _, err := m.Rotate(purpose, allDeclared(t), testTime().Add(3*time.Hour)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, not %q", purpose, err, want)
		}
	}
	if _, err := m.Rotate("keystone/db", names, testTime()); err == nil || !strings.Contains(err.Error(), "set the clock") {
		t.Errorf("back in time: %v", err)
	}
	_, err = m.Rotate("api/ca", names, testTime().Add(time.Hour))
	check(t, err)
	if _, err := m.Rotate("api/ca", names, testTime().Add(time.Hour)); err == nil || !strings.Contains(err.Error(), "retire it first") {
		t.Errorf("twice without retiring: %v", err)
	}
	check(t, m.Retire("api/ca"))
	if m.Retire("api/ca") == nil || m.Retire("keystone/db") == nil {
		t.Error("nothing is retired")
	}
}

func allDeclared(t *testing.T) []string {
	return append(declared(t, node.Controller), declared(t, node.Storage)...)
}

// TestTwoAtOnce: a second process sees what the first did, and waits its turn.
func TestTwoAtOnce(t *testing.T) {
	m := fixedMaster(t)
	second, err := Open(m.dir, Unlock{Passphrase: phrase})
	check(t, err)
	_, err = m.Rotate("a/b", []string{"a/b"}, testTime())
	check(t, err)
	number, err := second.Rotate("a/b", []string{"a/b"}, testTime())
	check(t, err)
	if number != 3 {
		t.Errorf("the second rotation gives epoch %d", number)
	}
	release, err := lock(m.dir)
	check(t, err)
	if _, err := m.Rotate("a/b", []string{"a/b"}, testTime()); err == nil || !strings.Contains(err.Error(), "another trivet works on") {
		t.Errorf("beside another: %v", err)
	}
	release()
}

func TestPurposes(t *testing.T) {
	m := fixedMaster(t)
	_, err := m.Rotate("rabbit/ca", nil, testTime())
	check(t, err)
	_, err = m.Rotate("node-key@cmp1", nil, testTime())
	check(t, err)
	var b strings.Builder
	for _, p := range m.Purposes(append(someSecrets(node.Controller), someSecrets(node.Storage)...)) {
		until := ""
		if !p.Until.IsZero() {
			until = p.Until.Format(time.DateOnly)
		}
		fmt.Fprintln(&b, strings.TrimRight(fmt.Sprintf("%-22s epoch %d (old %d) since %s until %-10s | %s | %s", p.Name, p.Epoch, p.Old, p.Since.Format(time.DateOnly), until, p.Fixed, p.Means), " |"))
	}
	golden(t, "purposes.txt", b.String())
	text, err := os.ReadFile(filepath.Join(m.dir, epochsFile))
	check(t, err)
	golden(t, "epochs.json", string(text))
}

func TestTicketOfMaster(t *testing.T) {
	m := fixedMaster(t)
	one, err := m.Ticket([]string{"ctl3", "ctl1", "ctl2"}, testTime(), 0)
	check(t, err)
	two, err := m.Ticket(controllers(), testTime().Add(time.Hour), time.Hour)
	check(t, err)
	a, err := bundle.VerifyTicket(one, m.Signer(), testTime().Add(24*time.Hour))
	check(t, err)
	b, err := bundle.VerifyTicket(two, m.Signer(), testTime())
	check(t, err)
	if a.Nonce != b.Nonce || !a.NotAfter.Equal(testTime().Add(24*time.Hour)) || a.For(m.Cloud(), controllers()) != nil {
		t.Errorf("got %v and %v", a, b)
	}
	_, err = m.Rotate("formation", nil, testTime())
	check(t, err)
	three, err := m.Ticket(controllers(), testTime(), 0)
	check(t, err)
	c, err := bundle.VerifyTicket(three, m.Signer(), testTime())
	check(t, err)
	if c.Nonce == a.Nonce {
		t.Error("the nonce is the same after a rotation")
	}
	for _, life := range []time.Duration{time.Second, -time.Hour, 15 * 24 * time.Hour} {
		if _, err := m.Ticket(controllers(), testTime(), life); err == nil {
			t.Errorf("a ticket of %s is made", life)
		}
	}
	if _, err := m.Ticket([]string{"ctl1", "ctl2"}, testTime(), 0); err == nil {
		t.Error("two controllers get a ticket")
	}
}

// TestMasterPrintsNothing tries every way of printing.
func TestMasterPrintsNothing(t *testing.T) {
	m := fixedMaster(t)
	seed := m.seed()
	u, p := Unlock{Passphrase: phrase, Identities: "AGE-SECRET-KEY-1X"}, testProtect()
	type holder struct {
		M *Master
		m Master
		U Unlock
		P Protect
	}
	h := holder{M: m, m: *m, U: u, P: p}
	var out bytes.Buffer
	for _, v := range []any{m, u, p, &u, &p, h, &h} {
		fmt.Fprintf(&out, "%v %+v %#v %s %q %x %d\n", v, v, v, v, v, v, v)
		data, err := json.Marshal(v)
		check(t, err)
		out.Write(data)
		slog.New(slog.NewJSONHandler(&out, nil)).Info("m", "v", v)
	}
	for _, secret := range []string{phrase, fmt.Sprintf("%x", phrase), "AGE-SECRET", fmt.Sprintf("%x", seed[8:16]), "0 1 2 3 4 5 6", "0x0, 0x1, 0x2, 0x3"} {
		if strings.Contains(out.String(), secret) {
			t.Errorf("the output shows %q", secret)
		}
	}
}
