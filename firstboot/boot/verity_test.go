package boot

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// veritySuper is a superblock as `veritysetup format` writes it.
func veritySuper(blocks uint64, salt []byte) []byte {
	b := make([]byte, veritySuperSize)
	le := binary.LittleEndian
	copy(b, veritySignature)
	le.PutUint32(b[8:], 1)
	le.PutUint32(b[12:], 1)
	copy(b[16:], "\x11\x11\x11\x11\x22\x22\x43\x33\x84\x44\x55\x55\x55\x55\x55\x55")
	copy(b[32:], "sha256")
	le.PutUint32(b[64:], 4096)
	le.PutUint32(b[68:], 4096)
	le.PutUint64(b[72:], blocks)
	le.PutUint16(b[80:], uint16(len(salt)))
	copy(b[88:], salt)
	return b
}

// verityTree makes a hash device of at most 128 data blocks, and its root hash.
func verityTree(data, salt []byte) ([]byte, RootHash) {
	hash := func(b []byte) [32]byte { return sha256.Sum256(append(bytes.Clone(salt), b...)) }
	tree := make([]byte, 2*verityBlock)
	copy(tree, veritySuper(uint64(len(data)/verityBlock), salt))
	for i := 0; i*verityBlock < len(data); i++ {
		h := hash(data[i*verityBlock : (i+1)*verityBlock])
		copy(tree[verityBlock+i*len(h):], h[:])
	}
	return tree, hash(tree[verityBlock:])
}

func TestSuperblock(t *testing.T) {
	salt := []byte("salty")
	tree, root := verityTree(make([]byte, 5*verityBlock), salt)
	s, err := ParseSuperblock(tree[:veritySuperSize])
	if err != nil {
		t.Fatal(err)
	}
	want := Superblock{UUID: [16]byte(tree[16:32]), Blocks: 5, Salt: salt}
	if diff := cmp.Diff(want, s); diff != "" {
		t.Errorf("ParseSuperblock (-want +got):\n%s", diff)
	}
	if err := s.checkRoot(bytes.NewReader(tree), root); err != nil {
		t.Error(err)
	}
	const table = "1 254:2 254:3 4096 4096 5 1 sha256 HASH 73616c7479 1 panic_on_corruption"
	if got := s.table("254:2", "254:3", root); got != strings.Replace(table, "HASH", root.String(), 1) {
		t.Errorf("table = %s", got)
	}
	if got := (Superblock{Blocks: 2}).table("1:1", "1:2", root); !strings.Contains(got, " - 1 panic_on_corruption") {
		t.Errorf("table without salt = %s", got)
	}
	for _, at := range []int{88, verityBlock, 2*verityBlock - 1} { // salt, first hash, padding
		bad := bytes.Clone(tree)
		bad[at] ^= 1
		s, err := ParseSuperblock(bad[:veritySuperSize])
		if err != nil {
			t.Fatal(err)
		}
		if err := s.checkRoot(bytes.NewReader(bad), root); err == nil {
			t.Errorf("a changed byte %d goes unseen", at)
		}
	}
	if err := s.checkRoot(bytes.NewReader(tree[:5000]), root); err == nil {
		t.Error("a short tree goes unseen")
	}
}

func TestHashBlocks(t *testing.T) {
	for blocks, want := range map[uint64]uint64{2: 1, 128: 1, 129: 2 + 1, 128 * 128: 128 + 1, 128*128 + 1: 129 + 2 + 1, 34653: 271 + 3 + 1} {
		s := Superblock{Blocks: blocks}
		if got := s.HashBlocks(); got != want {
			t.Errorf("%d blocks: %d hash blocks, want %d", blocks, got, want)
		}
	}
	s := Superblock{Blocks: 129}
	if err := s.checkFit(129*4096, 4*4096); err != nil {
		t.Error(err)
	}
	if s.checkFit(129*4096-1, 4*4096) == nil || s.checkFit(129*4096, 4*4096-1) == nil {
		t.Error("what does not fit goes unseen")
	}
}

func TestParseSuperblockRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		change func([]byte)
		want   string
	}{
		"signature":   {func(b []byte) { b[0] = 'V' }, "begins with"},
		"version":     {func(b []byte) { b[8] = 2 }, "version 2"},
		"hash type":   {func(b []byte) { b[12] = 0 }, "hash type 0"},
		"algorithm":   {func(b []byte) { copy(b[32:], "sha1\x00\x00") }, `"sha1"`},
		"data block":  {func(b []byte) { b[65] = 2 }, "data blocks of 512"},
		"hash block":  {func(b []byte) { b[69] = 2 }, "hash blocks of 512"},
		"no data":     {func(b []byte) { b[72] = 0 }, "0 data blocks"},
		"all data":    {func(b []byte) { b[79] = 0xff }, "data blocks, want"},
		"large salt":  {func(b []byte) { b[81] = 2 }, "salt of"},
		"cut in half": {nil, "has 256 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			b := veritySuper(5, []byte("x"))
			if c.change == nil {
				b = b[:256]
			} else {
				c.change(b)
			}
			if _, err := ParseSuperblock(b); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want an error with %q", err, c.want)
			}
		})
	}
}

func FuzzParseSuperblock(f *testing.F) {
	f.Add(veritySuper(5, []byte("salt")))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := ParseSuperblock(b)
		if err != nil {
			return
		}
		if n := s.HashBlocks(); n < 1 || n > s.Blocks {
			t.Errorf("%d blocks have %d hash blocks", s.Blocks, n)
		}
		r := dmRequest{name: "root", sectors: s.Blocks * 8, target: "verity", params: s.table("259:1", "259:2", RootHash{1})}
		if _, err := r.encode(); err != nil {
			t.Error(err)
		}
		_ = s.checkRoot(bytes.NewReader(b), RootHash{})
	})
}

// TestDMRequest has the offsets of linux/dm-ioctl.h.
func TestDMRequest(t *testing.T) {
	b, err := dmRequest{name: "root", uuid: "CRYPT-VERITY-x-root", flags: dmReadOnly, sectors: 40, target: "verity", params: "1 a b"}.encode()
	if err != nil {
		t.Fatal(err)
	}
	if len(b) != 312+40+8 {
		t.Fatalf("%d bytes", len(b))
	}
	ne := binary.NativeEndian
	for _, c := range []struct {
		what      string
		got, want uint64
	}{
		{"version", uint64(ne.Uint32(b)), 4},
		{"data_size", uint64(ne.Uint32(b[12:])), 360},
		{"data_start", uint64(ne.Uint32(b[16:])), 312},
		{"target_count", uint64(ne.Uint32(b[20:])), 1},
		{"flags", uint64(ne.Uint32(b[28:])), 1},
		{"sector_start", ne.Uint64(b[312:]), 0},
		{"length", ne.Uint64(b[320:]), 40},
	} {
		if c.got != c.want {
			t.Errorf("%s = %d, want %d", c.what, c.got, c.want)
		}
	}
	for at, want := range map[int]string{48: "root\x00", 176: "CRYPT-VERITY-x-root\x00", 336: "verity\x00", 352: "1 a b\x00"} {
		if got := string(b[at : at+len(want)]); got != want {
			t.Errorf("at %d: %q, want %q", at, got, want)
		}
	}
	ne.PutUint64(b[40:], 253<<8|5|3<<20)
	if got := dmMinor(b); got != 3<<8|5 {
		t.Errorf("dmMinor = %d", got)
	}
	if _, err := (dmRequest{uuid: strings.Repeat("u", 129)}).encode(); err == nil {
		t.Error("a long uuid is taken")
	}
	v := VerityDevice{Name: "root", Super: Superblock{UUID: [16]byte{0xab, 1}}}
	if got := v.dmUUID(); got != "CRYPT-VERITY-"+hex.EncodeToString([]byte{0xab, 1})+strings.Repeat("0", 28)+"-root" {
		t.Errorf("dmUUID = %s", got)
	}
}
