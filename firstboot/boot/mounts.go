package boot

import "golang.org/x/sys/unix"

type kernelMount struct {
	target, fstype string
	flags          uintptr
	data           string
}

// kernelMounts is systemd's own table; the limits of /run are its TMPFS_LIMITS_RUN.
var kernelMounts = []kernelMount{
	{"dev", "devtmpfs", unix.MS_NOSUID | unix.MS_STRICTATIME, "mode=0755,size=4m,nr_inodes=1m"},
	{"proc", "proc", unix.MS_NOSUID | unix.MS_NOEXEC | unix.MS_NODEV, ""},
	{"sys", "sysfs", unix.MS_NOSUID | unix.MS_NOEXEC | unix.MS_NODEV, ""},
	{"run", "tmpfs", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_STRICTATIME, "mode=0755,size=20%,nr_inodes=800k"},
}
