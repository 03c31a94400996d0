package source

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"path"
	"strings"

	"trivet/firstboot/host"
	"trivet/firstboot/node"
)

// names of a NoCloud seed's files (cloud-init documentation, datasource
// NoCloud). The last is not used.
func names() []string { return []string{"user-data", "meta-data", "network-config", vendorData} }

const vendorData = "vendor-data"

// payload makes a Payload of a seed's files. At is put before their names.
func payload(at string, files map[string][]byte) (Payload, error) {
	part := func(name string) Part {
		data, has := files[name]
		return Part{Name: at + name, Data: data, Has: has}
	}
	p := Payload{UserData: part("user-data"), MetaData: part("meta-data"), NetworkConfig: part("network-config")}
	for _, need := range []Part{p.UserData, p.MetaData} {
		if !need.Has {
			return Payload{}, fmt.Errorf("%s is missing; a NoCloud seed has user-data and meta-data (which may be empty)", need.Name)
		}
	}
	if len(files[vendorData]) > 0 {
		p.Ignored = append(p.Ignored, at+vendorData)
	}
	return p, nil
}

// seedArgs are what follows ds=nocloud, in the serial number or on the kernel
// command line.
type seedArgs struct {
	from               string // s or seedfrom: where the seed is; empty: here
	instance, hostname string // i and h: in place of those in meta-data
}

// parseSeedArgs reads KEY=VALUE words, which semicolons parted. Keys that mean
// nothing here are left out, as dsmode is.
func parseSeedArgs(parts []string) seedArgs {
	var a seedArgs
	for _, p := range parts {
		key, value, _ := strings.Cut(p, "=")
		switch key {
		case "s", "seedfrom":
			a.from = value
		case "i", "instance-id":
			a.instance = value
		case "h", "local-hostname":
			a.hostname = value
		}
	}
	return a
}

// override puts the instance and the host name of the arguments before those of
// meta-data, as cloud-init does.
func (a seedArgs) override(p Payload) (Payload, error) {
	if a.instance == "" && a.hostname == "" {
		return p, nil
	}
	instance, hostname, err := node.ParseMetaData(p.MetaData.Name, p.MetaData.Data)
	if err != nil {
		return Payload{}, err
	}
	if a.instance != "" {
		instance = a.instance
	}
	if a.hostname != "" {
		hostname = a.hostname
	}
	p.MetaData.Data = metaData(instance, hostname)
	p.MetaData.Name += " with i= and h="
	return p, nil
}

// applied is a candidate whose meta-data is overridden.
func (a seedArgs) applied(c *Candidate) *Candidate {
	if c.Read == nil {
		return c
	}
	own := *c
	own.Read = func(ctx context.Context) (Payload, error) {
		p, err := c.Read(ctx)
		if err != nil {
			return Payload{}, err
		}
		return a.override(p)
	}
	return &own
}

// metaData writes meta-data. What is empty is left out.
func metaData(instance, hostname string) []byte {
	var b strings.Builder
	if instance != "" {
		fmt.Fprintf(&b, "instance-id: %s\n", quote(instance))
	}
	if hostname != "" {
		fmt.Fprintf(&b, "local-hostname: %s\n", quote(hostname))
	}
	return []byte(b.String())
}

// quote writes text as a single-quoted scalar of YAML. Line breaks, which mean
// something else there, become spaces.
func quote(s string) string {
	s = strings.Join(strings.FieldsFunc(strings.ToValidUTF8(s, "?"), func(r rune) bool { return r < 0x20 || r == 0x7f }), " ")
	return "'" + strings.ReplaceAll(s, "'", "''") + "'"
}

// lookSeed takes the seed that the arguments name. Where is who names it, for
// people.
func lookSeed(env Env, a seedArgs, where string) (*Candidate, error) {
	from, err := expandDMI(env, a.from)
	if err != nil {
		return nil, fmt.Errorf("%s names %q: %w", where, a.from, err)
	}
	if dir, ok := strings.CutPrefix(from, "file://"); ok || strings.HasPrefix(from, "/") {
		return lookNamedFolder(env, a, dir, where)
	}
	base, err := seedURL(where, from)
	if err != nil {
		return nil, err
	}
	return a.applied(&Candidate{
		Origin: base.String() + " (from " + where + ")", Remote: true, Channel: ByNetwork,
		Read: func(ctx context.Context) (Payload, error) { return readURL(ctx, env, base) },
	}), nil
}

// lookNamedFolder takes a seed in a folder of this machine.
func lookNamedFolder(env Env, a seedArgs, dir, where string) (*Candidate, error) {
	if !strings.HasPrefix(dir, "/") {
		return nil, fmt.Errorf("%s names the folder %q; a folder begins with /", where, dir)
	}
	c := folderCandidate(env, path.Clean(dir))
	c.Origin += " (from " + where + ")"
	return a.applied(c), nil
}

func folderCandidate(env Env, dir string) *Candidate {
	channel := ByFolder
	if dir == initrdSeed {
		channel = ByInitrd
	}
	return &Candidate{Origin: dir, Channel: channel, Read: func(context.Context) (Payload, error) {
		files, err := host.ReadFolder(env.path(dir), names(), node.MaxDescription)
		if err != nil {
			return Payload{}, err
		}
		return payload(dir+"/", files)
	}}
}

// seedURL checks the URL of a seed. A path without a slash at its end gets one,
// unless a query or a %s says where the file's name goes.
func seedURL(where, from string) (*url.URL, error) {
	u, err := url.Parse(strings.ReplaceAll(from, "%s", "%25s"))
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s names %q, which is not a URL", where, from)
	case u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return nil, fmt.Errorf("%s names %q; only http and https URLs are read", where, from)
	case u.User != nil:
		return nil, errors.New(where + " names a URL with a password; leave it out, since every user may see it")
	}
	if !strings.Contains(from, "%s") && u.RawQuery == "" && !strings.HasSuffix(u.Path, "/") {
		u.Path += "/"
	}
	return u, nil
}
