// Package source finds what tells a machine who it is: a URL on the kernel
// command line, systemd's credentials, a NoCloud seed of cloud-init on a disk,
// in a folder or on a server, a config drive as Nova and Ironic write it, or
// the metadata service of OpenStack or EC2.
//
// Exactly one source is taken at a boot, the first of All that is there.
// Sources are never merged or raced, and a source that is there but broken is
// an error, not a reason to take the next. The address 169.254.169.254 is asked
// only where the machine's firmware or its kernel command line says so.
package source

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"time"
)

// A Source is one place that can tell a machine who it is.
type Source struct {
	Name  string
	About string // where it looks
	// Look answers, from this machine alone, whether the source is there. Its
	// error is an Absent if it is not.
	Look func(Env) (*Candidate, error)
}

// All lists the sources in the order in which they are taken.
func All() []Source {
	return []Source{
		{"cmdline-url", "`trivet.url=` on the kernel command line", lookURL},
		{"credential", "the systemd credential trivet.userdata, as SMBIOS type 11 or an ESP brings it", lookCredential},
		{"cmdline-ds", "`ds=` on the kernel command line", lookDS},
		{"smbios-serial", "SMBIOS product serial `ds=nocloud;s=http://…`", lookSerial},
		{"seed-dir", "/var/lib/cloud/seed/nocloud, then nocloud-net, then /run/trivet/seed", lookFolder},
		{"config-2", "a vfat or iso9660 file system labelled config-2", lookConfigDrive},
		{"cidata", "a vfat or iso9660 file system labelled cidata", lookDisks},
		{"openstack-imds", "OpenStack's metadata service, where the firmware says OpenStack", lookOpenStack},
		{"ec2", "EC2's metadata service, where the firmware says EC2", lookEC2},
		{"none", "without a source, the node goes by what it stored, or waits", lookNone},
	}
}

// lookNone is always there, and holds nothing.
func lookNone(Env) (*Candidate, error) {
	return &Candidate{Origin: "no source is there"}, nil
}

// A Candidate is a source that is there.
type Candidate struct {
	Origin string // where exactly, such as "/dev/sr0 (iso9660, label cidata)"
	Remote bool   // reading needs the network
	// Channel is the way by which the payload reaches the machine. The node's
	// key must come by another one.
	Channel Channel
	Media   []Medium // the file systems that hold the payload, for Wipe
	// Read returns the payload, whole and checked for size. It is nil if the
	// search ends here without one.
	Read func(context.Context) (Payload, error)
}

// A Channel is a way by which something reaches the machine.
type Channel string

// Channels.
const (
	ByCredential Channel = "credential" // a credential of systemd
	ByInitrd     Channel = "initrd"     // /run/trivet/seed, from the network boot
	ByFolder     Channel = "folder"     // a folder of the machine
	ByDisk       Channel = "disk"
	ByNetwork    Channel = "network"
)

// A Payload is what a source holds. Each part is named by where it came from.
type Payload struct {
	UserData Part
	MetaData Part // YAML of NoCloud, or meta_data.json of OpenStack
	// NetworkConfig is cloud-init's, version 1 or 2, and NetworkData is
	// OpenStack's network_data.json. A payload has one of the two at most.
	NetworkConfig, NetworkData Part
	// Ignored names what the source holds beside these and is not used, such
	// as vendor-data.
	Ignored []string
}

// A Part is one file of a payload.
type Part struct {
	Name string // for errors: a path or a URL
	Data []byte
	Has  bool // the source has the file, which may be empty
}

// An Absent says why a source is not there.
type Absent string

func (a Absent) Error() string { return string(a) }

// An Env is what sources may look at.
type Env struct {
	Root string // "/" on a node, a folder in tests
	// ReadDisk reads files of a block device's file system. A name that is not
	// there is left out.
	ReadDisk func(device, fstype string, names []string, limit int64) (map[string][]byte, error)
	// WriteDisk overwrites, in place and for good, files that a block device's
	// file system has. The new content is as long as the old. Only Wipe writes.
	WriteDisk func(device, fstype string, files map[string][]byte) error
	// Credentials is the folder of systemd's credentials, as it stands in
	// $CREDENTIALS_DIRECTORY. Empty: that of the agent's unit, below Root.
	Credentials string
	// IMDS are the base URLs of the metadata service, in the order in which
	// they are asked. Nil: those of OpenStack and EC2.
	IMDS   []string
	Client *http.Client
	// Sleep waits, or ends early with ctx's error.
	Sleep func(ctx context.Context, d time.Duration) error
	// Jitter returns a number from 0 to 1, anew each time.
	Jitter func() float64
}

func (e Env) path(p string) string { return filepath.Join(e.Root, p) }

// An Attempt tells what was found where one source looks.
type Attempt struct {
	Source string `json:"source"`
	About  string `json:"about"`
	State  string `json:"state"` // taken, absent, passed over or failed
	Why    string `json:"why"`
}

// Look asks every source and returns the first that is there, or nil. The error
// is of a source that stands first and is broken.
func Look(env Env, all []Source) (*Candidate, []Attempt, error) {
	var taken *Candidate
	var failed error
	var tried []Attempt
	decided := false
	for _, s := range all {
		a := Attempt{Source: s.Name, About: s.About}
		c, err := s.Look(env)
		var absent Absent
		var wiped wipedError
		switch {
		case errors.As(err, &absent):
			a.State, a.Why = "absent", string(absent)
		case errors.As(err, &wiped):
			a.State, a.Why = "absent", wiped.Error()
		case decided:
			a.State, a.Why = "passed over", "another source comes first"
			if c != nil && c.Read != nil {
				a.Why = c.Origin + " is there, but another source comes first"
			}
		case err != nil:
			decided = true
			a.State, a.Why = "failed", err.Error()
			failed = fmt.Errorf("source %s: %w", s.Name, err)
		default:
			decided = true
			a.State, a.Why = "taken", c.Origin
			taken = finish(c)
		}
		tried = append(tried, a)
	}
	return taken, tried, failed
}
