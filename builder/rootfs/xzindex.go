package rootfs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// Sizes of the .xz container's parts (The .xz File Format 1.2.1, §2.1).
const (
	xzHeaderSize = 12
	xzFooterSize = 12
	xzMaxIndex   = 1 << 20 // bytes; one record of at most 18 bytes a block, so 60 000 blocks
	xzMaxPlain   = 1 << 36 // bytes; no Debian package comes near 64 GiB
)

var errXZ = errors.New("damaged .xz container")

// xzPlainSize returns how many bytes the .xz file r of size bytes decodes to,
// from its index alone. One decoder process can so decode many packages after
// one another, and the reader knows where each ends.
func xzPlainSize(r io.ReaderAt, size int64) (int64, error) {
	var plain int64
	for end := size; end > 0; {
		start, n, err := xzStream(r, end)
		if err != nil {
			return 0, err
		}
		if plain += n; plain > xzMaxPlain {
			return 0, fmt.Errorf("%w: more than %d bytes", errXZ, int64(xzMaxPlain))
		}
		end = start
	}
	return plain, nil
}

// xzStream reads the stream that ends at end, from its footer back, and
// returns where it starts and its decoded size (§2.1.2, §4).
func xzStream(r io.ReaderAt, end int64) (start, plain int64, err error) {
	if end < xzHeaderSize+xzFooterSize || end%4 != 0 {
		return 0, 0, fmt.Errorf("%w: cut short", errXZ)
	}
	var foot [xzFooterSize]byte
	if _, err := r.ReadAt(foot[:], end-xzFooterSize); err != nil {
		return 0, 0, fmt.Errorf("read .xz footer: %w", err)
	}
	if string(foot[10:]) != "YZ" || crc32.ChecksumIEEE(foot[4:10]) != binary.LittleEndian.Uint32(foot[:4]) {
		return 0, 0, fmt.Errorf("%w: no stream footer", errXZ)
	}
	indexSize := (int64(binary.LittleEndian.Uint32(foot[4:8])) + 1) * 4
	indexAt := end - xzFooterSize - indexSize
	if indexSize > xzMaxIndex || indexAt < xzHeaderSize {
		return 0, 0, fmt.Errorf("%w: index of %d bytes", errXZ, indexSize)
	}
	index := make([]byte, indexSize)
	if _, err := r.ReadAt(index, indexAt); err != nil {
		return 0, 0, fmt.Errorf("read .xz index: %w", err)
	}
	packed, plain, err := xzIndex(index)
	if err != nil {
		return 0, 0, err
	}
	if start = indexAt - packed - xzHeaderSize; start < 0 {
		return 0, 0, fmt.Errorf("%w: blocks of %d bytes do not fit", errXZ, packed)
	}
	return start, plain, nil
}

// xzIndex sums the records of an index: the blocks' padded and decoded sizes.
func xzIndex(b []byte) (packed, plain int64, err error) {
	body := b[:len(b)-4]
	if crc32.ChecksumIEEE(body) != binary.LittleEndian.Uint32(b[len(b)-4:]) || body[0] != 0 {
		return 0, 0, fmt.Errorf("%w: index checksum", errXZ)
	}
	body = body[1:]
	next := func() uint64 {
		v, n := binary.Uvarint(body) // §1.2: the same encoding, at most 63 bits
		if n <= 0 || v > xzMaxPlain {
			err = fmt.Errorf("%w: number in the index", errXZ)
			return 0
		}
		body = body[n:]
		return v
	}
	for records := next(); records > 0 && err == nil; records-- {
		packed += (int64(next()) + 3) &^ 3
		if plain += int64(next()); plain > xzMaxPlain || packed > xzMaxPlain {
			return 0, 0, fmt.Errorf("%w: more than %d bytes", errXZ, int64(xzMaxPlain))
		}
	}
	return packed, plain, err
}
