package firstboot

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"trivet/firstboot/host"
	"trivet/firstboot/node"
	"trivet/firstboot/source"
	"trivet/firstboot/status"
)

// A description is what a node knows about itself, and from where.
type description struct {
	config   node.Config
	network  *node.Network // nil: none given
	ignored  []string      // what the source has that is without effect
	instance string        // cloud-init's instance-id
	payload  source.Payload
	key      source.Part       // that opens the bundle
	files    map[string][]byte // of the bundle, by path
	cloud    string            // UUID, of the bundle
	ticket   string            // that permits the cloud's first forming, of the bundle; or empty
	signer   ed25519.PublicKey // the operator's, of the node's key
	origin   string
	from     *source.Candidate // nil: from the vault
}

// stored is a payload as it is kept on the node.
type stored struct {
	Origin   string    `json:"origin"`
	Stored   time.Time `json:"stored"`
	UserData *file     `json:"user_data"`
	MetaData *file     `json:"meta_data"`
	Network  *file     `json:"network_config,omitempty"`
	Data     *file     `json:"network_data,omitempty"`
	Key      *file     `json:"key,omitempty"`
}

type file struct {
	Name string `json:"name"`
	Data []byte `json:"data"`
}

// storedName is the description's in the vault: secrets are in it.
const storedName = "description"

// describe finds a valid description, however long that takes: in a source, or
// as it was stored at an earlier boot. Nothing on the machine changes before it
// is found. The result says whose it is.
func (a *agent) describe(ctx context.Context) (description, string, error) {
	// Disks that udev still loads drivers for would be missed.
	_, _ = a.Host.Run(ctx, host.Command{Args: []string{"udevadm", "settle", "--timeout=10"}, Timeout: 15 * time.Second})
	lastWait, waited := "", time.Now()
	for {
		found, tried, err := a.look(ctx)
		if ctx.Err() != nil {
			return description{}, "", ctx.Err()
		}
		kept, keptErr := loadStored(ctx, a.vault, a.check)
		c := choose(found, err, kept, keptErr)
		if c.complaint != "" {
			a.fail(ctx, "describe", errors.New(c.complaint))
		}
		if c.store {
			if err := store(ctx, a.vault, *c.use); err != nil {
				return description{}, "", err
			}
			a.wipe(*c.use)
		}
		if c.use != nil {
			return *c.use, a.take(*c.use, c.from), nil
		}
		if text := waitText(tried); c.complaint == "" && (text != lastWait || time.Since(waited) > time.Minute) {
			lastWait, waited = text, time.Now()
			a.Report.Say("describe", status.Waiting, text, nil)
		}
		if err := sleep(ctx, a.Rescan); err != nil {
			return description{}, "", err
		}
	}
}

// A choice is what to make of a source and of what was stored.
type choice struct {
	use       *description // nil: go on waiting
	from      string       // for people
	store     bool         // it is new: keep it for the next boot
	complaint string       // what is wrong; empty if nothing is
}

// choose prefers what a source says now, unless that is broken or of another
// node: then a node that knows itself stays what it is.
func choose(found *description, err error, kept description, keptErr error) choice {
	const before = "stored at an earlier boot"
	has := keptErr == nil
	switch {
	case err == nil && found != nil && has && !sameNode(*found, kept):
		return choice{use: &kept, from: before, complaint: fmt.Sprintf(
			"%s describes %s of %s, but this node is %s of %s and stays that; wipe its /var to make it another",
			found.origin, found.config.Name, found.config.Cluster, kept.config.Name, kept.config.Cluster)}
	case err == nil && found != nil && has && found.config.Generation < kept.config.Generation:
		return choice{use: &kept, from: before, complaint: fmt.Sprintf(
			"%s is generation %d of the description of %s, which has generation %d already and keeps it; hand in a newer one",
			found.origin, found.config.Generation, kept.config.Name, kept.config.Generation)}
	case err == nil && found != nil:
		return choice{use: found, from: found.origin, store: true}
	case err != nil && has:
		return choice{use: &kept, from: before, complaint: err.Error() + "\nnothing is changed: the node goes on with the description that it stored"}
	case has:
		return choice{use: &kept, from: before + "; no source is there"}
	}
	if !errors.Is(keptErr, fs.ErrNotExist) {
		err = errors.Join(err, keptErr)
	}
	if err != nil {
		return choice{complaint: err.Error() + "\nnothing is changed; correct the description, and this node reads it again"}
	}
	return choice{}
}

// take makes the description the one of this boot, and says whose it is.
func (a *agent) take(d description, from string) string {
	a.Report.Identify(d.config.Name, a.role.Name)
	for _, s := range d.config.Secrets {
		a.Report.Hide(s.Reveal())
	}
	result := fmt.Sprintf("this is %s of %s (%s)", d.config.Name, d.config.Cluster, from)
	if len(d.ignored) > 0 {
		result += "; without effect here: " + strings.Join(d.ignored, ", ")
	}
	return result
}

// wipe takes secrets off the media that brought them, now that they are stored.
// Where that does not work the node says so, and goes on.
func (a *agent) wipe(d description) {
	if len(d.config.Secrets) == 0 && d.config.Bundle == "" {
		return
	}
	done, attached, err := source.Wipe(a.Source, d.from)
	switch {
	case err != nil:
		a.Report.Say("describe", status.Waiting, err.Error()+"; detach the medium: it holds this node's secrets", nil)
	case len(done) > 0:
		a.Report.Say("describe", status.Waiting, "the secrets on the seed are overwritten: "+strings.Join(done, ", "), nil)
	}
	if attached && d.config.Bundle == "" { // a bundle without its key is worth nothing
		a.Report.Say("describe", status.Waiting, "the seed that holds this node's secrets cannot be written; detach it", map[string]any{"seed_media_attached": true})
	}
}

// look asks the sources. Without one, it returns nil and no error.
func (a *agent) look(ctx context.Context) (*description, []source.Attempt, error) {
	candidate, tried, err := source.Look(a.Source, source.All())
	if err != nil || candidate == nil {
		return nil, tried, err
	}
	if candidate.Remote {
		// The address of the seed's server needs a network that the seed may
		// describe: until then it is DHCP, or what was stored.
		var network *node.Network
		if kept, err := loadStored(ctx, a.vault, a.check); err == nil {
			network = kept.network
		}
		err := a.setUpNetwork(ctx, network)
		if err == nil {
			err = a.waitOnline(ctx)
		}
		if err != nil {
			return nil, tried, err
		}
	}
	payload, err := candidate.Read(ctx)
	if err != nil {
		return nil, tried, err
	}
	key, err := findKey(ctx, a.Source, a.vault, candidate)
	if err != nil {
		return nil, tried, err
	}
	d, err := a.check(payload, key)
	d.origin, d.from = candidate.Origin, candidate
	return &d, tried, err
}

// check parses a payload and fits it to the image.
func (a *agent) check(p source.Payload, key source.Part) (description, error) {
	return noteUnheard(a.Root, a.role)(parsePayload(a.role, p, key))
}

// findKey returns the node's key: what is handed in now, else what was stored
// with an earlier description.
func findKey(ctx context.Context, env source.Env, v *vault, c *source.Candidate) (source.Part, error) {
	key, _, err := source.KeyBeside(env, c)
	if err != nil || key.Has {
		return key, err
	}
	s, err := readStored(ctx, v)
	if err != nil { // then it has none to give; who needs one says so
		return key, nil
	}
	return part(s.Key), nil
}

// sameNode answers whether two descriptions are of one node. A new instance-id
// alone does not make it another: some platforms make one at every boot.
func sameNode(a, b description) bool {
	return a.config.Cluster == b.config.Cluster && a.config.Name == b.config.Name
}

// waitText tells what a waiting node looked at.
func waitText(tried []source.Attempt) string {
	lines := []string{"nothing says who this machine is; waiting for one of:"}
	for _, t := range tried {
		lines = append(lines, fmt.Sprintf("  %s: %s: %s", t.Source, t.About, t.Why))
	}
	return strings.Join(lines, "\n")
}

func store(ctx context.Context, v *vault, d description) error {
	s := stored{Origin: d.origin, Stored: time.Now().UTC().Truncate(time.Second), UserData: keep(d.payload.UserData), MetaData: keep(d.payload.MetaData), Network: keep(d.payload.NetworkConfig), Data: keep(d.payload.NetworkData), Key: keep(d.key)}
	if old, err := readStored(ctx, v); err == nil && equal(old, s) {
		return nil
	}
	data, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("store the description: %w", err)
	}
	return v.put(ctx, storedName, data)
}

func keep(p source.Part) *file {
	if !p.Has {
		return nil
	}
	return &file{p.Name, p.Data}
}

// part is the reverse of keep.
func part(f *file) source.Part {
	if f == nil {
		return source.Part{}
	}
	return source.Part{Name: "stored " + f.Name, Data: f.Data, Has: true}
}

func equal(a, b stored) bool {
	a.Stored = b.Stored
	x, errx := json.Marshal(a)
	y, erry := json.Marshal(b)
	return errx == nil && erry == nil && string(x) == string(y)
}

func readStored(ctx context.Context, v *vault) (stored, error) {
	var s stored
	data, err := v.get(ctx, storedName)
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal(data, &s); err != nil {
		return s, fmt.Errorf("read the stored description: %w", err)
	}
	return s, nil
}

// loadStored reads back what store wrote, and checks it again: the image may be
// a newer one.
func loadStored(ctx context.Context, v *vault, check func(source.Payload, source.Part) (description, error)) (description, error) {
	s, err := readStored(ctx, v)
	if err != nil {
		return description{}, err
	}
	d, err := check(source.Payload{UserData: part(s.UserData), MetaData: part(s.MetaData), NetworkConfig: part(s.Network), NetworkData: part(s.Data)}, part(s.Key))
	d.origin = s.Origin
	if err != nil {
		return d, fmt.Errorf("the stored description no longer fits: %w", err)
	}
	return d, nil
}
