package trust

import (
	"bytes"
	"testing"
)

// FuzzEpochs: what is read can be written and read again.
func FuzzEpochs(f *testing.F) {
	f.Add([]byte(`{"version":1,"cloud":"` + testCloud + `","created":"2026-11-02T09:30:00Z","epochs":{"galera/ca":{"epoch":2,"since":"2026-11-03T00:00:00Z","before":{"epoch":1,"since":"2026-11-02T09:30:00Z"}}}}`))
	f.Add([]byte(`{"version":1,"epochs":null}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := parseEpochs(data)
		if err != nil {
			return
		}
		once, err := encode(e)
		if err != nil {
			t.Fatal(err)
		}
		again, err := parseEpochs(once)
		if err != nil {
			t.Fatalf("what was written cannot be read: %v", err)
		}
		if twice, err := encode(again); err != nil || !bytes.Equal(once, twice) {
			t.Fatalf("%q is not %q: %v", twice, once, err)
		}
	})
}

// FuzzPublic: what is read has a signer and CA certificates only.
func FuzzPublic(f *testing.F) {
	f.Add([]byte(`{"version":1,"cloud":"` + testCloud + `","cluster":"lab","created":"2026-11-02T09:30:00Z","signer":"ed25519:6kpsY+KcUgq+9VB7Ey7F+ZVHdq6+vnuSQh7qaRRG0iw=","protection":{"passphrase":true},"cas":[]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := parsePublic(data)
		if err != nil {
			return
		}
		if _, err := p.Key(); err != nil {
			t.Fatal(err)
		}
		if _, err := encode(p); err != nil {
			t.Fatal(err)
		}
	})
}
