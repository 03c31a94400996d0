package boot

import (
	"context"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

const (
	fsck     = "/usr/sbin/fsck.ext4"
	resize   = "/usr/sbin/resize2fs"
	fsckTime = 30 * time.Minute // of a large and full /var after a hard power cut
	growTime = 10 * time.Minute
	// growFrom is how much larger than its file system a partition must be to grow it.
	growFrom = 64 << 20
)

// The exit code of e2fsck(8) is a sum of these.
const (
	fsckReboot = 2 // of a mounted file system; ours is not
	fsckLeft   = 4
)

// mountVar checks and mounts /var. Errors that fsck does not dare to mend are no
// reason to stay down: the kernel mounts what it can and goes read-only at the
// first inconsistency; the operator is told, and boot.json says it to the agent.
func (b *Boot) mountVar(ctx context.Context) (string, error) {
	node, err := b.findVar()
	if err != nil {
		return "", err
	}
	if err := b.need("ext4"); err != nil {
		return "", err
	}
	// Before anything is read: fsck restores a superblock from its copies.
	b.record.VarFsck = b.checkVar(ctx, node)
	size, err := readExt4Size(b.at(node))
	if err != nil {
		return "", &Problem{Err: fmt.Errorf("read the file system on %s (/var): %w", node, err), Do: fmt.Sprintf(
			"if its data can go, delete partition %q (sgdisk from a rescue system): the next boot makes it anew; else restore it", labelVar)}
	}
	const flags = unix.MS_NOATIME | unix.MS_NOSUID | unix.MS_NODEV
	if err := b.Kernel.Mount(node, b.at(newRoot+"/var"), "ext4", flags, "errors=remount-ro"); err != nil {
		return "", advise(fmt.Errorf("mount %s on /var: %w (fsck: %s)", node, err, b.record.VarFsck),
			"boot once with fsck.repair=yes on the kernel command line to have everything mended, or delete the partition from a rescue system: the next boot makes it anew")
	}
	message := fmt.Sprintf("%s (%s) is mounted on /var, fsck: %s", node, sizeText(size), b.record.VarFsck)
	return message + b.growVar(ctx, node, size), nil
}

// findVar finds the partition and waits for its node.
func (b *Boot) findVar() (node string, err error) {
	p, ok, err := b.varPartition()
	if err != nil {
		return "", err
	}
	if !ok {
		return "", advise(fmt.Errorf("find /var: %s has no partition labelled %q", b.disk.Name, labelVar),
			"the definitions in "+repartDefinitions+" of the image must make one")
	}
	b.record.VarDevice, err = b.waitNode(b.disk, p)
	return b.record.VarDevice, err
}

func readExt4Size(path string) (int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	head := make([]byte, 2048)
	if err := readFull(f, head, 0); err != nil {
		return 0, err
	}
	return ext4Size(head)
}

// checkVar runs fsck and returns its outcome in a word or two.
func (b *Boot) checkVar(ctx context.Context, node string) string {
	if b.cmdline.FsckSkip {
		return "skipped"
	}
	args := []string{fsck, map[string]string{"preen": "-p", "yes": "-y", "no": "-n"}[b.cmdline.FsckRepair]}
	if b.cmdline.FsckForce {
		args = append(args, "-f")
	}
	output, code, err := b.program(ctx, "var", fsckTime, append(args, node)...)
	switch {
	case err != nil:
		b.Say("var", "waiting", fmt.Sprintf("check %s: %v:\n%s\nit is mounted unchecked", node, err, told(output)), nil)
		return "did not run"
	case code == 0:
		return "clean"
	case code < fsckLeft:
		b.Say("var", "waiting", fmt.Sprintf("check %s: errors were mended:\n%s", node, told(output)), nil)
		return "mended"
	}
	b.Say("var", "waiting", fmt.Sprintf("check %s: exit code %d, errors are left:\n%s\nit is mounted as it is; boot once with fsck.repair=yes on the kernel command line to have everything mended",
		node, code, told(output)), nil)
	return fmt.Sprintf("errors left (exit code %d)", code)
}

// growVar makes the file system as large as its partition, which systemd-repart
// makes as large as a disk that has grown. It returns what it did.
func (b *Boot) growVar(ctx context.Context, node string, size int64) string {
	p, _, _ := b.varPartition()
	want := b.disk.Table.Size(p)
	if want-size < growFrom {
		return ""
	}
	output, code, err := b.program(ctx, "var", growTime, resize, node)
	if err != nil || code != 0 {
		b.Say("var", "waiting", fmt.Sprintf("grow %s from %s to %s: exit code %d (%v):\n%s\nit stays as it is", node, sizeText(size), sizeText(want), code, err, told(output)), nil)
		return ""
	}
	return ", grown to " + sizeText(want)
}
