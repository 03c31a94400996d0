package node

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// AddSecrets takes the secrets of an opened bundle into the config. A name that
// is there already, or a value that no configuration file can hold, is an
// error, and nothing is taken. No error shows a value.
func (c *Config) AddSecrets(secrets map[string]string) error {
	names := slices.Sorted(maps.Keys(secrets))
	if len(names)+len(c.Secrets) > maxSecrets {
		return fmt.Errorf("take the secrets of %s: there are more than %d", c.Name, maxSecrets)
	}
	for i, name := range names {
		if f := secretForm(); !f.re.MatchString(name) {
			return fmt.Errorf("take the secrets of %s: the name of secret %d does not fit: it must be %s", c.Name, i+1, f.says)
		}
		if _, twice := c.Secrets[name]; twice {
			return fmt.Errorf("take the secrets of %s: %s is in the description and in the bundle; keep one", c.Name, name)
		}
		if err := CheckSecret(secrets[name]); err != nil {
			return fmt.Errorf("take the secrets of %s: %s: %w", c.Name, name, err)
		}
	}
	if c.Secrets == nil {
		c.Secrets = map[string]Secret{}
	}
	for _, name := range names {
		c.Secrets[name] = NewSecret(secrets[name])
	}
	return nil
}

// Complete answers whether the config has the secrets that the node's services
// declare. A lab makes its own.
func (c *Config) Complete(secrets []string) error {
	missing := c.lacks(secrets)
	if len(missing) == 0 || c.Lab() {
		return nil
	}
	from := "description"
	if c.Bundle != "" {
		from = "bundle"
	}
	return fmt.Errorf("the %s of %s lacks secrets that this image's services need: %s; make it anew for this image", from, c.Name, strings.Join(missing, ", "))
}

// lacks returns the names that have no secret, in their order.
func (c *Config) lacks(secrets []string) []string {
	var missing []string
	for _, name := range secrets {
		if _, ok := c.Secrets[name]; !ok {
			missing = append(missing, name)
		}
	}
	return missing
}

// The lines around an age file in ASCII armor (age-encryption.org/v1, and RFC
// 7468 §3).
const (
	armorBegin = "-----BEGIN AGE ENCRYPTED FILE-----"
	armorEnd   = "-----END AGE ENCRYPTED FILE-----"
)

// delivery reads how the secrets come.
func (c *checker) delivery(g *Config, f descriptionFile) {
	g.Generation = c.number("generation", f.Generation, 0, 1, 1<<30)
	g.Bundle = strings.TrimSpace(f.Bundle)
	if c.doc.has(join(c.prefix, "bundle")) && (!strings.HasPrefix(g.Bundle, armorBegin+"\n") || !strings.HasSuffix(g.Bundle, "\n"+armorEnd)) {
		c.fail("bundle", "this is not an age file in ASCII armor; give its lines below `bundle: |`, indented, from %s to its end", armorBegin)
	}
	switch f.Delivery {
	case "cleartext":
		g.Cleartext = true
	case "":
	default:
		c.fail("secrets_delivery", "the only value is cleartext; without it, leave the key out")
	}
	if g.Bundle != "" && (len(f.Secrets) > 0 || g.Cleartext) {
		c.fail("bundle", "a bundle holds the secrets, so they cannot be readable here as well; leave out secrets and secrets_delivery, or bundle")
	}
}
