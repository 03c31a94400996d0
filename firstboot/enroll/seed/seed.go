// Package seed writes what a machine is told in the form that its world hands
// over: a folder or disc for cloud-init's NoCloud, an OpenStack config drive,
// strings for SMBIOS, or a tree for a web server. The same seed and epoch give
// the same bytes. What may hold secrets is for its owner alone to read, nothing
// is overwritten unasked, and a node's key never lies where its bundle does.
package seed

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"trivet/firstboot/node"
)

// A Format is a way to hand a seed over.
type Format string

// The formats.
const (
	NoCloudDir     Format = "nocloud-dir"     // a folder with user-data, meta-data and network-config
	NoCloudISO     Format = "nocloud-iso"     // the same on a disc labelled cidata
	ConfigDriveISO Format = "configdrive-iso" // OpenStack's tree on a disc labelled config-2
	SMBIOS         Format = "smbios"          // arguments of QEMU: systemd credentials, or a serial number with a URL
	HTTP           Format = "http"            // a folder NODE with checksums and signatures, for a web server
)

// Formats lists all.
func Formats() []Format { return []Format{NoCloudDir, NoCloudISO, ConfigDriveISO, SMBIOS, HTTP} }

// ParseFormat reads a format's name.
func ParseFormat(name string) (Format, error) {
	if f := Format(name); slices.Contains(Formats(), f) {
		return f, nil
	}
	var known []string
	for _, f := range Formats() {
		known = append(known, string(f))
	}
	return "", fmt.Errorf("there is no format %q; known are %s", name, strings.Join(known, ", "))
}

// A Seed is what one machine is told.
type Seed struct {
	Node          string // its name
	UserData      []byte // its description, signed or not
	MetaData      []byte // with an instance-id
	NetworkConfig []byte // version 2; nil: none
	Key           []byte // the text of its key; nil: it has none, or gets it otherwise
}

// A KeyForm is how a node's key is written.
type KeyForm string

// Forms of keys.
const (
	KeyFile   KeyForm = ""       // its text, for an initrd or to carry by hand
	KeySMBIOS KeyForm = "smbios" // one string of SMBIOS type 11, for QEMU's -smbios type=11,path=FILE
)

// Options say where to and how.
type Options struct {
	Out     string // a folder for nocloud-dir and http, a file for the other formats
	KeyOut  string // the key's file, in a folder that has nothing of the seed; needed if there is a key
	KeyForm KeyForm
	Epoch   time.Time // of all dates on a disc
	Force   bool      // overwrite
	// URL is where the seed of format http is served, for the serial number of
	// format smbios. Empty: the strings themselves hold the seed.
	URL string
	// Sign returns the operator's signature of a file, 64 bytes, for format http.
	// Nil: no .sig is written.
	Sign func(file []byte) []byte
}

// A File is one that was written.
type File struct {
	Path  string
	Mode  fs.FileMode
	Size  int
	About string // for people
}

const (
	secretMode = 0o600 // of what holds user-data, a bundle or a key
	publicMode = 0o644
)

var nodeForm = regexp.MustCompile(`^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$`)

// identityMark begins the secret part of a node's key (age-encryption.org/v1).
const identityMark = "AGE-SECRET-KEY-"

// Write makes the files of a seed. Either all were free (or Force was given)
// when it began, or none is written. Each is written whole or not at all.
func Write(f Format, s Seed, o Options) ([]File, error) {
	files, err := write(f, s, o)
	if err != nil {
		return nil, fmt.Errorf("write the seed of %s as %s: %w", s.Node, f, err)
	}
	return files, nil
}

func write(f Format, s Seed, o Options) ([]File, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	if o.Out == "" {
		return nil, errors.New("it is not said where to")
	}
	out, err := filepath.Abs(o.Out)
	if err != nil {
		return nil, err
	}
	o.Out = out
	p := plan{force: o.Force}
	if err := p.seed(f, s, o); err != nil {
		return nil, err
	}
	if err := p.key(f, s, o); err != nil {
		return nil, err
	}
	return p.carryOut()
}

// check refuses what no machine would take, and a key among what is public.
func (s Seed) check() error {
	switch {
	case !nodeForm.MatchString(s.Node):
		return fmt.Errorf("%q is not a host name without a domain", s.Node)
	case len(s.UserData) == 0 || len(s.UserData) > node.MaxDescription:
		return fmt.Errorf("the user-data has %d bytes, not 1 to %d", len(s.UserData), node.MaxDescription)
	}
	for _, part := range [][]byte{s.UserData, s.MetaData, s.NetworkConfig} {
		if bytes.Contains(part, []byte(identityMark)) {
			return errors.New("the key of the node is in its user-data, meta-data or network-config; whoever has that one file would have all")
		}
	}
	instance, _, err := node.ParseMetaData("meta-data", s.MetaData)
	if err != nil {
		return err
	}
	if instance == "" {
		return errors.New("the meta-data has no instance-id")
	}
	if s.NetworkConfig != nil {
		if _, err := node.ParseNetwork("network-config", s.NetworkConfig); err != nil {
			return err
		}
	}
	return nil
}

// clear answers whether secrets stand readable in the user-data. Where that
// cannot be told, as in a compressed one, it says yes.
func (s Seed) clear() bool {
	const armor = "-----BEGIN AGE ENCRYPTED FILE-----"
	lines := bytes.Split(s.UserData, []byte("\n"))
	has := func(text string) bool {
		return slices.ContainsFunc(lines, func(line []byte) bool { return bytes.HasPrefix(bytes.TrimSpace(line), []byte(text)) })
	}
	return !has(armor) || has("secrets:") || has("secrets_delivery:")
}

// A named file of a seed.
type named struct {
	name string
	data []byte
}

// nocloud are the files of a NoCloud seed (cloud-init documentation, datasource
// NoCloud).
func (s Seed) nocloud() []named {
	all := []named{{"user-data", s.UserData}, {"meta-data", s.MetaData}}
	if s.NetworkConfig != nil {
		all = append(all, named{"network-config", s.NetworkConfig})
	}
	return all
}

// seed plans the files of a format.
func (p *plan) seed(f Format, s Seed, o Options) error {
	if o.URL != "" && f != SMBIOS {
		return errors.New("a URL is for the format smbios")
	}
	switch f {
	case NoCloudDir:
		p.folder(o.Out)
		for _, n := range s.nocloud() {
			p.add(filepath.Join(o.Out, n.name), n.data, secretMode, "NoCloud "+n.name)
		}
		if s.NetworkConfig == nil {
			p.remove(filepath.Join(o.Out, "network-config"))
		}
		return nil
	case NoCloudISO:
		return p.disc(o, "cidata", s.nocloud())
	case ConfigDriveISO:
		files, err := s.configDrive()
		if err != nil {
			return err
		}
		return p.disc(o, "config-2", files)
	case SMBIOS:
		return p.smbios(s, o)
	case HTTP:
		p.http(s, o)
		return nil
	}
	_, err := ParseFormat(string(f))
	return err
}

func (p *plan) disc(o Options, label string, files []named) error {
	data, err := iso(label, files, o.Epoch)
	if err != nil {
		return err
	}
	p.add(o.Out, data, secretMode, "disc labelled "+label)
	return nil
}
