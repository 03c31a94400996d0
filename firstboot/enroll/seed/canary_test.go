package seed

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"trivet/firstboot/bundle"
)

// TestCanaries: 200 secrets of a bundle are in no seed but encrypted, and in
// clear text only in files that nobody else may read.
func TestCanaries(t *testing.T) {
	signer := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{3}, 32))
	key, err := bundle.NewKey(signer.Public().(ed25519.PublicKey))
	check(t, err)
	key.Node, key.Cluster = "ctl1", "lab"
	text, err := key.Marshal()
	check(t, err)
	c := bundle.Contents{
		Cloud: "11111111-2222-4333-8444-555555555555", Cluster: "lab", Node: "ctl1", Role: "controller", Generation: 1,
		Secrets: bundle.Secrets{}, Files: bundle.Files{},
	}
	var birds []string
	readable := "secrets_delivery: cleartext\nsecrets:\n"
	for i := range 200 {
		bird := fmt.Sprintf("canary-%03d-%x", i, signer.Seed()[:8])
		birds = append(birds, bird)
		c.Secrets[fmt.Sprintf("canary/no-%d", i)] = bird
		readable += fmt.Sprintf("  canary/no-%d: %s\n", i, bird)
	}
	sealed, err := bundle.Seal(c, key.Recipient())
	check(t, err)
	_, identity, _ := strings.Cut(strings.TrimSpace(string(text)), "identity: ")
	head := "#trivet/v1\ncluster: lab\nname: ctl1\n"
	encrypted := head + "bundle: |\n  " + strings.ReplaceAll(strings.TrimSpace(sealed), "\n", "\n  ") + "\n"
	for _, f := range Formats() {
		s := theSeed()
		s.UserData, s.Key = bundle.Sign([]byte(encrypted), signer), text
		found := birdsIn(t, f, s, append(birds, identity))
		for path, n := range found {
			if n > 0 && !strings.HasPrefix(path, "keys/") {
				t.Errorf("%s: %d secrets are in %s", f, n, path)
			}
		}
		if found["keys/ctl1.key"] != 1 {
			t.Errorf("%s: the key is not where it belongs: %v", f, found)
		}
		// The test can fail: in clear text they are found.
		s.UserData, s.Key = []byte(head+readable), nil
		most := 0
		for _, n := range birdsIn(t, f, s, birds) {
			most = max(most, n)
		}
		if most < 200 {
			t.Errorf("%s: of the secrets in clear text only %d are found", f, most)
		}
	}
}

// birdsIn writes a seed and counts the secrets in each file, in any form that
// is easy to read. What has any must be closed to others.
func birdsIn(t *testing.T, f Format, s Seed, birds []string) map[string]int {
	t.Helper()
	dir := t.TempDir()
	o := options(f, filepath.Join(dir, "seeds"))
	if s.Key != nil {
		o.KeyOut = filepath.Join(dir, "keys", "ctl1.key")
	}
	_, err := Write(f, s, o)
	check(t, err)
	found := map[string]int{}
	for path, data := range tree(t, dir) {
		for _, bird := range birds {
			if holds(data, bird) {
				found[path]++
			}
		}
		info, err := os.Stat(filepath.Join(dir, path))
		check(t, err)
		if found[path] > 0 && info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %s holds secrets and has mode %s", f, path, info.Mode())
		}
	}
	return found
}

// holds looks for text as it is, in hex, in UTF-16 and inside base64 at each of
// the three offsets that it may have there.
func holds(data, text string) bool {
	var wide []byte
	for _, b := range []byte(text) {
		wide = binary.BigEndian.AppendUint16(wide, uint16(b))
	}
	forms := []string{text, hex.EncodeToString([]byte(text)), string(wide)}
	for skip := range 3 {
		coded := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("x", skip) + text))
		forms = append(forms, coded[(skip*8+5)/6:len(coded)-4])
	}
	for _, form := range forms {
		if strings.Contains(data, form) {
			return true
		}
	}
	return false
}
