package firstboot

import (
	"slices"

	"trivet/firstboot/node"
	"trivet/firstboot/source"
	"trivet/roles"
)

// parsePayload reads a payload and checks that it fits the image of a role. It
// changes nothing.
func parsePayload(role roles.Role, p source.Payload) (description, error) {
	d := description{payload: p}
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
	return d, controllersOnly(d.config)
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
