package quorum

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/hashicorp/raft"
	boltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"

	"trivet/firstboot/host"
)

// A disk is what a controller remembers about forming. It lies in the same file
// as Raft's log and votes, so that one cannot be lost without the other: who
// forgot its votes forgets its incarnation too.
type disk struct {
	Incarnation string             `json:"incarnation"`
	Promises    map[string]promise `json:"promises,omitempty"` // by nonce
	Cluster     *founding          `json:"cluster,omitempty"`  // that this disk belongs to, for good
}

const (
	storeFile = "raft.db"
	diskKey   = "trivet-formation"
	// maxPromises bounds how many tickets a blank disk answers to in its life.
	maxPromises = 64
)

// A store keeps a disk and Raft's data.
type store struct {
	bolt        *boltdb.BoltStore
	snapshots   *raft.FileSnapshotStore
	disk        disk
	incarnation string // does not change, so that it can be read without a lock
}

// openStore opens what is in dir, and makes an incarnation where there is none.
func openStore(dir string) (*store, error) {
	path := filepath.Join(dir, storeFile)
	// Another process has it for seconds at most: an agent that just ends.
	b, err := boltdb.New(boltdb.Options{Path: path, BoltOptions: &bbolt.Options{Timeout: 5 * time.Second}})
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	s := &store{bolt: b}
	if err := s.load(dir); err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", path, err), b.Close())
	}
	return s, nil
}

func (s *store) load(dir string) (err error) {
	if s.snapshots, err = raft.NewFileSnapshotStoreWithLogger(dir, 2, quiet(nil)); err != nil {
		return err
	}
	data, err := s.bolt.Get([]byte(diskKey))
	if err != nil && !errors.Is(err, boltdb.ErrKeyNotFound) {
		return err
	}
	if data != nil {
		if err := json.Unmarshal(data, &s.disk); err != nil {
			return fmt.Errorf("read what it has about forming: %w", err)
		}
	}
	if s.disk.Incarnation == "" {
		if err := s.save(disk{Incarnation: random()}); err != nil {
			return err
		}
		// The file's own entry must last too.
		if err := host.SyncDir(dir); err != nil {
			return err
		}
	}
	s.incarnation = s.disk.Incarnation
	return s.checkSnapshots()
}

// checkSnapshots refuses a log whose beginning is in a snapshot that is gone:
// Raft would find out by a panic.
func (s *store) checkSnapshots() error {
	first, err := s.bolt.FirstIndex()
	if err != nil {
		return err
	}
	list, err := s.snapshots.List()
	if err == nil && first > 1 && len(list) == 0 {
		return errors.New("the log begins in a snapshot that is gone; remove the folder, and this node joins again")
	}
	return err
}

// unbegun takes back a beginning that a power cut halved: Raft writes its first
// term, and then the configuration into the log. Nobody votes in the first term,
// so one without a log is nothing but that.
func (s *store) unbegun() error {
	last, err := s.bolt.LastIndex()
	if err != nil || last != 0 {
		return err
	}
	list, err := s.snapshots.List()
	if err != nil || len(list) > 0 {
		return err
	}
	key := []byte("CurrentTerm") // hashicorp/raft, keyCurrentTerm
	term, err := s.bolt.GetUint64(key)
	if errors.Is(err, boltdb.ErrKeyNotFound) || err == nil && term != 1 {
		return nil
	}
	if err != nil {
		return err
	}
	return s.bolt.SetUint64(key, 0)
}

// save writes d and returns when it lasts.
func (s *store) save(d disk) error {
	data, err := json.Marshal(d)
	if err == nil {
		err = s.bolt.Set([]byte(diskKey), data)
	}
	if err != nil {
		return fmt.Errorf("write what this node promised: %w", err)
	}
	s.disk = d
	return nil
}

func (s *store) close() error { return s.bolt.Close() }
