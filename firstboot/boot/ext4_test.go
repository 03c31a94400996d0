package boot

import (
	"encoding/binary"
	"testing"
)

// ext4Head is the first 2 KiB of a file system, with the fields that count.
func ext4Head(low, high, shift, incompat uint32) []byte {
	b := make([]byte, 2048)
	le := binary.LittleEndian
	le.PutUint16(b[1024+0x38:], 0xef53)
	le.PutUint32(b[1024+0x4:], low)
	le.PutUint32(b[1024+0x150:], high)
	le.PutUint32(b[1024+0x18:], shift)
	le.PutUint32(b[1024+0x60:], incompat)
	return b
}

func TestExt4Size(t *testing.T) {
	for name, c := range map[string]struct {
		head []byte
		want int64 // 0: refused
	}{
		"32 bit":         {ext4Head(4352, 7, 2, 0x2c2&^0x80), 4352 * 4096},
		"64 bit":         {ext4Head(4352, 1, 2, 0x2c2), (1<<32 + 4352) * 4096},
		"blocks of 1 KB": {ext4Head(100, 0, 0, 0), 100 << 10},
		"no blocks":      {ext4Head(0, 0, 2, 0), 0},
		"large blocks":   {ext4Head(1, 0, 7, 0), 0},
		"overflow":       {ext4Head(0, 1<<31, 2, 0x80), 0},
		"no ext4":        {make([]byte, 2048), 0},
		"short":          {ext4Head(1, 0, 2, 0)[:2047], 0},
	} {
		got, err := ext4Size(c.head)
		if got != c.want || (err == nil) != (c.want > 0) {
			t.Errorf("%s: %d, %v; want %d", name, got, err, c.want)
		}
	}
}

func FuzzExt4Size(f *testing.F) {
	f.Add(ext4Head(4352, 0, 2, 0x2c2))
	f.Fuzz(func(t *testing.T, head []byte) {
		if n, err := ext4Size(head); err == nil && n <= 0 {
			t.Errorf("%d bytes", n)
		}
	})
}
