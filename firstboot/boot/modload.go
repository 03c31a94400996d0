package boot

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// moduleTree is where an initrd has its modules, one folder for a kernel.
const moduleTree = "usr/lib/modules"

// maxRounds bounds how often devices are looked at anew because the last round
// loaded a module: a controller behind a bridge behind a bridge takes three.
const maxRounds = 32

// moduleTime bounds the loading of one module. A driver waits in there for
// its devices to answer.
const moduleTime = 60 * time.Second

// loadModules reads the module index and loads what the machine's devices ask for.
func (b *Boot) loadModules(context.Context) (string, error) {
	release, err := b.Kernel.Release()
	if err != nil {
		return "", err
	}
	dir := b.at(filepath.Join(moduleTree, release))
	index, err := ReadModuleIndex(dir)
	if errors.Is(err, fs.ErrNotExist) {
		have, _ := filepath.Glob(b.at(moduleTree + "/*"))
		for i := range have {
			have[i] = filepath.Base(have[i])
		}
		return "", advise(fmt.Errorf("find the modules of kernel %s: the initrd has those of %q", release, have), rebuild)
	}
	if err != nil {
		return "", advise(err, rebuild)
	}
	b.modules = newModules(index, b.cmdline, b.insertModule)
	b.plugAll()
	message := fmt.Sprintf("%d for the machine's devices: %s", len(b.modules.loaded), strings.Join(b.modules.loaded, " "))
	if failed := b.modules.failures(); len(failed) > 0 {
		message += "; did not load: " + strings.Join(failed, ", ")
	}
	return message, nil
}

// plugAll loads drivers until no device asks for another.
func (b *Boot) plugAll() {
	for range maxRounds {
		if b.modules.plug(modaliases(b.at("sys/devices"))) == 0 {
			return
		}
	}
}

// insertModule loads one module, and gives up waiting for one that hangs.
func (b *Boot) insertModule(file, params string) error {
	done := make(chan error, 1)
	go func() { done <- b.Kernel.LoadModule(file, params) }()
	select {
	case err := <-done:
		return err
	case <-time.After(moduleTime):
		return fmt.Errorf("it does not come back within %v", moduleTime)
	}
}

// need loads a module that the initrd itself needs.
func (b *Boot) need(name string) error {
	if err := b.modules.load(name); err != nil {
		return advise(err, rebuild)
	}
	return nil
}

// linkModprobe makes this program the kernel's module loader as long as the
// initrd runs: file systems and the crypto layer ask for modules by alias.
func (b *Boot) linkModprobe() {
	_ = os.MkdirAll(b.at("sbin"), 0o755)
	_ = os.Symlink("/init", b.at("sbin/modprobe"))
}

// Modprobe does what the kernel asks /sbin/modprobe for, in the initrd: load the
// module of a name or an alias.
func Modprobe(k Kernel, root string, name string) error {
	release, err := k.Release()
	if err != nil {
		return err
	}
	index, err := ReadModuleIndex(filepath.Join(root, moduleTree, release))
	if err != nil {
		return err
	}
	text, err := readLimited(filepath.Join(root, "proc/cmdline"), maxCmdline)
	if err != nil {
		return err
	}
	cmdline, err := ParseCmdline(string(text))
	if err != nil {
		return err
	}
	return newModules(index, cmdline, k.LoadModule).load(name)
}
