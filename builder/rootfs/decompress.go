package rootfs

import (
	"compress/gzip"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

// maxWindow bounds what the zstd decompressor keeps in memory: --ultra -22
// needs 128 MiB.
const maxWindow = 256 << 20

// decompress returns a reader of the plain bytes of r, decoded in this process.
func decompress(format string, r io.Reader) (io.ReadCloser, error) {
	switch format {
	case "":
		return io.NopCloser(r), nil
	case "gz":
		return gzip.NewReader(r)
	case "zst":
		d, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, err
		}
		return d.IOReadCloser(), nil
	case "xz":
		// DictCap is the least that is allocated for each block: as small as can
		// be, since the control archives are.
		d, err := xz.ReaderConfig{DictCap: 64 << 10}.NewReader(r)
		if err != nil {
			return nil, err
		}
		return io.NopCloser(d), nil
	}
	return nil, fmt.Errorf("unknown compression %q", format)
}
