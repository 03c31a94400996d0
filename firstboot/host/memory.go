package host

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// ReleaseProgram gives back the memory of this program's own code and constants
// that only its start used. What is used again comes back from the page cache:
// a private mapping of a file that nobody wrote to can be dropped at any time
// (madvise(2), MADV_DONTNEED).
func ReleaseProgram() error {
	path, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return fmt.Errorf("release the program's memory: %w", err)
	}
	maps, err := os.Open("/proc/self/maps")
	if err != nil {
		return fmt.Errorf("release the program's memory: %w", err)
	}
	defer maps.Close()
	ranges, err := unwritable(maps, path)
	if err != nil {
		return fmt.Errorf("release the program's memory: %w", err)
	}
	for _, r := range ranges {
		if _, _, errno := unix.Syscall(unix.SYS_MADVISE, r.from, r.to-r.from, unix.MADV_DONTNEED); errno != 0 {
			return fmt.Errorf("release the program's memory: %w", errno)
		}
	}
	return nil
}

// A memoryRange is one of addresses, without its end.
type memoryRange struct{ from, to uintptr }

// unwritable lists the ranges of a file that are mapped private and not
// writable, from the text of /proc/PID/maps (proc_pid_maps(5)).
func unwritable(maps io.Reader, path string) ([]memoryRange, error) {
	var found []memoryRange
	lines := bufio.NewScanner(maps)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) != 6 || fields[5] != path || len(fields[1]) != 4 || fields[1][1] != '-' || fields[1][3] != 'p' {
			continue
		}
		from, to, _ := strings.Cut(fields[0], "-")
		a, err := strconv.ParseUint(from, 16, 64)
		if err != nil {
			return nil, err
		}
		b, err := strconv.ParseUint(to, 16, 64)
		if err != nil || b < a {
			return nil, fmt.Errorf("%q is no range of addresses", fields[0])
		}
		found = append(found, memoryRange{uintptr(a), uintptr(b)})
	}
	return found, lines.Err()
}
