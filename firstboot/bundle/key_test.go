package bundle_test

import (
	"bytes"
	"strings"
	"testing"

	"filippo.io/age"

	"trivet/firstboot/bundle"
)

func TestKeyText(t *testing.T) {
	k, err := bundle.KeyOf(signerPublic(), bytes.Repeat([]byte{9}, 32))
	if err != nil {
		t.Fatal(err)
	}
	k.Node, k.Cluster = "ctl1", "lab"
	text, err := k.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	const want = `# trivet key of ctl1 in lab; keep apart from its bundle
signer: ed25519:6kpsY+KcUgq+9VB7Ey7F+ZVHdq6+vnuSQh7qaRRG0iw=
identity: AGE-SECRET-KEY-1PYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSTFVYXW
`
	if got := string(text); got != want {
		t.Errorf("got\n%s", got)
	}
	for name, given := range map[string]string{
		"as it is":        want,
		"CRLF":            strings.ReplaceAll(want, "\n", "\r\n"),
		"no end":          strings.TrimSpace(want),
		"without comment": want[strings.Index(want, "\n")+1:],
	} {
		back, err := bundle.ParseKey([]byte(given))
		if err != nil || back.Recipient() != k.Recipient() || !back.Signer.Equal(k.Signer) {
			t.Errorf("%s: %v %v", name, back, err)
		}
		if name == "as it is" && (back.Node != "ctl1" || back.Cluster != "lab") {
			t.Errorf("it is the key of %s in %s", back.Node, back.Cluster)
		}
	}
}

// TestKeyIsAges compares our Bech32 with age's, which made these.
func TestKeyIsAges(t *testing.T) {
	for range 50 {
		k := newKey(t, "ctl1")
		text, err := k.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		all, err := age.ParseIdentities(strings.NewReader(identityOnly(string(text))))
		if err != nil || len(all) != 1 {
			t.Fatalf("age does not read it: %v", err)
		}
		own, ok := all[0].(*age.X25519Identity)
		if !ok || own.Recipient().String() != k.Recipient() || !strings.Contains(string(text), own.String()+"\n") {
			t.Fatalf("age reads another key: %T", all[0])
		}
	}
}

// identityOnly leaves what age's own key files have.
func identityOnly(text string) string {
	_, identity, _ := strings.Cut(text, "identity: ")
	return identity
}

func TestParseKeyRefuses(t *testing.T) {
	k := newKey(t, "ctl1")
	text, err := k.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	s := string(text)
	_, identity, _ := strings.Cut(strings.TrimSpace(s), "identity: ")
	lines := strings.SplitAfter(s, "\n")
	for name, c := range map[string]struct{ text, want string }{
		"empty":           {"", "no signer: line"},
		"no identity":     {lines[0] + lines[1], "no identity: line"},
		"identity twice":  {s + lines[2], "line 4: identity: is there twice"},
		"signer twice":    {s + lines[1], "line 4: signer: is there twice"},
		"other line":      {s + "more: x\n", "line 4: it begins with neither"},
		"bare identity":   {lines[1] + identity, "line 2: it begins with neither"},
		"cut identity":    {s[:len(s)-5], "line 3: identity: is not"},
		"altered":         {s[:len(s)-3] + "QQ\n", "line 3: identity: is not"},
		"other signer":    {strings.Replace(s, "ed25519:", "rsa:", 1), "line 2: the signer's public key"},
		"short signer":    {strings.Replace(s, "=\n", "\n", 1), "line 2: the signer's public key"},
		"hybrid identity": {lines[1] + "identity: AGE-SECRET-KEY-PQ-1QQ", "line 2: identity: is not"},
		"large":           {s + strings.Repeat("#\n", 4096), "more than 4096"},
	} {
		_, err := bundle.ParseKey([]byte(c.text))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, not %q", name, err, c.want)
		} else if strings.Contains(err.Error(), identity[20:40]) {
			t.Errorf("%s: the error shows the identity: %v", name, err)
		}
	}
	if _, err := (bundle.Key{}).Marshal(); err == nil {
		t.Error("a zero key is written")
	}
	if _, err := bundle.NewKey(nil); err == nil {
		t.Error("a key without a signer is made")
	}
	if _, err := bundle.KeyOf(signerPublic(), make([]byte, 31)); err == nil {
		t.Error("a short scalar is taken")
	}
}
