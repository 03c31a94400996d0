package boot

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// maxSoftDepth bounds how deep soft dependencies lead to others.
const maxSoftDepth = 8

// modules loads the modules of one index.
type modules struct {
	index     *ModuleIndex
	insert    func(file, params string) error // finit_module(2)
	blacklist map[string]bool
	params    map[string][]string
	tried     map[string]error // outcome of every module so far
	asked     map[string]bool  // modaliases that were looked up
	loaded    []string         // in the order of loading
}

func newModules(x *ModuleIndex, c Cmdline, insert func(file, params string) error) *modules {
	return &modules{
		index: x, insert: insert, blacklist: c.Blacklist, params: c.Params,
		tried: map[string]error{}, asked: map[string]bool{},
	}
}

// errNoModule says that a name is neither a module of the initrd nor built in.
var errNoModule = errors.New("no such module in the initrd")

// load loads the module of a name, or those of an alias, with all that they need.
func (m *modules) load(name string) error { return m.loadName(name, 0) }

func (m *modules) loadName(name string, depth int) error {
	norm := moduleName(name)
	if _, ok := m.index.Path[norm]; ok || m.index.Builtin[norm] {
		return m.loadModule(norm, depth)
	}
	names := m.index.Match(name)
	if len(names) == 0 {
		return fmt.Errorf("load module %s: %w", name, errNoModule)
	}
	// An alias such as crypto-sha256 names several; one that works is enough.
	var errs []error
	for _, n := range names {
		if err := m.loadModule(n, depth); err != nil {
			errs = append(errs, err)
		}
	}
	if len(errs) == len(names) {
		return errs[0]
	}
	return nil
}

// loadModule loads a module by its normalised name, once.
func (m *modules) loadModule(name string, depth int) error {
	if m.index.Builtin[name] {
		return nil
	}
	if err, ok := m.tried[name]; ok {
		return err
	}
	m.tried[name] = nil // ends a circle of soft dependencies
	file, ok := m.index.Path[name]
	if !ok {
		m.tried[name] = fmt.Errorf("load module %s: %w", name, errNoModule)
		return m.tried[name]
	}
	soft := m.index.Soft[name]
	m.loadSoft(soft.Before, depth)
	for _, need := range m.index.Needs[name] {
		// A dependency that fails makes its module fail with a better message.
		_ = m.loadModule(need, depth)
	}
	if err := m.insertModule(name, file); err != nil {
		m.tried[name] = err
		return err
	}
	m.loadSoft(soft.After, depth)
	return nil
}

func (m *modules) loadSoft(names []string, depth int) {
	if depth >= maxSoftDepth {
		return
	}
	for _, n := range names {
		_ = m.loadName(n, depth+1) // soft: it need not be there
	}
}

func (m *modules) insertModule(name, file string) error {
	err := m.insert(filepath.Join(m.index.Dir, file), strings.Join(m.params[name], " "))
	switch {
	case errors.Is(err, syscall.EEXIST):
		return nil
	case err != nil:
		return fmt.Errorf("load module %s: %w", name, err)
	}
	m.loaded = append(m.loaded, name)
	return nil
}

// plug loads the modules that new modaliases ask for and returns how many were
// loaded. What does not load is no error here: a driver that does not find its
// device says so, and the missing disk is told by who waits for it.
func (m *modules) plug(modaliases []string) int {
	before := len(m.loaded)
	for _, alias := range modaliases {
		if m.asked[alias] {
			continue
		}
		m.asked[alias] = true
		for _, name := range m.index.Match(alias) {
			if !m.blacklist[name] && !isNetwork(m.index.Path[name]) {
				_ = m.loadModule(name, 0)
			}
		}
	}
	return len(m.loaded) - before
}

// isNetwork reports whether a module's path is that of a network driver. Those
// are left to udev in the sealed root: a disk boot needs none, and they take
// their time. One that a disk's driver needs is loaded all the same.
func isNetwork(file string) bool { return strings.Contains(file, "/drivers/net/") }

// failures lists the modules that did not load, for the operator.
func (m *modules) failures() []string {
	var list []string
	for name, err := range m.tried {
		if err != nil && !errors.Is(err, errNoModule) {
			list = append(list, fmt.Sprintf("%s (%v)", name, errors.Unwrap(err)))
		}
	}
	slices.Sort(list)
	return list
}
