package qemutests

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"strings"
	"testing"

	"trivet/firstboot/bundle"
	"trivet/qemu-tests/cluster"
)

// TestBootStorageOpensItsBundle gives a node its secrets as an operator should:
// encrypted and signed on the seed, with the key by SMBIOS. The node must open
// them, show none, and boot again with neither seed nor key.
func TestBootStorageOpensItsBundle(t *testing.T) {
	wantsQEMU(t)
	c, l := machines(t, "storage"), newLab(t)
	o := l.options(c, "storage", cluster.Virtio)
	key := l.seal(t, &o.Seed, "storage")
	image, err := o.Seed.Image()
	if err != nil {
		t.Fatal(err)
	}
	if l.shows(string(image)) || bytes.Contains(image, key) {
		t.Fatal("the seed holds a secret, or its key")
	}
	o.OEMStrings = []string{"io.systemd.credential.binary:trivet.key=" + base64.StdEncoding.EncodeToString(key)}
	n := c.AddNode("storage", o)
	n.Start()
	n.WaitReady(readyTime)
	if explained := n.Run(shellTime, "trivet-agent explain"); !strings.Contains(explained, "encrypted, generation 1, signed, opened with credential trivet.key") {
		t.Errorf("the node does not say that it opened its bundle:\n%s", explained)
	}
	checkSecretsAtRest(t, l, n)
	n.Stop(stopTime)

	n.Forget()
	n.Start()
	n.WaitReady(readyTime)
	checkSecretsAtRest(t, l, n)
	n.Stop(stopTime)
}

// seal takes the secrets of a seed into a bundle, signs the description, and
// returns the text of the node's key.
func (l lab) seal(t *testing.T, s *cluster.Seed, role string) []byte {
	t.Helper()
	_, signer, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	key, err := bundle.NewKey(signer.Public().(ed25519.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	key.Node, key.Cluster = nodeName(role), "lab"
	secrets := bundle.Secrets{}
	for _, name := range l.needed(role) {
		secrets[name] = l.secrets[name]
	}
	sealed, err := bundle.Seal(bundle.Contents{
		Cloud: "0b0e7a43-5c1f-4f0b-9d0c-2d5b7a1c9e11", Cluster: "lab", Node: nodeName(role), Role: role, Generation: 1, Secrets: secrets,
	}, key.Recipient())
	if err != nil {
		t.Fatal(err)
	}
	open, _, found := strings.Cut(s.UserData, "secrets:\n")
	if !found {
		t.Fatalf("the seed of a %s has no secrets to seal", role)
	}
	open += "generation: 1\nbundle: |\n  " + strings.ReplaceAll(strings.TrimSpace(sealed), "\n", "\n  ") + "\n"
	s.UserData = string(bundle.Sign([]byte(open), signer))
	text, err := key.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// checkSecretsAtRest searches a running node: what it told, and what it keeps
// on its disk outside of the services' own data.
func checkSecretsAtRest(t *testing.T, l lab, n *cluster.Node) {
	t.Helper()
	if shown := n.Run(shellTime, "journalctl --boot --no-pager; cat /run/trivet/status.json /proc/cmdline; cat /proc/[0-9]*/cmdline"); l.shows(shown) {
		t.Error("a secret shows in the journal, the status, the kernel command line or a program's arguments")
	}
	if kept := n.Run(shellTime, "find /var/lib/trivet -type f -exec cat {} +; ls -l /var/lib/trivet/credstore.encrypted"); l.shows(kept) {
		t.Error("a secret lies readable below /var/lib/trivet")
	}
}
