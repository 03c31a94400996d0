package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"time"
)

// EnvAccel overrides the probe ("kvm" or "tcg"), and EnvScale multiplies every
// time bound, for a machine that is slow or busy.
const (
	EnvAccel = "TRIVET_ACCEL"
	EnvScale = "TRIVET_TIME_SCALE"
)

// An Accel is a way to run guests.
type Accel struct {
	Name   string  // kvm or tcg
	CPU    string  // QEMU's -cpu
	Thread string  // of tcg: multi or single
	Scale  float64 // factor on time bounds
	Why    string  // how it was chosen
}

func (a Accel) args() []string {
	if a.Name == "kvm" {
		return []string{"-accel", "kvm", "-cpu", a.CPU}
	}
	return []string{"-accel", "tcg,tb-size=512,thread=" + a.Thread, "-cpu", a.CPU}
}

func (a Accel) String() string {
	return fmt.Sprintf("%s (-cpu %s, time bounds ×%.3g): %s", a.Name, a.CPU, a.Scale, a.Why)
}

// Scales of the accelerators: a controller that is ready 40 s after its start
// under KVM takes some minutes emulated on two cores.
const (
	scaleKVM = 1
	scaleTCG = 6
)

// probeTime bounds the boot of a kernel under KVM. A healthy one needs three
// seconds from firmware to its last message.
const probeTime = 20 * time.Second

// Probe finds out how guests run on this machine. It boots a kernel of images
// under KVM from UEFI firmware, for /dev/kvm may be there and yet fail on real
// firmware or a stock kernel (nested virtualisation does); when that does not
// work in 20 s, or no kernel is there to try, it takes software emulation.
func Probe(ctx context.Context, fw Firmware, images string) (Accel, error) {
	a, err := probe(ctx, fw, images)
	if err != nil {
		return Accel{}, err
	}
	if s := os.Getenv(EnvScale); s != "" {
		f, err := strconv.ParseFloat(s, 64)
		if err != nil || f < 0.1 || f > 100 {
			return Accel{}, fmt.Errorf("read %s=%q: want a factor from 0.1 to 100", EnvScale, s)
		}
		a.Scale *= f
	}
	return a, nil
}

func probe(ctx context.Context, fw Firmware, images string) (Accel, error) {
	kvm := Accel{Name: "kvm", CPU: "host", Scale: scaleKVM}
	switch want := os.Getenv(EnvAccel); want {
	case "kvm":
		kvm.Why = EnvAccel + " says so"
		return kvm, nil
	case "tcg":
		return emulation(ctx, EnvAccel+" says so")
	case "":
	default:
		return Accel{}, fmt.Errorf("read %s=%q: want kvm or tcg", EnvAccel, want)
	}
	f, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
	if err != nil {
		return emulation(ctx, err.Error())
	}
	f.Close()
	kernel := anyKernel(images)
	if kernel == "" {
		return emulation(ctx, "KVM is there, but no ROLE.vmlinuz or ROLE.efi to try it with in "+images)
	}
	started := time.Now()
	if err := tryKernel(ctx, fw, kvm, kernel); err != nil {
		return emulation(ctx, "KVM is there and does not work: "+err.Error())
	}
	kvm.Why = fmt.Sprintf("%s ran under it in %.1f s", filepath.Base(kernel), time.Since(started).Seconds())
	return kvm, nil
}

// anyKernel returns something that QEMU's -kernel takes.
func anyKernel(images string) string {
	for _, pattern := range []string{"*.vmlinuz", "*.efi"} {
		if found, _ := filepath.Glob(filepath.Join(images, pattern)); len(found) > 0 {
			return found[0]
		}
	}
	return ""
}

// ran is what a kernel says that got through all of its own start: it hands
// over to an init, or has none.
var ran = regexp.MustCompile(`Run /\S+ as init process|VFS: (Unable|Cannot)|trivet: `)

// stuck is what QEMU says when KVM gave up on a guest.
var stuck = regexp.MustCompile(`KVM internal error|emulation failure|kvm run failed|Assertion .* failed`)

// tryKernel boots kernel without a disk and waits until it ran.
func tryKernel(ctx context.Context, fw Firmware, accel Accel, kernel string) error {
	dir, err := os.MkdirTemp("", "trivet-kvm")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	m := machine{
		name: "probe", accel: accel, code: fw.Code, vars: filepath.Join(dir, "vars.fd"), memory: 1024, cpus: 2,
		console: filepath.Join(dir, consoleLog), mac: "52:54:00:00:00:01",
		kernel: kernel, append: "console=ttyS0,115200 panic=-1",
	}
	if err := copyFile(fw.Vars, m.vars); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	log := filepath.Join(dir, qemuLog)
	r, err := launch(ctx, m, log, func(Event) {}, func(Record, error) {})
	if err != nil {
		return err
	}
	defer r.kill()
	for {
		said, _ := os.ReadFile(log)
		if m := stuck.Find(said); m != nil {
			return fmt.Errorf("QEMU says %q", m)
		}
		console, _ := os.ReadFile(m.console)
		if ran.Match(console) {
			return nil
		}
		select {
		case <-r.done:
			return fmt.Errorf("QEMU ended: %s", lastLine(log))
		case <-ctx.Done():
			return fmt.Errorf("no sign of life of the kernel in %v (%d bytes on the console)", probeTime, len(console))
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// emulation returns TCG with the settings that the installed QEMU needs. QEMU
// before 10 crashes a 6.12 guest when it emulates with several threads, and
// its newest CPU models do too.
func emulation(ctx context.Context, why string) (Accel, error) {
	major, err := qemuMajor(ctx)
	if err != nil {
		return Accel{}, err
	}
	a := Accel{Name: "tcg", CPU: "max", Thread: "multi", Scale: scaleTCG, Why: why}
	if major < 10 {
		a.CPU, a.Thread, a.Scale = "Nehalem,-cx16", "single", 2*scaleTCG
		a.Why += fmt.Sprintf("; QEMU %d emulates with one thread only, 10 (Debian 13, bookworm-backports) is twice as fast", major)
	}
	return a, nil
}

var versionLine = regexp.MustCompile(`QEMU emulator version (\d+)\.`)

// qemuMajor returns the first number of QEMU's version.
func qemuMajor(ctx context.Context) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, qemuBinary, "--version").Output()
	if err != nil {
		return 0, fmt.Errorf("ask %s for its version: %w", qemuBinary, err)
	}
	return parseVersion(out)
}

func parseVersion(out []byte) (int, error) {
	m := versionLine.FindSubmatch(out)
	if m == nil {
		return 0, errors.New("read QEMU's version: no version in its answer")
	}
	return strconv.Atoi(string(m[1]))
}
