package quorum

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"slices"
	"time"

	"trivet/firstboot/node"
)

// DefaultPort is the TCP port of the controllers' agents.
const DefaultPort = 9201

// A Config is what a controller knows before it meets the others.
type Config struct {
	Dir         string        // what must last, such as /var/lib/trivet/quorum; made with mode 0700
	Cloud       string        // UUID of the cloud
	Self        string        // name of this controller
	Controllers []node.Member // all of them, 1, 3 or 5, this one too
	Port        int           // DefaultPort if 0

	Ticket string            // permits to form the cloud; without one this node can only join
	Signer ed25519.PublicKey // of the operator, who signed the ticket

	// CA, Cert and Key are PEM, of the domain agent: certificates of the CAs, this
	// node's chain, its private key.
	CA, Cert, Key []byte

	// Report tells what the quorum waits for and what it decided, each once. It
	// must not block. Nil drops it.
	Report func(format string, args ...any)
	// Log gets Raft's warnings, line by line. Nil drops them.
	Log func(line string)
	// Answer gives what this node tells of a step to a peer that asks. Nil: every
	// step is unknown.
	Answer func(ctx context.Context, step string) ([]byte, error)

	Now   func() time.Time // the wall clock, for tickets and certificates; time.Now if nil
	Times Times
}

// Times are the periods of the quorum; those that are 0 take a default.
type Times struct {
	Heartbeat time.Duration // a follower that hears nothing for so long, or up to twice that, starts a vote; 1.5 s
	Lease     time.Duration // a lock whose holder is silent for so long is free; 15 s
	Silence   time.Duration // a majority forms without those that were silent for so long; 120 s
	Greet     time.Duration // a blank node greets the others every 1 to 3 times this; 1 s
	Watch     time.Duration // a member greets the others every 1 to 3 times this; 5 s
	Call      time.Duration // a peer that took longer to answer is out of reach; 5 s
}

func (t Times) filled() Times {
	for _, d := range []struct {
		of *time.Duration
		to time.Duration
	}{
		{&t.Heartbeat, 1500 * time.Millisecond},
		{&t.Lease, 15 * time.Second},
		{&t.Silence, 120 * time.Second},
		{&t.Greet, time.Second},
		{&t.Watch, 5 * time.Second},
		{&t.Call, 5 * time.Second},
	} {
		if *d.of <= 0 {
			*d.of = d.to
		}
	}
	return t
}

func (c Config) check() error {
	if n := len(c.Controllers); n != 1 && n != 3 && n != 5 {
		return fmt.Errorf("%d controllers, not 1, 3 or 5", n)
	}
	names := c.names()
	switch {
	case !slices.Contains(names, c.Self):
		return fmt.Errorf("%s is none of the controllers %v", c.Self, names)
	case len(slices.Compact(slices.Clone(names))) != len(names):
		return fmt.Errorf("a controller is named twice in %v", names)
	case slices.ContainsFunc(names, func(n string) bool { return !nameForm.MatchString(n) }):
		return fmt.Errorf("a controller of %v has no host name's form", names)
	case !uuidForm.MatchString(c.Cloud):
		return errors.New("the cloud is not a UUID")
	}
	return nil
}

// names lists the controllers, sorted.
func (c Config) names() []string {
	var names []string
	for _, m := range c.Controllers {
		names = append(names, m.Name)
	}
	return names
}

func (c Config) report(format string, args ...any) {
	if c.Report != nil {
		c.Report(format, args...)
	}
}
