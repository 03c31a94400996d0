package boot

import (
	"encoding/hex"
	"errors"
	"fmt"
)

// A GUID identifies a partition or its type. Its bytes are in the order of its
// text form, not in that of the disk.
type GUID [16]byte

func (g GUID) String() string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", g[0:4], g[4:6], g[6:8], g[8:10], g[10:16])
}

// guidOnDisk turns the 16 bytes of a GUID in a GPT around: its first three
// fields are little-endian there (UEFI 2.10, appendix A).
func guidOnDisk(b []byte) GUID {
	return GUID{b[3], b[2], b[1], b[0], b[5], b[4], b[7], b[6], b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]}
}

// A RootHash is the SHA-256 at the root of the sealed root's dm-verity tree.
type RootHash [32]byte

func (h RootHash) String() string { return hex.EncodeToString(h[:]) }

// Data is the UUID of the partition with the root file system: the first half
// (Discoverable Partitions Specification, "Partition UUIDs").
func (h RootHash) Data() GUID { return GUID(h[:16]) }

// Tree is the UUID of the partition with the hash tree: the second half.
func (h RootHash) Tree() GUID { return GUID(h[16:]) }

// parseRootHash reads 64 hexadecimal digits.
func parseRootHash(s string) (RootHash, error) {
	var h RootHash
	if len(s) != 2*len(h) {
		return h, fmt.Errorf("has %d hexadecimal digits, want %d", len(s), 2*len(h))
	}
	b, err := hex.DecodeString(s)
	if err != nil {
		return h, errors.New("is not hexadecimal")
	}
	copy(h[:], b)
	if h == (RootHash{}) {
		return h, errors.New("is all zeros")
	}
	return h, nil
}
