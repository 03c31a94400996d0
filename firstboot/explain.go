package firstboot

import (
	"context"
	"fmt"
	"io"
	"strings"

	"trivet/firstboot/host"
	"trivet/firstboot/source"
	"trivet/roles"
)

// An Explanation tells where a node's description comes from, and why from
// there. It holds no secret.
type Explanation struct {
	Image   string           `json:"image"` // the role of the image
	Sources []source.Attempt `json:"sources"`
	Taken   *Summary         `json:"taken,omitempty"`   // what the source describes
	Problem string           `json:"problem,omitempty"` // why it cannot be used
	Stored  *Summary         `json:"stored,omitempty"`  // the description kept from an earlier boot
}

// A Summary is the part of a description that tells nodes apart.
type Summary struct {
	Origin      string   `json:"origin"`
	Instance    string   `json:"instance_id,omitempty"`
	Cluster     string   `json:"cluster"`
	Name        string   `json:"name"`
	Role        string   `json:"role"`
	Address     string   `json:"address"`
	VIP         string   `json:"vip"`
	Controllers []string `json:"controllers"`
	Secrets     int      `json:"secrets"` // how many are given
	Bundle      string   `json:"bundle"`  // how they came
	Network     string   `json:"network"`
	Ignored     []string `json:"ignored,omitempty"` // keys of #cloud-config without effect
}

// Explain looks at every source as Run does, and changes nothing.
func Explain(ctx context.Context, root string, run host.Runner, env source.Env) (Explanation, error) {
	role, err := readRole(root)
	if err != nil {
		return Explanation{}, err
	}
	e := Explanation{Image: role.Name}
	check := func(p source.Payload, key source.Part) (description, error) {
		return noteUnheard(root, role)(parsePayload(role, p, key))
	}
	store := &vault{root: root, run: run}
	if kept, err := loadStored(ctx, store, check); err == nil {
		e.Stored = summary(kept)
	}
	candidate, tried, err := source.Look(env, source.All())
	e.Sources = tried
	if err == nil && candidate != nil {
		e.Taken, err = explainPayload(ctx, role, env, store, candidate)
	}
	if err != nil {
		e.Problem = err.Error()
	}
	return e, nil
}

func explainPayload(ctx context.Context, role roles.Role, env source.Env, store *vault, c *source.Candidate) (*Summary, error) {
	payload, err := c.Read(ctx)
	if err != nil {
		return nil, err
	}
	key, err := findKey(ctx, env, store, c)
	if err != nil {
		return nil, err
	}
	d, err := noteUnheard(env.Root, role)(parsePayload(role, payload, key))
	if err != nil {
		return nil, err
	}
	d.origin = c.Origin
	return summary(d), nil
}

func summary(d description) *Summary {
	c := d.config
	s := &Summary{
		Origin: d.origin, Instance: d.instance, Cluster: c.Cluster, Name: c.Name, Role: c.Role, Address: c.Address.String(), VIP: c.VIP.String(),
		Secrets: len(c.Secrets), Network: "DHCP on every card", Ignored: d.ignored,
	}
	switch {
	case c.Bundle != "":
		s.Bundle = fmt.Sprintf("encrypted, generation %d, signed, opened with %s", c.Generation, d.key.Name)
	case c.Cleartext:
		s.Bundle = "in clear text"
	case len(c.Secrets) > 0:
		s.Bundle = "in the description"
	}
	if d.network != nil {
		s.Network = fmt.Sprintf("network-config with %d cards", len(d.network.Links))
	}
	for _, m := range c.Controllers {
		s.Controllers = append(s.Controllers, m.Name+" "+m.Address.String())
	}
	return s
}

// WriteText writes the explanation for people.
func (e Explanation) WriteText(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "This is the image of a %s. Sources, in the order in which they are taken:\n", e.Image)
	for i, s := range e.Sources {
		fmt.Fprintf(&b, "  %d. %-14s %-12s %s\n     (%s)\n", i+1, s.Source, s.State, s.Why, s.About)
	}
	if e.Taken != nil {
		b.WriteString("Taken:\n")
		e.Taken.text(&b)
	}
	if e.Problem != "" {
		fmt.Fprintf(&b, "It cannot be used:\n  %s\n", strings.ReplaceAll(e.Problem, "\n", "\n  "))
	}
	switch {
	case e.Stored != nil:
		b.WriteString("Stored from an earlier boot, used when no source is there:\n")
		e.Stored.text(&b)
	case e.Taken == nil:
		b.WriteString("Nothing is stored from an earlier boot: the node waits.\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (s Summary) text(b *strings.Builder) {
	fmt.Fprintf(b, "  %s is %s of %s, at %s; virtual IP %s; controllers: %s\n", s.Name, s.Role, s.Cluster, s.Address, s.VIP, strings.Join(s.Controllers, ", "))
	fmt.Fprintf(b, "  from %s; network: %s; %d secrets given\n", s.Origin, s.Network, s.Secrets)
	if s.Bundle != "" {
		fmt.Fprintf(b, "  secrets: %s\n", s.Bundle)
	}
	if len(s.Ignored) > 0 {
		fmt.Fprintf(b, "  without effect here: %s\n", strings.Join(s.Ignored, ", "))
	}
}
