package firstboot

import (
	"crypto/ed25519"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"trivet/firstboot/bundle"
	"trivet/firstboot/status"
)

// An operator makes bundles.
type operator struct {
	t      *testing.T
	signer ed25519.PrivateKey
}

func newOperator(t *testing.T) operator {
	_, signer, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	return operator{t, signer}
}

func (o operator) key() bundle.Key {
	o.t.Helper()
	k, err := bundle.NewKey(o.signer.Public().(ed25519.PublicKey))
	if err != nil {
		o.t.Fatal(err)
	}
	k.Node, k.Cluster = "ctl1", "lab"
	return k
}

// userData is ctl1's description with its secrets in a bundle, signed.
func (o operator) userData(k bundle.Key, generation int, word string) string {
	o.t.Helper()
	return o.sign(goodSeed, k, bundle.Contents{
		Cloud: testCloud, Cluster: "lab", Node: "ctl1", Role: "controller", Generation: generation,
		Secrets: bundle.Secrets{"front/admin": "canary-of-the-bundle", "back/word": word},
		Files:   bundle.Files{"pki/agent/node.key": []byte("canary of a key\n")},
	})
}

// testCloud is a cloud's UUID.
const testCloud = "0b0e7a43-5c1f-4f0b-9d0c-2d5b7a1c9e11"

// sign puts contents in the place of a description's secrets, and signs it.
func (o operator) sign(text string, k bundle.Key, c bundle.Contents) string {
	o.t.Helper()
	sealed, err := bundle.Seal(c, k.Recipient())
	if err != nil {
		o.t.Fatal(err)
	}
	text, _, _ = strings.Cut(text, "secrets:\n")
	text += "generation: " + string(rune('0'+c.Generation)) + "\nbundle: |\n  " + strings.ReplaceAll(strings.TrimSpace(sealed), "\n", "\n  ") + "\n"
	return string(bundle.Sign([]byte(text), o.signer))
}

// handKey puts a key where the network boot or systemd brings it.
func (n *testNode) handKey(k bundle.Key) {
	n.t.Helper()
	text, err := k.Marshal()
	if err != nil {
		n.t.Fatal(err)
	}
	n.put("/run/credentials/trivet-agent.service/trivet.key", string(text))
}

// TestBundle: a node opens its bundle with a key that comes by another way, and
// needs neither seed nor key again.
func TestBundle(t *testing.T) {
	o, n := newOperator(t), newNode(t)
	k := o.key()
	n.seed(o.userData(k, 1, "of-the-first"))
	n.boot(said("describe", status.Failed, "has a bundle, and this node has no key to open it"))
	n.handKey(k)
	records := n.boot(ready)
	if got := n.read("/etc/front.conf"); got != "name=ctl1 admin=canary-of-the-bundle word=of-the-first\n" {
		t.Errorf("front.conf: %q", got)
	}
	if got := n.read(bundlePath + "/pki/agent/node.key"); got != "canary of a key\n" {
		t.Errorf("the bundle's file: %q", got)
	}
	if info, err := os.Stat(filepath.Join(n.root, bundlePath, "pki/agent/node.key")); err != nil || info.Mode().Perm() != 0o400 {
		t.Errorf("the bundle's file: %v %v, want 0400", info.Mode(), err)
	}
	for _, r := range records {
		if strings.Contains(string(r.JSON()), "canary") {
			t.Errorf("a secret shows: %s", r.JSON())
		}
	}
	for path, text := range n.tree() {
		if strings.Contains(text, "canary") && path != "/etc/front.conf" && !strings.HasPrefix(path, bundlePath) {
			t.Errorf("%s holds a secret at rest", path)
		}
	}
	for _, gone := range []string{"/run", "/etc/front.conf", "/var/lib/cloud"} { // memory, and the seed
		if err := os.RemoveAll(filepath.Join(n.root, gone)); err != nil {
			t.Fatal(err)
		}
	}
	n.boot(ready)
	if got := n.read("/etc/front.conf"); !strings.Contains(got, "canary-of-the-bundle") {
		t.Errorf("the second boot: %q", got)
	}
	// A newer bundle for the same key needs no new key.
	n.seed(o.userData(k, 2, "of-the-second"))
	n.boot(ready)
	if got := n.read("/etc/front.conf"); !strings.Contains(got, "of-the-second") {
		t.Errorf("a newer bundle: %q", got)
	}
}

// TestBundleRefused: what is not the operator's, or not this node's, changes
// nothing and shows no secret.
func TestBundleRefused(t *testing.T) {
	o := newOperator(t)
	k := o.key()
	good := o.userData(k, 1, "a-word")
	for name, c := range map[string]struct {
		text string
		key  bundle.Key
		say  string
	}{
		"not signed":           {good[:strings.LastIndex(strings.TrimSpace(good), "\n")+1], k, "signature"},
		"altered":              {strings.Replace(good, "192.0.2.100/24", "192.0.2.101/24", 1), k, "signature"},
		"another operator's":   {newOperator(t).userData(k, 1, "a-word"), k, "signature"},
		"for another key":      {o.userData(o.key(), 1, "a-word"), k, "user-data"},
		"of another's signing": {good, newOperator(t).key(), "signature"},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t)
			n.seed(c.text)
			n.handKey(c.key)
			records := n.boot(said("describe", status.Failed, c.say))
			for _, r := range records {
				if strings.Contains(string(r.JSON()), "canary") {
					t.Errorf("a secret shows: %s", r.JSON())
				}
			}
			if slices.Contains(short(records), "identity start") || n.kept(storedName) != "" {
				t.Errorf("the node went on: %v", short(records))
			}
		})
	}
}
