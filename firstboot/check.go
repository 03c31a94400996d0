package firstboot

import (
	"fmt"
	"slices"

	"trivet/firstboot/bundle"
	"trivet/firstboot/node"
	"trivet/firstboot/source"
	"trivet/roles"
)

// parsePayload reads a payload, opens its bundle with the node's key, and checks
// that it fits the image of a role. It changes nothing.
func parsePayload(role roles.Role, p source.Payload, key source.Part) (description, error) {
	d := description{payload: p, key: key}
	hostname := ""
	var err error
	if p.MetaData.Has {
		if d.instance, hostname, err = node.ParseMetaData(p.MetaData.Name, p.MetaData.Data); err != nil {
			return d, err
		}
	}
	parsed, err := node.Parse(p.UserData.Name, p.UserData.Data, hostname)
	if err != nil {
		return d, err
	}
	d.config, d.ignored = parsed.Config, append(parsed.Ignored, p.Ignored...)
	if d.network, err = parseNetwork(p); err != nil {
		return d, err
	}
	if d.network != nil {
		d.ignored = append(d.ignored, d.network.Ignored...)
	}
	if err := parsed.Fit(role.Name, declaredSecrets(role)); err != nil {
		return d, err
	}
	if err := d.open(key); err != nil {
		return d, err
	}
	if err := d.config.Complete(declaredSecrets(role)); err != nil {
		return d, err
	}
	return d, agreeable(d)
}

// open checks the operator's signature, and takes what is secret out of the
// bundle. A node that was given a key takes no description that is not signed.
func (d *description) open(part source.Part) error {
	user := d.payload.UserData
	if !part.Has {
		if d.config.Bundle != "" {
			return fmt.Errorf("%s has a bundle, and this node has no key to open it; hand in the key by another way than the bundle: as the systemd credential trivet.key, or as /run/trivet/seed/key by the network boot", user.Name)
		}
		return nil
	}
	key, err := bundle.ParseKey(part.Data)
	if err != nil {
		return fmt.Errorf("%s: %w", part.Name, err)
	}
	if _, err := bundle.Verify(user.Data, key.Signer); err != nil {
		return fmt.Errorf("%s: %w", user.Name, err)
	}
	if d.config.Bundle == "" {
		return nil
	}
	c, err := bundle.Open(d.config.Bundle, key)
	if err != nil {
		return fmt.Errorf("%s: %w", user.Name, err)
	}
	if err := c.For(d.config.Cluster, d.config.Name, d.config.Role, d.config.Generation); err != nil {
		return fmt.Errorf("%s: %w", user.Name, err)
	}
	d.files, d.cloud, d.ticket, d.signer = c.Files, c.Cloud, c.Ticket, key.Signer
	return d.config.AddSecrets(c.Secrets)
}

// parseNetwork reads the network of a payload; nil if it has none.
func parseNetwork(p source.Payload) (*node.Network, error) {
	part, parse := p.NetworkConfig, node.ParseNetwork
	if p.NetworkData.Has {
		part, parse = p.NetworkData, node.ParseNetworkData
	}
	if !part.Has {
		return nil, nil
	}
	network, err := parse(part.Name, part.Data)
	if err != nil || len(network.Links) == 0 {
		return nil, err
	}
	return &network, nil
}

// declaredSecrets returns the secrets of all services of the role, each once.
func declaredSecrets(role roles.Role) []string {
	var all []string
	for _, s := range role.Services {
		all = append(all, s.Secrets...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}
