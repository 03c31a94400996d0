package bundle_test

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"trivet/firstboot/bundle"
)

const userData = "#trivet/v1\ncluster: lab\nname: ctl1\n"

func TestSignAndVerify(t *testing.T) {
	signed := bundle.Sign([]byte(userData), signer())
	if n := bytes.Count(signed, []byte("\n")); n != 4 || !strings.HasPrefix(string(signed), userData+"# trivet-signature: ed25519:") {
		t.Fatalf("got %s", signed)
	}
	for name, text := range map[string][]byte{
		"as it is":         signed,
		"trimmed":          bytes.TrimSpace(signed),
		"signed twice":     bundle.Sign(signed, signer()),
		"not ended before": bundle.Sign([]byte(strings.TrimSpace(userData)), signer()),
		"other, then ours": bundle.Sign(bundle.Sign([]byte(userData), ed25519.NewKeyFromSeed(make([]byte, 32))), signer()),
	} {
		body, err := bundle.Verify(text, signerPublic())
		if err != nil || string(body) != userData {
			t.Errorf("%s: %q %v", name, body, err)
		}
	}
}

func TestVerifyRefuses(t *testing.T) {
	signed := string(bundle.Sign([]byte(userData), signer()))
	for name, c := range map[string]struct{ text, want string }{
		"unsigned":          {userData, "not signed, or was cut"},
		"empty":             {"", "not signed, or was cut"},
		"altered":           {strings.Replace(signed, "ctl1", "ctl2", 1), "was altered, or another"},
		"line added before": {"x\n" + signed, "was altered, or another"},
		"line added after":  {signed + "name: ctl2\n", "not signed, or was cut"},
		"empty line after":  {signed + "\n", "not signed, or was cut"},
		"space after":       {strings.TrimSpace(signed) + " ", "the last line has no 64 bytes"},
		"cut":               {signed[:len(signed)-10], "the last line has no 64 bytes"},
		"CRLF":              {strings.ReplaceAll(signed, "\n", "\r\n"), "the last line has no 64 bytes"},
		"other key":         {string(bundle.Sign([]byte(userData), ed25519.NewKeyFromSeed(make([]byte, 32)))), "was altered, or another"},
		"large":             {strings.Repeat("#\n", 1<<20) + signed, "more than"},
		"inside":            {signed[:len(userData)-1] + " " + signed[len(userData):], "not signed, or was cut"},
	} {
		if body, err := bundle.Verify([]byte(c.text), signerPublic()); err == nil || body != nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %q %v, not %q", name, body, err, c.want)
		}
	}
	if _, err := bundle.Verify([]byte(signed), nil); err == nil {
		t.Error("no key verifies")
	}
}

func TestTicket(t *testing.T) {
	end := time.Date(2026, 11, 2, 12, 0, 0, 0, time.UTC)
	want := bundle.Ticket{Cloud: cloudID, Nonce: strings.Repeat("0a", 16), Controllers: []string{"ctl1", "ctl2", "ctl3"}, NotAfter: end}
	text, err := want.Sign(signer())
	if err != nil {
		t.Fatal(err)
	}
	if strings.ContainsAny(text, " \n\"'\\") || len(text) > 400 {
		t.Errorf("the text is not compact: %s", text)
	}
	got, err := bundle.VerifyTicket(text, signerPublic(), end)
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
	if err := got.For(cloudID, []string{"ctl3", "ctl1", "ctl2"}); err != nil {
		t.Error(err)
	}
	if got.For(cloudID, []string{"ctl1", "ctl2", "ctl4"}) == nil || got.For("22222222-2222-4333-8444-555555555555", want.Controllers) == nil {
		t.Error("a ticket of other controllers or another cloud is taken")
	}
	got, err = bundle.VerifyTicket(text, signerPublic(), end.Add(time.Second))
	if !errors.Is(err, bundle.ErrExpired) || got.Nonce != want.Nonce {
		t.Errorf("a ticket that ended: %v %v", got, err)
	}
	prefix := "trivet-ticket-v1."
	for name, bad := range map[string]string{
		"empty": "", "cut": text[:len(text)-4], "no signature": text[:strings.LastIndex(text, ".")],
		"altered":        prefix + "A" + text[len(prefix)+1:],
		"other form":     strings.Replace(text, "v1", "v2", 1),
		"more":           text + "AAAA",
		"line":           text + "\n",
		"signed as text": string(bundle.Sign([]byte(text), signer())),
	} {
		if _, err := bundle.VerifyTicket(bad, signerPublic(), end); err == nil || errors.Is(err, bundle.ErrExpired) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := bundle.VerifyTicket(text, ed25519.NewKeyFromSeed(make([]byte, 32)).Public().(ed25519.PublicKey), end); err == nil {
		t.Error("another operator's ticket is taken")
	}
}

func TestTicketRefuses(t *testing.T) {
	good := bundle.Ticket{Cloud: cloudID, Nonce: strings.Repeat("0", 32), Controllers: []string{"ctl1"}, NotAfter: time.Unix(1e9, 0)}
	for name, alter := range map[string]func(t *bundle.Ticket){
		"two":      func(t *bundle.Ticket) { t.Controllers = []string{"ctl1", "ctl2"} },
		"unsorted": func(t *bundle.Ticket) { t.Controllers = []string{"ctl2", "ctl1", "ctl3"} },
		"twice":    func(t *bundle.Ticket) { t.Controllers = []string{"ctl1", "ctl1", "ctl3"} },
		"cloud":    func(t *bundle.Ticket) { t.Cloud = "x" },
		"nonce":    func(t *bundle.Ticket) { t.Nonce = "x" },
		"no end":   func(t *bundle.Ticket) { t.NotAfter = time.Time{} },
		"parts":    func(t *bundle.Ticket) { t.NotAfter = time.Unix(1e9, 5) },
	} {
		bad := good
		alter(&bad)
		if _, err := bad.Sign(signer()); err == nil {
			t.Errorf("%s: it is signed", name)
		}
	}
}
