package roles

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Bytes is a size in bytes. In role files it is written with a binary unit, as
// 512MiB; in JSON it is the plain number.
type Bytes int64

// units of IEC 80000-13, largest first.
func byteUnits() []struct {
	name string
	size Bytes
} {
	return []struct {
		name string
		size Bytes
	}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}}
}

// ParseBytes reads a whole number with one of the units KiB, MiB, GiB and TiB.
func ParseBytes(s string) (Bytes, error) {
	for _, u := range byteUnits() {
		digits, ok := strings.CutSuffix(s, u.name)
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSpace(digits), 10, 64)
		if err != nil || n < 0 || Bytes(n) > math.MaxInt64/u.size {
			break
		}
		return Bytes(n) * u.size, nil
	}
	return 0, fmt.Errorf("size %q is not a whole number with KiB, MiB, GiB or TiB, such as 512MiB", s)
}

// String writes the size with the largest unit that leaves a whole number.
func (b Bytes) String() string {
	for _, u := range byteUnits() {
		if b != 0 && b%u.size == 0 {
			return fmt.Sprintf("%d%s", b/u.size, u.name)
		}
	}
	return fmt.Sprintf("%d bytes", int64(b))
}
