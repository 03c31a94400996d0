package bundle_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"filippo.io/age"
	"filippo.io/age/armor"
	"github.com/google/go-cmp/cmp"

	"trivet/firstboot/bundle"
)

const (
	cloudID = "11111111-2222-4333-8444-555555555555"
	canary  = "canary-0123456789abcdef"
)

// signer is a key that is the same in every test.
func signer() ed25519.PrivateKey { return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, 32)) }

func signerPublic() ed25519.PublicKey { return signer().Public().(ed25519.PublicKey) }

func newKey(t *testing.T, node string) bundle.Key {
	t.Helper()
	k, err := bundle.NewKey(signerPublic())
	if err != nil {
		t.Fatal(err)
	}
	k.Node, k.Cluster = node, "lab"
	return k
}

func contents(node string) bundle.Contents {
	return bundle.Contents{
		Cloud: cloudID, Cluster: "lab", Node: node, Role: "controller", Generation: 3,
		Secrets: bundle.Secrets{"keystone/db": canary, "mariadb/root": canary + "2"},
		Files: bundle.Files{
			"pki/galera/node.key":  []byte("-----BEGIN PRIVATE KEY-----\n" + canary + "\n-----END PRIVATE KEY-----\n"),
			"rings/object.ring.gz": {0x1f, 0x8b, 8, 0, 0xff, 0, '"', '\n'},
			"empty":                {},
		},
		Ticket: "ticket-" + canary,
	}
}

func seal(t *testing.T, c bundle.Contents, k bundle.Key) string {
	t.Helper()
	text, err := bundle.Seal(c, k.Recipient())
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestSealAndOpen(t *testing.T) {
	k, want := newKey(t, "ctl1"), contents("ctl1")
	text := seal(t, want, k)
	for name, given := range map[string]string{
		"as it is":         text,
		"without its end":  strings.TrimRight(text, "\n"),
		"with empty lines": "\n" + text + "\n\n",
	} {
		got, err := bundle.Open(given, k)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		// Converted, since both print as names only.
		if diff := cmp.Diff(map[string]string(want.Secrets), map[string]string(got.Secrets)); diff != "" {
			t.Errorf("%s: secrets: %s", name, diff)
		}
		if diff := cmp.Diff(map[string][]byte(want.Files), map[string][]byte(got.Files)); diff != "" {
			t.Errorf("%s: files: %s", name, diff)
		}
		if got.Ticket != want.Ticket || got.For("lab", "ctl1", "controller", 3) != nil || got.Cloud != cloudID {
			t.Errorf("%s: got %v", name, got)
		}
	}
	if text == seal(t, want, k) {
		t.Error("two bundles of the same contents are the same: the encryption is not random")
	}
}

func TestEncodeIsStable(t *testing.T) {
	got, err := bundle.Encode(contents("ctl1"))
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"version":1,"cloud":"11111111-2222-4333-8444-555555555555","cluster":"lab","node":"ctl1","role":"controller","generation":3,` +
		`"secrets":{"keystone/db":"canary-0123456789abcdef","mariadb/root":"canary-0123456789abcdef2"},` +
		`"files":{"empty":"","pki/galera/node.key":"-----BEGIN PRIVATE KEY-----\ncanary-0123456789abcdef\n-----END PRIVATE KEY-----\n",` +
		`"rings/object.ring.gz":{"base64":"H4sIAP8AIgo="}},"ticket":"ticket-canary-0123456789abcdef"}` + "\n"
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Error(diff)
	}
}

// sealRaw encrypts any plaintext, as an enemy may who knows the recipient.
func sealRaw(t *testing.T, plain []byte, to ...age.Recipient) string {
	t.Helper()
	var b bytes.Buffer
	a := armor.NewWriter(&b)
	w, err := age.Encrypt(a, to...)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(plain); err != nil {
		t.Fatal(err)
	}
	if w.Close() != nil || a.Close() != nil {
		t.Fatal("close")
	}
	return b.String()
}

func TestOpenRefuses(t *testing.T) {
	k, other := newKey(t, "ctl1"), newKey(t, "ctl2")
	text := seal(t, contents("ctl1"), k)
	lines := strings.SplitAfter(strings.TrimSpace(text), "\n")
	recipient, err := age.ParseX25519Recipient(k.Recipient())
	if err != nil {
		t.Fatal(err)
	}
	passphrase, err := age.NewScryptRecipient("x")
	if err != nil {
		t.Fatal(err)
	}
	passphrase.SetWorkFactor(1)
	middle := len(lines) / 2
	flipped := strings.Join(lines[:middle], "") + strings.Map(flip, lines[middle]) + strings.Join(lines[middle+1:], "")
	for name, c := range map[string]struct {
		text string
		key  bundle.Key
		want string
	}{
		"another node's key":  {text, other, "it is not for this key, which is of ctl2 in lab"},
		"another node's name": {seal(t, contents("ctl2"), k), k, "it is of ctl2 in lab, and the key of ctl1 in lab"},
		"no key":              {text, bundle.Key{}, "there is no key"},
		"cut":                 {strings.Join(lines[:middle], ""), k, "it is cut"},
		"a line cut out":      {strings.Join(lines[:middle], "") + strings.Join(lines[middle+1:], ""), k, "it was cut or altered"},
		"cut in the armor":    {strings.Join(lines[:middle], "") + lines[len(lines)-1], k, "it was cut or altered"},
		"altered":             {flipped, k, "it was cut or altered"},
		"two in one":          {text + text, k, "it was cut or altered"},
		"no armor":            {"age-encryption.org/v1\n-> X25519 x", k, "it is not an age file in ASCII armor"},
		"oversized armor":     {armor.Header + strings.Repeat("\nAAAA", bundle.MaxArmored/5) + "\n" + armor.Footer, k, "more than 983040"},
		"oversized plaintext": {sealRaw(t, make([]byte, bundle.MaxPlain+1), recipient), k, "it holds more than 655360 bytes"},
		"a passphrase's":      {sealRaw(t, []byte("{}"), passphrase), k, "it is not for this key"},
		"no JSON":             {sealRaw(t, []byte(canary), recipient), k, "the JSON is broken"},
	} {
		_, err := bundle.Open(c.text, c.key)
		switch {
		case err == nil:
			t.Errorf("%s: it opens", name)
		case !strings.Contains(err.Error(), c.want):
			t.Errorf("%s: %v, not %q", name, err, c.want)
		case strings.Contains(err.Error(), canary) || strings.Contains(err.Error(), "SECRET"):
			t.Errorf("%s: the error shows a secret: %v", name, err)
		}
	}
}

// flip turns one base64 line into another.
func flip(r rune) rune {
	if r == 'A' {
		return 'B'
	}
	if r >= 'a' && r < 'z' {
		return r + 1
	}
	return r
}

func TestSealRefuses(t *testing.T) {
	k := newKey(t, "ctl1")
	alter := func(f func(c *bundle.Contents)) bundle.Contents {
		c := contents("ctl1")
		f(&c)
		return c
	}
	for name, c := range map[string]bundle.Contents{
		"no cloud":      alter(func(c *bundle.Contents) { c.Cloud = "" }),
		"no generation": alter(func(c *bundle.Contents) { c.Generation = 0 }),
		"node":          alter(func(c *bundle.Contents) { c.Node = "ctl1.example" }),
		"path":          alter(func(c *bundle.Contents) { c.Files["../etc/passwd"] = []byte(canary) }),
		"absolute":      alter(func(c *bundle.Contents) { c.Files["/etc/passwd"] = []byte(canary) }),
		"dot":           alter(func(c *bundle.Contents) { c.Files["pki/.x"] = nil }),
		"secret's name": alter(func(c *bundle.Contents) { c.Secrets[canary+"/"] = "x" }),
		"empty secret":  alter(func(c *bundle.Contents) { c.Secrets["a/b"] = "" }),
		"large secret":  alter(func(c *bundle.Contents) { c.Secrets["a/b"] = strings.Repeat(canary, 100) }),
		"too much":      alter(func(c *bundle.Contents) { c.Files["rings"] = make([]byte, bundle.MaxPlain) }),
		"large ticket":  alter(func(c *bundle.Contents) { c.Ticket = strings.Repeat(canary, 1000) }),
	} {
		_, err := bundle.Seal(c, k.Recipient())
		if err == nil || strings.Contains(err.Error(), canary) {
			t.Errorf("%s: error %v", name, err)
		}
	}
	if _, err := bundle.Seal(contents("ctl1"), "age1nonsense"); err == nil {
		t.Error("a wrong recipient is taken")
	}
}

func TestDecodeIsStrict(t *testing.T) {
	good, err := bundle.Encode(contents("ctl1"))
	if err != nil {
		t.Fatal(err)
	}
	s := string(good)
	for name, c := range map[string]struct{ text, want string }{
		"unknown key":   {strings.Replace(s, `{"version"`, `{"x":1,"version"`, 1), "a key that no bundle has"},
		"other case":    {strings.Replace(s, `"cluster"`, `"Cluster"`, 1), "a key that no bundle has"},
		"twice":         {strings.Replace(s, `"role"`, `"node":"ctl9","role"`, 1), "twice"},
		"secret twice":  {strings.Replace(s, `"secrets":{`, `"secrets":{"keystone/db":"x",`, 1), "twice"},
		"follows":       {s + "{}", "something follows"},
		"cut":           {s[:len(s)/2], "broken or cut"},
		"version":       {strings.Replace(s, `"version":1`, `"version":2`, 1), "version 2"},
		"no version":    {strings.Replace(s, `"version":1,`, ``, 1), "version 0"},
		"number":        {strings.Replace(s, `"generation":3`, `"generation":3.5`, 1), "not whole"},
		"large number":  {strings.Replace(s, `"generation":3`, `"generation":99999999999999999999`, 1), "not whole"},
		"secret number": {strings.Replace(s, `"`+canary+`"`, `777777`, 1), "a string must stand"},
		"null":          {strings.Replace(s, `"lab"`, `null`, 1), "a string must stand"},
		"list":          {"[" + s + "]", "an object must stand"},
		"deep":          {strings.Repeat("[", 100000), "an object must stand"},
		"other binary":  {strings.Replace(s, `{"base64":`, `{"hex":`, 1), "object with base64"},
		"bad base64":    {strings.Replace(s, `H4sIAP8AIgo=`, `H4sIAP8AIg`, 1), "object with base64"},
		"more binary":   {strings.Replace(s, `"H4sIAP8AIgo="`, `"H4sIAP8AIgo=","mode":"0600"`, 1), "nothing else"},
		"path":          {strings.Replace(s, `"empty"`, `"a/../b"`, 1), "path of a file"},
		"not UTF-8":     {strings.Replace(s, canary, canary+"\xff", 1), "not UTF-8"},
	} {
		_, err := bundle.Decode([]byte(c.text))
		switch {
		case err == nil || !strings.Contains(err.Error(), c.want):
			t.Errorf("%s: %v, not %q", name, err, c.want)
		case strings.Contains(err.Error(), canary) || strings.Contains(err.Error(), "777"):
			t.Errorf("%s: the error shows a value: %v", name, err)
		}
	}
}

func TestFor(t *testing.T) {
	c := contents("ctl1")
	for _, err := range []error{
		c.For("lab", "ctl2", "controller", 3), c.For("other", "ctl1", "controller", 3),
		c.For("lab", "ctl1", "compute", 3), c.For("lab", "ctl1", "controller", 4),
	} {
		if err == nil {
			t.Error("a bundle of something else is taken")
		}
	}
}

// TestNothingPrintsSecrets tries every way of printing that a log may take.
func TestNothingPrintsSecrets(t *testing.T) {
	k, c := newKey(t, "ctl1"), contents("ctl1")
	text, err := k.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	_, identity, _ := strings.Cut(strings.TrimSpace(string(text)), "identity: ")
	type holder struct {
		Key      bundle.Key
		Pointer  *bundle.Key
		Contents bundle.Contents
		Of       *bundle.Contents
		Secrets  bundle.Secrets
		Files    bundle.Files
		hidden   bundle.Key
	}
	h := holder{k, &k, c, &c, c.Secrets, c.Files, k}
	var out bytes.Buffer
	for _, v := range []any{k, &k, c, &c, c.Secrets, c.Files, h, &h, []any{k, c}, map[string]any{"k": k, "c": c}} {
		fmt.Fprintf(&out, "%v %+v %#v %s %q %x %d\n", v, v, v, v, v, v, v)
		data, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		out.Write(data)
		slog.New(slog.NewJSONHandler(&out, nil)).Info("m", "v", v)
		slog.New(slog.NewTextHandler(&out, nil)).Info("m", "v", v)
	}
	for _, secret := range []string{canary, fmt.Sprintf("%x", canary), identity, fmt.Sprintf("%x", identity), "AGE-SECRET", "99 97 110 97 114 121"} {
		if strings.Contains(out.String(), secret) {
			t.Errorf("the output shows %q", secret)
		}
	}
	if !strings.Contains(out.String(), "bundle of ctl1 (controller) in lab, generation 3: 2 secrets, 3 files") {
		t.Error("contents do not print what people need")
	}
}
