package trust

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Rotate begins the next epoch of a purpose: the secrets and keys that follow
// from it become others. The purpose is one of Purposes(declared), or
// PURPOSE@NODE where each node has a key of its own. New bundles bring it to the
// nodes. It returns the new epoch's number.
//
// A CA's old epoch stays trusted, and signs for the new one, until Retire: nodes
// with old and with new bundles understand each other meanwhile.
func (m *Master) Rotate(purpose string, declared []string, now time.Time) (int, error) {
	now = now.UTC().Truncate(time.Second)
	var number int
	err := m.change(func(e epochs) error {
		if err := m.canRotate(e, purpose, declared); err != nil {
			return err
		}
		old := e.get(purpose)
		if !wholeUTC(now) || now.Before(old.Since) {
			return fmt.Errorf("now is %s, before the last rotation at %s; set the clock", now.Format(time.RFC3339), old.Since.Format(time.RFC3339))
		}
		next := epoch{Number: old.Number + 1, Since: now}
		if strings.HasSuffix(purpose, suffixCA) {
			next.Before = &epoch{Number: old.Number, Since: old.Since}
		}
		number = next.Number
		e.Epochs[purpose] = next
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("rotate %s: %w", purpose, err)
	}
	return number, nil
}

// Retire ends the trust in a CA's old epoch. What was stolen of it is worth
// nothing to nodes with a bundle made after this.
func (m *Master) Retire(purpose string) error {
	err := m.change(func(e epochs) error {
		now := e.get(purpose)
		if now.Before == nil {
			return fmt.Errorf("nothing is old of it; only a CA that was rotated, such as galera%s, is retired", suffixCA)
		}
		now.Before = nil
		e.Epochs[purpose] = now
		return nil
	})
	if err != nil {
		return fmt.Errorf("retire the old %s: %w", purpose, err)
	}
	return nil
}

func (m *Master) canRotate(e epochs, purpose string, declared []string) error {
	base, one, single := strings.Cut(purpose, "@")
	known := m.Purposes(declared)
	if !slices.ContainsFunc(known, func(p Purpose) bool { return p.Name == base }) {
		var list []string
		for _, p := range known {
			if p.Fixed == "" && !strings.Contains(p.Name, "@") {
				list = append(list, p.Name)
			}
		}
		return fmt.Errorf("there is no such purpose; known are %s", strings.Join(list, ", "))
	}
	if why := fixed(base); why != "" {
		return fmt.Errorf("it can never change: %s", why)
	}
	now := e.get(purpose)
	switch {
	case single && !ofNodes(base):
		return fmt.Errorf("%s is one for all nodes; leave out @%s", base, one)
	case single && !nodeForm.MatchString(one):
		return fmt.Errorf("%q is not a node's name", one)
	case now.Before != nil:
		return fmt.Errorf("its epoch %d, of %s, is still trusted; when every node has a bundle of epoch %d, retire it first",
			now.Before.Number, now.Before.Since.Format(time.DateOnly), now.Number)
	case now.Number >= 1<<20-1:
		return fmt.Errorf("it was rotated too often")
	}
	return nil
}

// change alters the epochs under a lock, on the disk first. The public part
// follows; if the power fails between, Open does that.
func (m *Master) change(alter func(e epochs) error) error {
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
	if err := alter(e); err != nil {
		return err
	}
	data, err := encode(e)
	if err != nil {
		return err
	}
	if _, err := parseEpochs(data); err != nil {
		return err
	}
	m.disk.sweep(m.dir)
	if err := m.disk.write(filepath.Join(m.dir, epochsFile), data, 0o600); err != nil {
		return err
	}
	m.epochs = e
	public, err := m.publicText()
	if err != nil {
		return err
	}
	return m.disk.write(filepath.Join(m.dir, publicFile), public, 0o644)
}
