package firstboot

import (
	"context"
	"errors"
	"fmt"

	"trivet/firstboot/host"
	"trivet/firstboot/node"
	"trivet/firstboot/render"
	"trivet/firstboot/source"
)

// PreviewInputs are for Preview.
type PreviewInputs struct {
	Root    string // of the image: its role and its templates
	To      string // folder for the rendered files
	Device  string // stands for the interface that a running node would find; eth0 if empty
	Secrets bool   // write secrets as they are; else [redacted]
	Source  source.Env
	Host    host.Runner
}

// Preview renders what a node would render at boot, into another folder. It
// takes the description of the source, or the stored one if there is no source.
// It returns the paths below in.To.
func Preview(ctx context.Context, in PreviewInputs) ([]string, error) {
	role, err := readRole(in.Root)
	if err != nil {
		return nil, err
	}
	check := func(p source.Payload, key source.Part) (description, error) { return parsePayload(role, p, key) }
	known, err := previewDescription(ctx, in, check)
	if err != nil {
		return nil, err
	}
	a := agent{Inputs: Inputs{Root: in.Root}, vault: &vault{root: in.Root, run: in.Host}, role: role}
	if in.Secrets {
		err = a.keptSecrets(ctx, &known.config)
	} else {
		for _, name := range declaredSecrets(role) {
			known.config.Secrets[name] = node.NewSecret(node.Redacted)
		}
	}
	if err != nil {
		return nil, err
	}
	if known.config.Interface != "" {
		in.Device = known.config.Interface
	}
	if in.Device == "" {
		in.Device = "eth0"
	}
	data := render.NewData(known.config, in.Device, role)
	data.TLS = certified(known.files)
	return render.Files(in.Root, in.To, data, declaredSecrets(role))
}

func previewDescription(ctx context.Context, in PreviewInputs, check func(source.Payload, source.Part) (description, error)) (description, error) {
	candidate, _, err := source.Look(in.Source, source.All())
	if err != nil {
		return description{}, err
	}
	if candidate == nil {
		known, err := loadStored(ctx, &vault{root: in.Root, run: in.Host}, check)
		if err != nil {
			return known, errors.Join(errors.New("no source is there, and nothing is stored"), err)
		}
		return known, nil
	}
	payload, err := candidate.Read(ctx)
	if err != nil {
		return description{}, fmt.Errorf("read %s: %w", candidate.Origin, err)
	}
	key, err := findKey(ctx, in.Source, &vault{root: in.Root, run: in.Host}, candidate)
	if err != nil {
		return description{}, err
	}
	return check(payload, key)
}
