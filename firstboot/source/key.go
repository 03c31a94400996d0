package source

import (
	"fmt"

	"trivet/firstboot/host"
)

// maxKey is the most that a node's key may be, in bytes.
const maxKey = 64 << 10

// Key returns the node's key, which opens its bundle and names its signer. It
// comes by a channel of its own, never on a disk, in a folder or from a server
// where payloads are: the credential trivet.key, else /run/trivet/seed/key.
// Part.Has is false if there is none. The texts say where it was looked for.
func Key(env Env) (Part, []string, error) { return KeyBeside(env, nil) }

// KeyBeside is Key for a payload that came from c: the channel by which c came
// is left out, since key and bundle on one way protect nothing. A nil c leaves
// out none.
func KeyBeside(env Env, c *Candidate) (Part, []string, error) {
	var tried []string
	for _, place := range []struct {
		channel   Channel
		name      string // for people
		dir, file string
	}{
		{ByCredential, "credential " + credentialKey, env.credentials(), credentialKey},
		{ByInitrd, initrdSeed + "/key", env.path(initrdSeed), "key"},
	} {
		if c != nil && c.Channel == place.channel {
			tried = append(tried, place.name+": left out, since the user-data came by the same way")
			continue
		}
		files, err := host.ReadFolder(place.dir, []string{place.file}, maxKey)
		if err != nil {
			return Part{}, tried, fmt.Errorf("read %s: %w", place.name, err)
		}
		if data, ok := files[place.file]; ok {
			return Part{Name: place.name, Data: data, Has: true}, append(tried, place.name+": taken"), nil
		}
		tried = append(tried, place.name+": not there")
	}
	return Part{}, tried, nil
}
