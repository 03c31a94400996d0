package trust

import (
	"fmt"
	"path/filepath"
)

// Reprotect encrypts the same master anew, under another passphrase or to other
// recipients; what opened it before no longer does. It is old or new, never
// between, whenever the power fails. Copies of master.age that were made before
// still open as they did.
func (m *Master) Reprotect(p Protect) error {
	if err := m.reprotect(p); err != nil {
		return fmt.Errorf("encrypt the master in %s anew: %w", m.dir, err)
	}
	return nil
}

func (m *Master) reprotect(p Protect) error {
	release, err := lock(m.dir)
	if err != nil {
		return err
	}
	defer release()
	e, err := readEpochs(m.dir) // another process may have rotated since
	if err != nil {
		return err
	}
	if e.Cloud != m.Cloud() {
		return fmt.Errorf("%s is of another cloud by now", epochsFile)
	}
	seed := m.seed()
	sealed, err := p.encrypt(secretFile{Version: 1, Cloud: m.Cloud(), Cluster: m.cluster, Master: seed[:]})
	if err != nil {
		return err
	}
	m.disk.sweep(m.dir)
	if err := m.disk.write(filepath.Join(m.dir, masterFile), sealed, 0o600); err != nil {
		return err
	}
	m.epochs, m.protect = e, p.told()
	public, err := m.publicText()
	if err != nil {
		return err
	}
	return m.disk.write(filepath.Join(m.dir, publicFile), public, 0o644)
}
