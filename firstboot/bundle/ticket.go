package bundle

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
)

// A Ticket permits the named controllers to form their cloud for the first
// time, until it ends. Without one a blank controller can only join. All
// controllers of a cloud have the same nonce; two nonces are two attempts, and
// no disk ever belongs to the clusters of both.
type Ticket struct {
	Cloud       string    // UUID of the cloud
	Nonce       string    // 128 bits, 32 hexadecimal digits
	Controllers []string  // names of all, sorted
	NotAfter    time.Time // in whole seconds
}

// ErrExpired is wrapped by VerifyTicket's error when a ticket is right in
// everything but its time.
var ErrExpired = errors.New("the formation ticket has ended")

// ticketPrefix begins a ticket's text. It is signed too, so that no signature of
// another kind of text can be one of a ticket.
const ticketPrefix = "trivet-ticket-v1."

// ticketWire is the form of a ticket in JSON.
type ticketWire struct {
	Cloud       string   `json:"cloud"`
	Nonce       string   `json:"nonce"`
	Controllers []string `json:"controllers"`
	NotAfter    string   `json:"not_after"` // RFC 3339, UTC
}

var nonceForm = regexp.MustCompile(`^[0-9a-f]{32}$`)

// check says what is wrong with a ticket.
func (t Ticket) check() error {
	switch n := len(t.Controllers); {
	case !uuidForm.MatchString(t.Cloud):
		return errors.New("its cloud is not a UUID")
	case !nonceForm.MatchString(t.Nonce):
		return errors.New("its nonce is not 32 hexadecimal digits")
	case n != 1 && n != 3 && n != 5:
		return fmt.Errorf("it names %d controllers, not 1, 3 or 5", n)
	case !slices.IsSorted(t.Controllers) || len(slices.Compact(slices.Clone(t.Controllers))) != n:
		return errors.New("its controllers are not sorted, or one is there twice")
	case slices.ContainsFunc(t.Controllers, func(name string) bool { return !nameForm.MatchString(name) }):
		return errors.New("it names a controller that has no host name's form")
	case t.NotAfter.IsZero() || t.NotAfter.Nanosecond() != 0 || t.NotAfter.Year() > 9999:
		return errors.New("its end is not a time in whole seconds")
	}
	return nil
}

// Sign writes the ticket as one word: trivet-ticket-v1.PAYLOAD.SIGNATURE, both
// in URL-safe base64 without padding (RFC 4648 §5); the payload is JSON, and the
// signature ed25519's of all that stands before its dot.
func (t Ticket) Sign(key ed25519.PrivateKey) (string, error) {
	if err := t.check(); err != nil {
		return "", fmt.Errorf("sign a formation ticket: %w", err)
	}
	payload, err := t.payload()
	if err != nil {
		return "", fmt.Errorf("sign a formation ticket: %w", err)
	}
	text := ticketPrefix + base64.RawURLEncoding.EncodeToString(payload)
	return text + "." + base64.RawURLEncoding.EncodeToString(ed25519.Sign(key, []byte(text))), nil
}

func (t Ticket) payload() ([]byte, error) {
	return json.Marshal(ticketWire{t.Cloud, t.Nonce, t.Controllers, t.NotAfter.UTC().Format(time.RFC3339)})
}

// VerifyTicket reads a ticket that signer signed and that has not ended at the
// time now. If only its time is over, the ticket comes with an error that wraps
// ErrExpired.
func VerifyTicket(text string, signer ed25519.PublicKey, now time.Time) (Ticket, error) {
	t, err := parseTicket(text, signer)
	switch {
	case err != nil:
		return Ticket{}, fmt.Errorf("read the formation ticket: %w", err)
	case now.After(t.NotAfter):
		return t, fmt.Errorf("%w at %s, and now is %s; make the bundles anew if this cloud never formed",
			ErrExpired, t.NotAfter.Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	}
	return t, nil
}

func parseTicket(text string, signer ed25519.PublicKey) (Ticket, error) {
	rest, ok := strings.CutPrefix(text, ticketPrefix)
	payload, signature, dot := strings.Cut(rest, ".")
	if !ok || !dot || len(text) > maxTicket || strings.ContainsAny(text, "\r\n") {
		return Ticket{}, fmt.Errorf("it is not %sPAYLOAD.SIGNATURE", ticketPrefix)
	}
	strict := base64.RawURLEncoding.Strict()
	sum, err := strict.DecodeString(signature)
	if err != nil || len(signer) != ed25519.PublicKeySize || !ed25519.Verify(signer, []byte(ticketPrefix+payload), sum) {
		return Ticket{}, errors.New("it was altered, or this cloud's operator did not sign it")
	}
	data, err := strict.DecodeString(payload)
	if err != nil {
		return Ticket{}, errors.New("its payload is not base64")
	}
	var w ticketWire
	if json.Unmarshal(data, &w) != nil {
		return Ticket{}, errors.New("its payload is not a ticket's")
	}
	end, err := time.Parse(time.RFC3339, w.NotAfter)
	if err != nil {
		return Ticket{}, errors.New("its end is not a time")
	}
	t := Ticket{w.Cloud, w.Nonce, w.Controllers, end.UTC()}
	if err := t.check(); err != nil {
		return Ticket{}, err
	}
	// Only one text means one ticket: no other keys, order or spaces.
	if again, err := t.payload(); err != nil || !bytes.Equal(again, data) {
		return Ticket{}, errors.New("its payload has more than a ticket's")
	}
	return t, nil
}

// For answers whether the ticket is of this cloud with these controllers, in any
// order.
func (t Ticket) For(cloud string, controllers []string) error {
	names := slices.Sorted(slices.Values(controllers))
	switch {
	case t.Cloud != cloud:
		return fmt.Errorf("the formation ticket is of the cloud %s, and this is %s", t.Cloud, cloud)
	case !slices.Equal(t.Controllers, names):
		return fmt.Errorf("the formation ticket is of the controllers %s, and here are %s", strings.Join(t.Controllers, ", "), strings.Join(names, ", "))
	}
	return nil
}
