package enroll

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"trivet/firstboot/bundle"
	"trivet/firstboot/enroll/cloud"
	"trivet/firstboot/enroll/seed"
	"trivet/firstboot/enroll/trust"
	"trivet/firstboot/node"
	"trivet/roles"
)

// A Maker makes what each node of a cloud is told.
type Maker struct {
	Cloud cloud.Cloud
	Keys  *trust.Master
	Roles []roles.Role
	Rings bundle.Files // for storage nodes and controllers, by path such as rings/object.ring.gz
	Now   time.Time
	// Generation of the descriptions; nodes refuse an older one than they have.
	// 0 is the minute of Now, so that a later run is a newer generation.
	Generation int
	// Forms says that the cloud has not formed yet: controllers get the ticket.
	Forms bool
	// Cleartext leaves the secrets readable in the description, for labs of one
	// controller.
	Cleartext bool
}

// Check says why nothing can be made as it is asked for. A description in clear
// text has names, addresses and secrets; files and tickets are a bundle's.
func (m Maker) Check() error {
	controllers := len(m.Cloud.Controllers)
	switch {
	case !m.Cleartext:
		return nil
	case controllers > 1:
		return fmt.Errorf("%s has %d controllers, which know each other by certificates and form their clusters with a ticket; neither can be handed over in clear text: make encrypted bundles, as without --cleartext", m.Cloud.Name, controllers)
	case m.Forms:
		return fmt.Errorf("a ticket cannot be handed over in clear text, and %s with its one controller needs none: leave out --form", m.Cloud.Name)
	case len(m.Rings) > 0:
		return errors.New("rings cannot be handed over in clear text: make encrypted bundles, as without --cleartext, or leave out --rings")
	}
	return nil
}

// Seed makes the description of a node, signed, with its secrets in a bundle,
// and the key that opens it.
func (m Maker) Seed(n cloud.Node) (seed.Seed, error) {
	none := seed.Seed{}
	if err := m.Check(); err != nil {
		return none, fmt.Errorf("describe %s: %w", n.Name, err)
	}
	c, err := m.contents(n)
	if err != nil {
		return none, err
	}
	s := seed.Seed{
		Node: n.Name, NetworkConfig: m.Cloud.NetworkConfig(n),
		MetaData: fmt.Appendf(nil, "instance-id: %s-%s\nlocal-hostname: %s\n", m.Cloud.Name, n.Name, n.Name),
	}
	extra := cloud.Extra{Generation: c.Generation}
	if m.Cleartext {
		extra.Secrets = c.Secrets
	} else {
		key, err := m.Keys.NodeKey(n.Name)
		if err != nil {
			return none, err
		}
		if extra.Bundle, err = bundle.Seal(c, key.Recipient()); err != nil {
			return none, err
		}
		if s.Key, err = key.Marshal(); err != nil {
			return none, err
		}
	}
	text, err := m.Cloud.UserData(n, extra)
	if err != nil {
		return none, err
	}
	s.UserData = m.Keys.Sign(text)
	return s, nil
}

// contents are what is secret about a node.
func (m Maker) contents(n cloud.Node) (bundle.Contents, error) {
	at := slices.IndexFunc(m.Roles, func(r roles.Role) bool { return r.Name == n.Role })
	if at < 0 {
		return bundle.Contents{}, fmt.Errorf("describe %s: there is no role %s", n.Name, n.Role)
	}
	r := trust.Request{Node: n.Name, Role: n.Role, Generation: m.Generation, Now: m.Now}
	if r.Generation == 0 {
		r.Generation = int(m.Now.Unix() / 60)
	}
	for _, s := range m.Roles[at].Services {
		r.Secrets = append(r.Secrets, s.Secrets...)
	}
	slices.Sort(r.Secrets)
	r.Secrets = slices.Compact(r.Secrets)
	for _, network := range cloud.NetworkNames() {
		if p := n.On(network); p.IsValid() && !slices.Contains(r.Addresses, p.Addr()) {
			r.Addresses = append(r.Addresses, p.Addr())
		}
	}
	if n.Role != node.Compute {
		r.Files = m.Rings
	}
	if n.Role == node.Controller {
		r.VIP = m.Cloud.VIP.Address.Addr()
		if m.Cloud.Domain != "" {
			r.Names = []string{m.Cloud.Domain}
		}
		if m.Forms {
			var err error
			if r.Ticket, err = m.Keys.Ticket(m.controllers(), m.Now, 0); err != nil {
				return bundle.Contents{}, err
			}
		}
	}
	return m.Keys.Leaves(r)
}

func (m Maker) controllers() []string {
	var names []string
	for _, n := range m.Cloud.Controllers {
		names = append(names, n.Name)
	}
	return names
}
