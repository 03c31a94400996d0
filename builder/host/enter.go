package host

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// enter makes the mounts and moves this process into them.
func enter(mounts []Mount) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make the mounts private: %w", err)
	}
	root, err := mountRoot(mounts[0])
	if err != nil {
		return err
	}
	if err := mountKernel(root); err != nil {
		return err
	}
	for _, m := range mounts[1:] {
		if err := mountAt(m, filepath.Join(root, m.Target)); err != nil {
			return err
		}
	}
	if err := unix.Chdir(root); err != nil {
		return fmt.Errorf("enter %s: %w", root, err)
	}
	// pivot_root(2), NOTES: with both arguments "." the old root ends up on top
	// of the new one and is detached from there.
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("make %s the root: %w", root, err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("detach the host's root: %w", err)
	}
	if err := unix.Chdir("/"); err != nil {
		return fmt.Errorf("enter the new root: %w", err)
	}
	if err := unix.Sethostname([]byte("trivet")); err != nil {
		return fmt.Errorf("set the host name of the sandbox: %w", err)
	}
	return dropCapabilities()
}

// mountRoot mounts the root over one of its own directories, so that no mount
// point has to be made on the host.
func mountRoot(m Mount) (string, error) {
	point := m.Upper
	if point == "" {
		point = m.Layers[len(m.Layers)-1]
	}
	return point, mountAt(m, point)
}

// mountAt mounts m at the path point of the host's tree.
func mountAt(m Mount, point string) error {
	if err := makePoint(m, point); err != nil {
		return err
	}
	if len(m.Layers) == 1 && m.Upper == "" {
		return bind(m.Layers[0], point, m.Writable)
	}
	return overlay(m, point)
}

// makePoint makes a missing mount point: a directory, or a file for a file.
func makePoint(m Mount, point string) error {
	if _, err := os.Lstat(point); err == nil {
		return nil
	}
	if len(m.Layers) == 1 {
		if info, err := os.Stat(m.Layers[0]); err == nil && !info.IsDir() {
			if err := os.WriteFile(point, nil, 0o644); err != nil {
				return fmt.Errorf("make mount point: %w", err)
			}
			return nil
		}
	}
	if err := os.MkdirAll(point, 0o755); err != nil {
		return fmt.Errorf("make mount point: %w", err)
	}
	return nil
}

func bind(from, to string, writable bool) error {
	if err := unix.Mount(from, to, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("bind %s to %s: %w", from, to, err)
	}
	if writable {
		return nil
	}
	// In a user namespace the flags that the host's mount has are locked and
	// must be repeated (mount_namespaces(7)).
	var st unix.Statfs_t
	if err := unix.Statfs(to, &st); err != nil {
		return fmt.Errorf("read the mount flags of %s: %w", to, err)
	}
	keep := uintptr(st.Flags) & (unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC | unix.MS_NOATIME | unix.MS_NODIRATIME | unix.MS_RELATIME)
	if err := unix.Mount("", to, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY|keep, ""); err != nil {
		return fmt.Errorf("make %s read-only: %w", to, err)
	}
	return nil
}

// overlay mounts the layers of m. The option list is the kernel's
// (Documentation/filesystems/overlayfs.rst): volatile leaves out every fsync
// of the upper layer, which dpkg asks for thousands of times; a layer that was
// being written when the machine stopped is thrown away by its owner.
func overlay(m Mount, point string) error {
	lower := make([]string, 0, len(m.Layers))
	for i := len(m.Layers) - 1; i >= 0; i-- {
		lower = append(lower, m.Layers[i])
	}
	if len(lower) == 0 {
		return bind(m.Upper, point, true)
	}
	opts := []string{"lowerdir=" + strings.Join(lower, ":")}
	flags := uintptr(unix.MS_RDONLY)
	if m.Upper != "" {
		flags = 0
		opts = append(opts, "upperdir="+m.Upper, "workdir="+m.Work, "volatile")
	}
	if inUserNamespace() {
		opts = append(opts, "userxattr")
	} else if m.Upper != "" {
		opts = append(opts, "index=off", "redirect_dir=off", "metacopy=off")
	}
	if err := unix.Mount("overlay", point, "overlay", flags, strings.Join(opts, ",")); err != nil {
		return fmt.Errorf("mount %d layers on %s: %w", len(lower), point, err)
	}
	return nil
}

// inUserNamespace says whether uid 0 here is not uid 0 of the machine
// (user_namespaces(7): the initial map is the whole range).
func inUserNamespace() bool {
	text, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		return false
	}
	return strings.Join(strings.Fields(string(text)), " ") != "0 0 4294967295"
}
