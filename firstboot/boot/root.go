package boot

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// damaged is the advice where what is on the disk is not what was written.
const damaged = "the disk is damaged or was changed: write the image to it again; if that does not last, replace the disk"

// openVerity checks the tree and opens the device /dev/mapper/root.
func (b *Boot) openVerity(context.Context) (string, error) {
	for _, name := range []string{"dm_mod", "dm_verity"} {
		if err := b.need(name); err != nil {
			return "", err
		}
	}
	data, _ := b.disk.Table.ByUUID(b.cmdline.RootHash.Data())
	tree, _ := b.disk.Table.ByUUID(b.cmdline.RootHash.Tree())
	super, err := readTree(b.at(b.record.VerityDevice), b.cmdline.RootHash)
	if err == nil {
		err = super.checkFit(b.disk.Table.Size(data), b.disk.Table.Size(tree))
	}
	if err != nil {
		return "", advise(fmt.Errorf("check the hash tree on %s: %w", b.record.VerityDevice, err), damaged)
	}
	b.record.MappedDevice, err = b.Kernel.OpenVerity(VerityDevice{
		Name: "root", Data: b.record.RootDevice, Tree: b.record.VerityDevice, Super: super, Root: b.cmdline.RootHash,
	})
	if err != nil {
		return "", advise(fmt.Errorf("open dm-verity: %w", err), rebuild)
	}
	// udev would link it; the one in the root finds the device made and leaves it alone.
	_ = os.Symlink(".."+strings.TrimPrefix(b.record.MappedDevice, "/dev"), b.at("dev/mapper/root"))
	return fmt.Sprintf("%s is open: %s, each block checked as it is read; one that is not as it was sealed stops the machine",
		b.record.MappedDevice, sizeText(int64(super.Blocks)*verityBlock)), nil
}

// readTree reads the superblock on a device and binds it to the root hash.
func readTree(path string, hash RootHash) (Superblock, error) {
	f, err := os.Open(path)
	if err != nil {
		return Superblock{}, err
	}
	defer f.Close()
	b := make([]byte, veritySuperSize)
	if err := readFull(f, b, 0); err != nil {
		return Superblock{}, err
	}
	super, err := ParseSuperblock(b)
	if err != nil {
		return Superblock{}, fmt.Errorf("its superblock %w", err)
	}
	return super, super.checkRoot(f, hash)
}

// rootType tells the file system of a root image by its magic number: squashfs has
// its at 0 (fs/squashfs/squashfs_fs.h), erofs at 1024 (fs/erofs/erofs_fs.h).
func rootType(head []byte) (string, error) {
	if len(head) >= 4 && bytes.Equal(head[:4], []byte("hsqs")) {
		return "squashfs", nil
	}
	if len(head) >= 1028 && binary.LittleEndian.Uint32(head[1024:]) == 0xe0f5e1e2 {
		return "erofs", nil
	}
	return "", errors.New("neither squashfs nor erofs")
}

// mountRoot mounts the sealed root and gives it the kernel's file systems, which
// programs in it and later systemd need.
func (b *Boot) mountRoot(context.Context) (string, error) {
	device := b.record.MappedDevice
	f, err := os.Open(b.at(device))
	if err != nil {
		return "", advise(err, rebuild)
	}
	defer f.Close()
	head := make([]byte, verityBlock)
	if err := readFull(f, head, 0); err != nil {
		return "", advise(fmt.Errorf("read the root on %s: %w", device, err), damaged)
	}
	if b.record.RootType, err = rootType(head); err != nil {
		return "", advise(fmt.Errorf("tell the file system on %s: %w", device, err), rebuild)
	}
	if err := b.need(b.record.RootType); err != nil {
		return "", err
	}
	target := b.at(newRoot)
	if err := os.MkdirAll(target, 0o755); err != nil {
		return "", err
	}
	if err := b.Kernel.Mount(device, target, b.record.RootType, unix.MS_RDONLY, ""); err != nil {
		return "", advise(fmt.Errorf("mount the %s of %s: %w", b.record.RootType, device, err), rebuild)
	}
	for _, name := range shared {
		if err := b.Kernel.Mount(b.at(name), filepath.Join(target, name), "", unix.MS_BIND, ""); err != nil {
			return "", advise(fmt.Errorf("mount /%s in the root: %w", name, err), rebuild)
		}
	}
	if _, err := os.Lstat(filepath.Join(target, systemd)); err != nil {
		return "", advise(fmt.Errorf("find systemd in the root: %w", err), rebuild)
	}
	return fmt.Sprintf("the %s of %s is mounted, read-only", b.record.RootType, device), nil
}
