package boot

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// newRoot is where the sealed root is mounted until it becomes /.
const newRoot = "sysroot"

// Boot is one way from the kernel to systemd.
type Boot struct {
	Root   string // where the initrd's own tree lies: "/"; a folder in tests
	Kernel Kernel
	Run    Program
	Say    Report
	Args   []string // of /init, handed on to systemd
	Env    []string // of /init, handed on without what is ours
	Now    func() time.Time

	began   time.Time
	cmdline Cmdline
	modules *modules
	blocks  *blockDevices
	disk    Disk
	record  Record
}

// A step returns what it did, for people.
type step struct {
	name string
	do   func(context.Context) (string, error)
}

// Start boots. It returns only if the machine cannot be booted: with a Problem
// that has been reported, as failed, already.
func (b *Boot) Start(ctx context.Context) error {
	b.began = b.Now()
	b.record = Record{Seconds: map[string]float64{}}
	b.blocks = newBlockDevices(b.Root)
	for _, s := range []step{
		{"mounts", b.mountKernel},
		{"cmdline", b.readCmdline},
		{"modules", b.loadModules},
		{"disk", b.findRoot},
		{"verity", b.openVerity},
		{"root", b.mountRoot},
		{"repart", b.partition},
		{"var", b.mountVar},
		{"etc", b.overlayEtc},
		{"machine-id", b.giveMachineID},
		{"switch-root", b.writeRecord},
	} {
		if err := b.step(ctx, s); err != nil {
			return err
		}
	}
	err := b.leave()
	b.Say("switch-root", "failed", err.Error(), nil)
	return err
}

func (b *Boot) step(ctx context.Context, s step) error {
	began := b.Now()
	message, err := s.do(ctx)
	took := b.Now().Sub(began).Seconds()
	b.record.Seconds[s.name] = round(took)
	if err != nil {
		b.Say(s.name, "failed", err.Error(), nil)
		return err
	}
	b.Say(s.name, "done", message, map[string]any{"seconds": round(took)})
	return nil
}

// leave hands the machine over to systemd.
func (b *Boot) leave() error {
	if err := b.Kernel.SwitchRoot(b.at(newRoot)); err != nil {
		return advise(fmt.Errorf("switch root: %w", err), rebuild)
	}
	args := append([]string{systemd}, b.Args...)
	if err := b.Kernel.Exec(args, handOn(b.Env)); err != nil {
		return advise(fmt.Errorf("start %s: %w", systemd, err), rebuild)
	}
	return nil
}

// rebuild is the advice where the image is to blame.
const rebuild = "the image is at fault: build it anew, or boot the one before"

// systemd is the first program of the sealed root.
const systemd = "/usr/lib/systemd/systemd"

// handOn drops what the kernel made of our own command line words: it puts every
// KEY=VALUE that it does not know itself into the environment of /init.
func handOn(env []string) []string {
	var kept []string
	for _, v := range env {
		if !strings.HasPrefix(v, "roothash=") {
			kept = append(kept, v)
		}
	}
	return kept
}

// at is a path of the initrd.
func (b *Boot) at(path string) string { return filepath.Join(b.Root, path) }

// mountKernel mounts what systemd would mount first, with its own options
// (mount_table in systemd's src/shared/mount-setup.c), so that it finds them as it wants them.
func (b *Boot) mountKernel(context.Context) (string, error) {
	seed, err := b.takeSeed()
	if err != nil {
		return "", advise(err, "correct the network boot's `initrd` lines, or boot without them")
	}
	for _, m := range kernelMounts {
		target := b.at(m.target)
		if err := os.MkdirAll(target, 0o755); err != nil {
			return "", err
		}
		if err := b.Kernel.Mount(m.fstype, target, m.fstype, m.flags, m.data); err != nil {
			return "", advise(fmt.Errorf("mount /%s: %w", m.target, err), "the kernel is not one that the image was built with")
		}
	}
	if err := os.MkdirAll(b.at("run/trivet"), 0o755); err != nil {
		return "", err
	}
	if err := b.giveSeed(seed); err != nil {
		return "", err
	}
	// The kernel drops lines of chatty programs; systemd turns that off too.
	_ = os.WriteFile(b.at("proc/sys/kernel/printk_devkmsg"), []byte("on\n"), 0o644)
	b.linkModprobe()
	return "proc, sys, dev and run are mounted", nil
}

func (b *Boot) readCmdline(context.Context) (string, error) {
	text, err := readLimited(b.at("proc/cmdline"), maxCmdline)
	if err == nil {
		b.cmdline, err = ParseCmdline(string(text))
	}
	if err != nil {
		return "", advise(err, "start the machine from the boot menu's own entry of the image; its command line is sealed in")
	}
	b.record.RootHash = b.cmdline.RootHash.String()
	for _, note := range b.cmdline.Notes {
		b.Say("cmdline", "waiting", note, nil)
	}
	return "root hash " + b.record.RootHash, nil
}
