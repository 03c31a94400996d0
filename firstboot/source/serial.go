package source

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"strings"
)

// serialPath is the product serial of SMBIOS type 1, for root alone to read.
const serialPath = "/sys/class/dmi/id/product_serial"

// lookSerial takes the URL of a serial number such as
// `ds=nocloud;s=http://192.0.2.1:8000/`, at its start or after a space, as
// cloud-init's NoCloud has it. Its older name ds=nocloud-net works too.
func lookSerial(env Env) (*Candidate, error) {
	raw, err := os.ReadFile(env.path(serialPath))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, Absent("this machine has no SMBIOS serial number")
	case err != nil:
		return nil, fmt.Errorf("read the SMBIOS serial number: %w", err)
	}
	from, found := parseSerial(strings.TrimSpace(string(raw)))
	switch {
	case !found:
		return nil, Absent("the serial number does not hold ds=nocloud")
	case from == "":
		return nil, Absent("the serial number holds ds=nocloud but no s=http://…, so the seed is to be found here")
	}
	base, err := seedURL(from)
	if err != nil {
		return nil, err
	}
	return &Candidate{
		Origin: base.String() + " (from the SMBIOS serial number)", Remote: true,
		Read: func(ctx context.Context) (Payload, error) { return readURL(ctx, env, base) },
	}, nil
}

// parseSerial returns the value of s= or seedfrom=.
func parseSerial(serial string) (from string, found bool) {
	for word := range strings.FieldsSeq(serial) {
		parts := strings.Split(word, ";")
		if name := strings.ToLower(parts[0]); name != "ds=nocloud" && name != "ds=nocloud-net" {
			continue
		}
		for _, p := range parts[1:] {
			key, value, _ := strings.Cut(p, "=")
			if key == "s" || key == "seedfrom" {
				from = value
			}
		}
		return from, true
	}
	return "", false
}

// seedURL checks the URL of a seed. A path without a slash at its end gets one,
// unless a query or a %s says where the file's name goes.
func seedURL(from string) (*url.URL, error) {
	u, err := url.Parse(strings.ReplaceAll(from, "%s", "%25s"))
	switch {
	case err != nil:
		return nil, fmt.Errorf("the SMBIOS serial number names %q, which is not a URL", from)
	case u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return nil, fmt.Errorf("the SMBIOS serial number names %q; only http and https URLs are read", from)
	case u.User != nil:
		return nil, errors.New("the SMBIOS serial number names a URL with a password; leave it out, since every user may see it")
	case strings.Contains(from, "__dmi."):
		return nil, fmt.Errorf("the SMBIOS serial number names %q; __dmi.…__ is not filled in", from)
	}
	if !strings.Contains(from, "%s") && u.RawQuery == "" && !strings.HasSuffix(u.Path, "/") {
		u.Path += "/"
	}
	return u, nil
}
