package node

import (
	"fmt"
	"strconv"
	"strings"
)

// A Size counts bytes. It is written as a whole number with one of the units
// KiB, MiB and GiB.
type Size int64

type sizeUnit struct {
	name string
	size Size
}

func sizeUnits() []sizeUnit {
	return []sizeUnit{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}}
}

// ParseSize reads a size such as 128MiB.
func ParseSize(s string) (Size, error) {
	for _, u := range sizeUnits() {
		number, found := strings.CutSuffix(s, u.name)
		if !found {
			continue
		}
		n, err := strconv.ParseInt(number, 10, 32)
		if err != nil || n < 1 || n > 1<<20 {
			break
		}
		return Size(n) * u.size, nil
	}
	return 0, fmt.Errorf("%q is not a size; write a whole number and KiB, MiB or GiB, such as 128MiB", s)
}

// String writes the size as ParseSize reads it.
func (s Size) String() string {
	for _, u := range sizeUnits() {
		if s >= u.size && s%u.size == 0 {
			return strconv.FormatInt(int64(s/u.size), 10) + u.name
		}
	}
	return strconv.FormatInt(int64(s), 10)
}

// MiB returns the size in whole MiB, as services' files want it.
func (s Size) MiB() int64 { return int64(s >> 20) }
