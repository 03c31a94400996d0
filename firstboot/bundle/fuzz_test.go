package bundle_test

import (
	"bytes"
	"testing"
	"time"

	"trivet/firstboot/bundle"
)

// FuzzDecode: what is read can be written and read again.
func FuzzDecode(f *testing.F) {
	good, err := bundle.Encode(contents("ctl1"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(`{"version":1,"files":{"a":{"base64":""}}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := bundle.Decode(data)
		if err != nil {
			return
		}
		once, err := bundle.Encode(c)
		if err != nil {
			if len(data) > bundle.MaxPlain/8 { // what JSON escapes may grow
				return
			}
			t.Fatalf("what was read cannot be written: %v", err)
		}
		again, err := bundle.Decode(once)
		if err != nil {
			t.Fatalf("what was written cannot be read: %v", err)
		}
		if twice, err := bundle.Encode(again); err != nil || !bytes.Equal(once, twice) {
			t.Fatalf("%q is not %q: %v", twice, once, err)
		}
	})
}

// FuzzVerify: only what the signer signed is taken, and signing again works.
func FuzzVerify(f *testing.F) {
	f.Add(bundle.Sign([]byte(userData), signer()))
	f.Add([]byte("\n# trivet-signature: ed25519:\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if body, err := bundle.Verify(text, signerPublic()); err == nil && !bytes.HasPrefix(text, body) {
			t.Fatalf("the body %q is not of %q", body, text)
		}
		if len(text) > 1<<20 {
			return
		}
		signed := bundle.Sign(text, signer())
		if _, err := bundle.Verify(signed, signerPublic()); err != nil {
			t.Fatalf("%q: %v", signed, err)
		}
		if again := bundle.Sign(signed, signer()); !bytes.Equal(again, signed) {
			t.Fatalf("signed twice it is %q, not %q", again, signed)
		}
	})
}

// FuzzParseKey: what is read can be written and read again.
func FuzzParseKey(f *testing.F) {
	k, err := bundle.KeyOf(signerPublic(), bytes.Repeat([]byte{9}, 32))
	if err != nil {
		f.Fatal(err)
	}
	k.Node, k.Cluster = "ctl1", "lab"
	text, err := k.Marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Fuzz(func(t *testing.T, text []byte) {
		k, err := bundle.ParseKey(text)
		if err != nil {
			return
		}
		k.Node, k.Cluster = "ctl1", "lab"
		once, err := k.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		if again, err := bundle.ParseKey(once); err != nil || again.Recipient() != k.Recipient() {
			t.Fatalf("%v %v", again, err)
		}
	})
}

// FuzzVerifyTicket: no text but the signed one is a ticket.
func FuzzVerifyTicket(f *testing.F) {
	end := time.Date(2026, 11, 2, 12, 0, 0, 0, time.UTC)
	ticket := bundle.Ticket{Cloud: cloudID, Nonce: "00112233445566778899aabbccddeeff", Controllers: []string{"ctl1"}, NotAfter: end}
	text, err := ticket.Sign(signer())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add("trivet-ticket-v1.e30.AA")
	f.Fuzz(func(t *testing.T, given string) {
		if _, err := bundle.VerifyTicket(given, signerPublic(), end); err == nil && given != text {
			t.Fatalf("%q is taken for a ticket", given)
		}
	})
}
