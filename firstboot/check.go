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
	d.config, d.ignored = parsed.Config, parsed.Ignored
	if p.NetworkConfig.Has {
		network, err := node.ParseNetwork(p.NetworkConfig.Name, p.NetworkConfig.Data)
		if err != nil {
			return d, err
		}
		d.network = &network
	}
	if err := parsed.Fit(role.Name, declaredSecrets(role)); err != nil {
		return d, err
	}
	return d, controllersOnly(d.config)
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
