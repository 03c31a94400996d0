package source

import (
	"errors"
	"fmt"
	"strings"
)

const byCommandLine = "ds= on the kernel command line"

// lookDS goes straight to the source that ds= names, without another to fall
// back to. The words are cloud-init's.
func lookDS(env Env) (*Candidate, error) {
	w, err := readCommandLine(env)
	if err != nil {
		return nil, err
	}
	name, args, err := parseDS(w)
	if err != nil {
		return nil, err
	}
	if name == "" {
		return nil, Absent("the kernel command line has no ds=")
	}
	c, err := lookNamed(env, name, args)
	var absent Absent
	var wiped wipedError
	switch {
	case errors.As(err, &absent):
		return nil, fmt.Errorf("ds=%s on the kernel command line allows no other source, but %s", name, string(absent))
	case errors.As(err, &wiped): // it was read at an earlier boot, and no other is allowed
		return &Candidate{Origin: wiped.Error()}, nil
	}
	return c, err
}

// parseDS reads ds=NAME;KEY=VALUE;…, or its older names. The name is empty if
// the command line has none.
func parseDS(w words) (name string, args seedArgs, err error) {
	for _, key := range []string{"ds", "ci.ds", "ci.datasource"} {
		value, has, err := w.value(key)
		if err != nil {
			return "", args, err
		}
		if !has {
			continue
		}
		parts := strings.Split(value, ";")
		if parts[0] == "" {
			return "", args, fmt.Errorf("%s= on the kernel command line is empty", key)
		}
		return strings.ToLower(parts[0]), parseSeedArgs(parts[1:]), nil
	}
	return "", args, nil
}

func lookNamed(env Env, name string, args seedArgs) (*Candidate, error) {
	const asked = "ds= on the kernel command line asks for it"
	switch name {
	case "nocloud", "nocloud-net":
		return lookNoCloud(env, args)
	case "configdrive":
		return lookConfigDrive(env)
	case "openstack":
		return openStackCandidate(env, asked), nil
	case "ec2":
		onAWS, _, err := isEC2(env)
		return ec2Candidate(env, asked, onAWS), err
	case "none":
		return &Candidate{Origin: "ds=none on the kernel command line: no source is looked at"}, nil
	}
	return nil, fmt.Errorf("ds=%s on the kernel command line is not a source here; use nocloud, configdrive, openstack, ec2 or none", name)
}

// lookNoCloud takes the seed that the arguments name, else the first NoCloud
// seed of this machine in the order of All.
func lookNoCloud(env Env, args seedArgs) (*Candidate, error) {
	if args.from != "" {
		return lookSeed(env, args, byCommandLine)
	}
	var why []string
	for _, look := range []func(Env) (*Candidate, error){lookSerial, lookFolder, lookDisks} {
		c, err := look(env)
		var absent Absent
		if errors.As(err, &absent) {
			why = append(why, string(absent))
			continue
		}
		if err != nil {
			return nil, err
		}
		return args.applied(c), nil
	}
	return nil, Absent(strings.Join(why, "; "))
}
