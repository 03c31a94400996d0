package host

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// kernelDirs are the mount points of the kernel's own file systems, with the
// modes that Debian's base-files gives them.
var kernelDirs = []struct {
	name string
	mode os.FileMode
}{
	{"proc", 0o755},
	{"sys", 0o755},
	{"dev", 0o755},
	{"run", 0o755},
	{"tmp", 0o777 | os.ModeSticky},
}

// mountKernel mounts /proc, /sys, /dev, /run and /tmp below root.
func mountKernel(root string) error {
	for _, d := range kernelDirs {
		path := filepath.Join(root, d.name)
		if _, err := os.Lstat(path); err == nil {
			continue
		}
		if err := os.Mkdir(path, 0o755); err != nil {
			return fmt.Errorf("make mount point: %w", err)
		}
		if err := os.Chmod(path, d.mode); err != nil {
			return fmt.Errorf("set the mode of a mount point: %w", err)
		}
	}
	if err := mountProc(filepath.Join(root, "proc")); err != nil {
		return err
	}
	// Without /sys maintainer scripts work too: a container may refuse it.
	_ = unix.Mount("sysfs", filepath.Join(root, "sys"), "sysfs", unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
	for _, t := range []struct{ dir, opts string }{{"run", "mode=755"}, {"tmp", "mode=1777"}, {"dev", "mode=755"}} {
		path := filepath.Join(root, t.dir)
		if err := unix.Mount("tmpfs", path, "tmpfs", unix.MS_NOSUID, t.opts); err != nil {
			return fmt.Errorf("mount a tmpfs on %s: %w", path, err)
		}
	}
	return fillDev(filepath.Join(root, "dev"))
}

// mountProc mounts a proc of the new PID namespace with /proc/sys and
// sysrq-trigger read-only: as root of the machine a maintainer script could
// otherwise change the host's kernel.
func mountProc(path string) error {
	if err := unix.Mount("proc", path, "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mount proc: %w", err)
	}
	for _, name := range []string{"sys", "sysrq-trigger"} {
		p := filepath.Join(path, name)
		if _, err := os.Lstat(p); err != nil {
			continue
		}
		if err := bind(p, p, false); err != nil {
			return err
		}
	}
	return nil
}

// fillDev gives /dev the nodes that programs expect. The nodes are the host's,
// bound: in a user namespace none can be made.
func fillDev(dev string) error {
	for _, name := range []string{"null", "zero", "full", "random", "urandom", "tty"} {
		to := filepath.Join(dev, name)
		if err := os.WriteFile(to, nil, 0o666); err != nil {
			return fmt.Errorf("make device node: %w", err)
		}
		if err := unix.Mount("/dev/"+name, to, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("bind device node %s: %w", name, err)
		}
	}
	for name, target := range map[string]string{
		"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2", "ptmx": "pts/ptmx",
	} {
		if err := os.Symlink(target, filepath.Join(dev, name)); err != nil {
			return fmt.Errorf("link in /dev: %w", err)
		}
	}
	for _, t := range []struct{ dir, fstype, opts string }{{"pts", "devpts", "newinstance,ptmxmode=0666,mode=620"}, {"shm", "tmpfs", "mode=1777"}} {
		path := filepath.Join(dev, t.dir)
		if err := os.Mkdir(path, 0o755); err != nil {
			return fmt.Errorf("make mount point: %w", err)
		}
		if err := unix.Mount(t.fstype, path, t.fstype, unix.MS_NOSUID, t.opts); err != nil {
			return fmt.Errorf("mount %s on %s: %w", t.fstype, path, err)
		}
	}
	return nil
}

// dropCapabilities takes from the bounding set what no maintainer script needs
// and what would reach the host's kernel (capabilities(7)).
func dropCapabilities() error {
	for _, c := range []uintptr{
		unix.CAP_SYS_MODULE, unix.CAP_SYS_RAWIO, unix.CAP_SYS_BOOT, unix.CAP_SYS_TIME, unix.CAP_SYSLOG,
		unix.CAP_MAC_ADMIN, unix.CAP_MAC_OVERRIDE, unix.CAP_WAKE_ALARM, unix.CAP_BPF, unix.CAP_PERFMON,
	} {
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0); err != nil {
			return fmt.Errorf("drop capability %d: %w", c, err)
		}
	}
	return nil
}
