package trust

import (
	"bytes"
	"encoding/base32"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"trivet/firstboot/bundle"
	"trivet/firstboot/node"
)

// A canary is a secret that must be nowhere but inside a bundle or with the key.
type canary struct{ what, text string }

// canaries are all that is secret in the cloud of these tests, in every form
// that it may have.
func canaries(t *testing.T, m *Master, all map[string]bundle.Contents) []canary {
	t.Helper()
	seed := m.seed()
	found := []canary{{"passphrase", phrase}}
	add := func(what string, raw []byte) {
		found = append(
			found, canary{what + " (hex)", hex.EncodeToString(raw)},
			canary{what + " (base64)", strings.TrimRight(base64.StdEncoding.EncodeToString(raw), "=")},
			canary{what + " (base32)", strings.TrimRight(base32.StdEncoding.EncodeToString(raw), "=")},
			canary{what + " (raw)", string(raw)},
		)
	}
	add("master", seed[:])
	add("signer", m.signer().Seed())
	for _, d := range domains() {
		ca, err := m.authority(d, m.epochs.get(d.name+suffixCA))
		check(t, err)
		raw, err := ca.key.Bytes()
		check(t, err)
		add(d.name+" CA", raw)
	}
	for name, c := range all {
		for secret, value := range c.Secrets {
			found = append(found, canary{name + " " + secret, value})
			found = append(found, canary{name + " " + secret + " (base64)", strings.TrimRight(base64.StdEncoding.EncodeToString([]byte(value)), "=")})
		}
		for path, data := range c.Files {
			if strings.HasSuffix(path, ".key") {
				lines := strings.Split(string(data), "\n")
				found = append(found, canary{name + " " + path, lines[1]}, canary{name + " " + path, lines[2]})
			} else if strings.HasPrefix(path, "keystone/") {
				found = append(found, canary{name + " " + path, string(data)})
			}
		}
		if c.Ticket != "" {
			found = append(found, canary{name + " ticket", c.Ticket})
		}
		add(name+" node-key", m.derive(purposeNodeKey, name, 1, 32))
		k, err := m.NodeKey(name)
		check(t, err)
		text, err := k.Marshal()
		check(t, err)
		_, identity, _ := strings.Cut(strings.TrimSpace(string(text)), "identity: ")
		found = append(found, canary{name + " identity", identity})
	}
	return found
}

// userData is a node's, in the form that firstboot/enroll/cloud writes.
func userData(of machine, sealed string) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\ncluster: lab\nname: %s\nrole: %s\ngeneration: 1\nvip: 10.9.0.100/24\nvrid: 51\naddress: %s/24\ncontrollers:\n", node.Header, of.name, of.role, of.addresses[0])
	for _, c := range machines()[:3] {
		fmt.Fprintf(&b, "  - {name: %s, address: %s}\n", c.name, c.addresses[0])
	}
	if of.role == node.Storage {
		b.WriteString("storage:\n  devices:\n    - /dev/disk/by-id/virtio-swift0\n")
	}
	b.WriteString("bundle: |\n")
	for line := range strings.Lines(sealed) {
		b.WriteString("  " + line)
	}
	return []byte(b.String())
}

// world makes all leaves and all user-data, signed.
func world(t *testing.T, m *Master) (all map[string]bundle.Contents, told map[string][]byte) {
	t.Helper()
	all, told = map[string]bundle.Contents{}, map[string][]byte{}
	for _, of := range machines() {
		all[of.name] = leavesOf(t, m, of)
		k, err := m.NodeKey(of.name)
		check(t, err)
		sealed, err := bundle.Seal(all[of.name], k.Recipient())
		check(t, err)
		told[of.name] = m.Sign(userData(of, sealed))
	}
	return all, told
}

func TestCanaries(t *testing.T) {
	m := fixedMaster(t)
	all, told := world(t, m)
	birds := canaries(t, m, all)
	if len(birds) < 200 {
		t.Fatalf("only %d canaries", len(birds))
	}
	places := maps.Clone(told)
	entries, err := os.ReadDir(m.dir)
	check(t, err)
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(m.dir, e.Name()))
		check(t, err)
		places[e.Name()] = data
	}
	if len(places) != 7+3 {
		t.Fatalf("there are %d places", len(places))
	}
	places["errors"] = []byte(everyError(t, m, all, told))
	places["printed"] = fmt.Appendf(nil, "%v %+v %#v %v", m, all, all, m.Purposes(nil))
	for place, text := range places {
		for _, c := range birds {
			if bytes.Contains(text, []byte(c.text)) {
				t.Errorf("%s shows %s", place, c.what)
			}
		}
	}
	// The test can fail: the canaries are there where they belong.
	for name, c := range all {
		plain, err := bundle.Encode(c)
		check(t, err)
		for _, bird := range birds {
			if strings.HasPrefix(bird.what, name+" keystone/db") && !strings.Contains(bird.what, "base64") && !bytes.Contains(plain, []byte(bird.text)) {
				t.Errorf("%s is not in the bundle of %s", bird.what, name)
			}
		}
	}
}

// everyError makes what can go wrong go wrong, with real secrets at hand.
func everyError(t *testing.T, m *Master, all map[string]bundle.Contents, told map[string][]byte) string {
	t.Helper()
	var errs []error
	k1, err := m.NodeKey("ctl1")
	check(t, err)
	text, err := k1.Marshal()
	check(t, err)
	for i := range text {
		_, err := bundle.ParseKey(text[:i])
		errs = append(errs, err)
	}
	plain, err := bundle.Encode(all["ctl1"])
	check(t, err)
	for i := 0; i < len(plain); i += 61 {
		_, err := bundle.Decode(plain[:i])
		errs = append(errs, err)
		broken := bytes.Clone(plain)
		broken[i] = '{'
		_, err = bundle.Decode(broken)
		errs = append(errs, err)
	}
	for _, c := range all {
		c.Generation = 0
		_, err := bundle.Seal(c, k1.Recipient())
		errs = append(errs, err, c.For("x", "y", "z", 9))
	}
	for name, text := range told {
		_, err := bundle.Verify(text[:len(text)-9], m.Signer())
		errs = append(errs, err)
		d, err := node.Parse(name, text, "")
		if err == nil {
			_, err = bundle.Open(d.Config.Bundle, k1)
		}
		errs = append(errs, err)
	}
	_, err = Open(m.dir, Unlock{Passphrase: phrase + "x"})
	errs = append(errs, err)
	_, err = Init(m.dir, "lab", testProtect(), testTime())
	errs = append(errs, err)
	out := fmt.Sprint(errors.Join(errs...))
	if strings.Count(out, "\n") < 200 {
		t.Fatalf("only %d errors", strings.Count(out, "\n"))
	}
	return out
}

// TestTopologyOnly opens user-data without its key, as a thief would, and lists
// every value that can be read.
func TestTopologyOnly(t *testing.T) {
	m := fixedMaster(t)
	_, told := world(t, m)
	var b strings.Builder
	for _, of := range machines() {
		text := told[of.name]
		d, err := node.Parse(of.name+"/user-data", text, "")
		check(t, err)
		config := d.Config
		if len(config.Secrets) != 0 || config.Bundle == "" || config.Cleartext {
			t.Errorf("%s: %d secrets are readable", of.name, len(config.Secrets))
		}
		if _, err := bundle.Open(config.Bundle, bundle.Key{}); err == nil {
			t.Errorf("%s: the bundle opens without a key", of.name)
		}
		var all any
		check(t, yaml.Unmarshal(text, &all))
		fmt.Fprintf(&b, "%s\n", of.name)
		list(&b, "", all)
	}
	golden(t, "topology.txt", b.String())
}

// list writes every value below v. Of a bundle it writes what is not base64.
func list(b *strings.Builder, at string, v any) {
	switch v := v.(type) {
	case map[string]any:
		for _, key := range sortedKeys(v) {
			list(b, at+"."+key, v[key])
		}
	case []any:
		for i, one := range v {
			list(b, fmt.Sprintf("%s[%d]", at, i), one)
		}
	default:
		text := fmt.Sprint(v)
		if lines := strings.Split(strings.TrimSpace(text), "\n"); len(lines) > 2 {
			raw, err := base64.StdEncoding.DecodeString(strings.Join(lines[1:len(lines)-1], ""))
			if err != nil {
				text = "not base64"
			} else {
				text = fmt.Sprintf("%s …, then %q … and nothing that can be read", lines[0], raw[:bytes.IndexByte(raw, '\n')])
			}
		}
		fmt.Fprintf(b, "  %s = %s\n", strings.TrimPrefix(at, "."), text)
	}
}
