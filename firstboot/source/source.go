// Package source finds what tells a machine who it is: a NoCloud seed of
// cloud-init, on a disk labelled cidata, in a folder, or on a server that the
// SMBIOS serial number names.
//
// Exactly one source is taken at a boot, the first of All that is there.
// Sources are never merged or raced, and a source that is there but broken is
// an error, not a reason to take the next.
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
		{"smbios-serial", "SMBIOS product serial `ds=nocloud;s=http://…`", lookSerial},
		{"seed-dir", "/var/lib/cloud/seed/nocloud, then nocloud-net, then /run/trivet/seed", lookFolder},
		{"cidata", "a vfat or iso9660 file system labelled cidata", lookDisks},
	}
}

// A Candidate is a source that is there.
type Candidate struct {
	Origin string // where exactly, such as "/dev/sr0 (iso9660, label cidata)"
	Remote bool   // reading needs the network
	Read   func(context.Context) (Payload, error)
}

// A Payload is what a source holds. Each part is named by where it came from.
type Payload struct {
	UserData, MetaData, NetworkConfig Part
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
	Client   *http.Client
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
	for _, s := range all {
		a := Attempt{Source: s.Name, About: s.About}
		c, err := s.Look(env)
		var absent Absent
		switch {
		case errors.As(err, &absent):
			a.State, a.Why = "absent", string(absent)
		case taken != nil || failed != nil:
			a.State, a.Why = "passed over", "another source comes first"
			if c != nil {
				a.Why = c.Origin + " is there, but another source comes first"
			}
		case err != nil:
			a.State, a.Why = "failed", err.Error()
			failed = fmt.Errorf("source %s: %w", s.Name, err)
		default:
			a.State, a.Why = "taken", c.Origin
			taken = c
		}
		tried = append(tried, a)
	}
	return taken, tried, failed
}

// names of a NoCloud seed's files (cloud-init documentation, datasource NoCloud).
func names() []string { return []string{"user-data", "meta-data", "network-config"} }

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
	return p, nil
}
