package boot

import (
	"encoding/binary"
	"errors"
)

// ext4Size reads the size of an ext4 file system, in bytes, from the first 2 KiB
// of its device (Documentation/filesystems/ext4/globals.rst, "Super Block").
func ext4Size(head []byte) (int64, error) {
	if len(head) < 2048 {
		return 0, errors.New("it is too short")
	}
	s := head[1024:]
	le := binary.LittleEndian
	if le.Uint16(s[0x38:]) != 0xef53 {
		return 0, errors.New("it holds no ext4")
	}
	const incompat64Bit = 0x80
	blocks := uint64(le.Uint32(s[0x4:]))
	if le.Uint32(s[0x60:])&incompat64Bit != 0 {
		blocks |= uint64(le.Uint32(s[0x150:])) << 32
	}
	shift := le.Uint32(s[0x18:])
	if shift > 6 || blocks == 0 || blocks > 1<<46 { // blocks of 1 to 64 KiB
		return 0, errors.New("its ext4 superblock is broken")
	}
	return int64(blocks << (10 + shift)), nil
}
