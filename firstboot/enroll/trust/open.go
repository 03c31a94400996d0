package trust

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// Init makes the keys of a new cloud in dir, whose name is cluster's, and opens
// them. It is done once: it refuses if anything is at dir but an empty folder.
// The directory is there as a whole or not at all. Times are taken from now.
func Init(dir, cluster string, p Protect, now time.Time) (*Master, error) {
	m, err := initialise(dir, cluster, p, now, disk{})
	if err != nil {
		return nil, fmt.Errorf("make the keys of a cloud in %s: %w", dir, err)
	}
	return m, nil
}

func initialise(dir, cluster string, p Protect, now time.Time, d disk) (*Master, error) {
	if !clusterForm.MatchString(cluster) {
		return nil, fmt.Errorf("%q is not a cloud's name: small letters, digits and inner dashes, a letter first, at most 32", cluster)
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if err := nothingAt(dir); err != nil {
		return nil, err
	}
	var seed [masterSize]byte
	var id [16]byte
	_, _ = rand.Read(seed[:]) // never fails: crypto/rand ends the program instead
	_, _ = rand.Read(id[:])
	m := newMaster(dir, cluster, seed, uuid(id), now, p)
	m.disk = d
	return m, m.create(p)
}

// newMaster is the master of a new cloud.
func newMaster(dir, cluster string, seed [masterSize]byte, cloud string, now time.Time, p Protect) *Master {
	return &Master{
		dir: dir, cluster: cluster,
		seed:    func() [masterSize]byte { return seed },
		epochs:  epochs{Version: 1, Cloud: cloud, Created: now.UTC().Truncate(time.Second), Epochs: map[string]epoch{}},
		protect: p.told(),
	}
}

// uuid writes 16 random bytes as a UUID of version 4 (RFC 9562 §5.4).
func uuid(b [16]byte) string {
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// nothingAt refuses what Init must not touch.
func nothingAt(dir string) error {
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if _, err := os.Lstat(dir); err == nil {
			return errors.New("a link that leads nowhere is there")
		}
		return nil
	case err != nil:
		return err
	case len(entries) > 0:
		return fmt.Errorf("%s is there already; a cloud's keys are made once, and a second set would lock out every node", entries[0].Name())
	}
	return nil
}

// create writes the directory.
func (m *Master) create(p Protect) error {
	seed := m.seed()
	sealed, err := p.encrypt(secretFile{Version: 1, Cloud: m.Cloud(), Cluster: m.cluster, Master: seed[:]})
	if err != nil {
		return err
	}
	counts, err := encode(m.epochs)
	if err != nil {
		return err
	}
	public, err := m.publicText()
	if err != nil {
		return err
	}
	return m.disk.directory(m.dir, []created{
		{masterFile, sealed, 0o600}, {epochsFile, counts, 0o600}, {publicFile, public, 0o644},
	})
}

func (m *Master) publicText() ([]byte, error) {
	p, err := m.Public()
	if err != nil {
		return nil, err
	}
	return encode(p)
}

// Open opens the directory that Init made. If the power failed between the two
// files that Rotate or Reprotect writes, the second is written now.
func Open(dir string, u Unlock) (*Master, error) {
	m, err := open(dir, u, disk{})
	if err != nil {
		return nil, fmt.Errorf("open the keys of the cloud in %s: %w", dir, err)
	}
	return m, nil
}

func open(dir string, u Unlock, d disk) (*Master, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	sealed, err := read(filepath.Join(dir, masterFile), maxMaster)
	if err != nil {
		return nil, err
	}
	s, err := u.decrypt(sealed)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", masterFile, err)
	}
	m := &Master{dir: dir, cluster: s.Cluster, disk: d}
	seed := [masterSize]byte(s.Master)
	m.seed = func() [masterSize]byte { return seed }
	if m.epochs, err = readEpochs(dir); err != nil {
		return nil, err
	}
	if !clusterForm.MatchString(s.Cluster) || m.epochs.Cloud != s.Cloud {
		return nil, fmt.Errorf("%s is of the cloud %s, and %s of %s; the files are of two clouds", masterFile, s.Cloud, epochsFile, m.epochs.Cloud)
	}
	return m, m.settle(s.Protection)
}

func readEpochs(dir string) (epochs, error) {
	data, err := read(filepath.Join(dir, epochsFile), maxEpochsFile)
	if err != nil {
		return epochs{}, err
	}
	e, err := parseEpochs(data)
	if err != nil {
		return epochs{}, fmt.Errorf("%s: %w", epochsFile, err)
	}
	return e, nil
}

// settle makes public.json what it must be, and refuses one of another cloud. How
// the master is protected is what its file says; nil: an older trivet wrote it.
func (m *Master) settle(protect *protection) error {
	path := filepath.Join(m.dir, publicFile)
	data, err := read(path, maxPublicFile)
	if err != nil {
		return err
	}
	p, err := parsePublic(data)
	if err != nil {
		return fmt.Errorf("%s: %w", publicFile, err)
	}
	m.protect = p.Protection
	if protect != nil {
		m.protect = *protect
	}
	want, err := m.publicText()
	if err != nil {
		return err
	}
	if p.Cloud != m.Cloud() || p.Cluster != m.cluster {
		return fmt.Errorf("%s is of another cloud", publicFile)
	}
	if bytes.Equal(want, data) {
		return nil
	}
	return m.change(func(epochs) error { return nil })
}
