package source

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// An extent is where a file's bytes lie on a device.
type extent struct{ at, size int64 }

// overwriteISO puts content in place of files of an ISO 9660 file system that
// lies on a partition, as Ironic writes a config drive. The kernel mounts it for
// reading only, so the bytes are found here; was is what the kernel read there,
// and what is not the same is not touched.
func overwriteISO(device string, was, content map[string][]byte) error {
	f, err := os.OpenFile(device, os.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	for name, data := range content {
		e, err := findISO(f, name)
		if err != nil {
			return fmt.Errorf("find %s: %w", name, err)
		}
		there := make([]byte, len(data))
		_, err = f.ReadAt(there, e.at)
		if err == nil && bytes.Equal(there, data) {
			continue // files of one content may lie at one place
		}
		if err != nil || e.size != int64(len(data)) || !bytes.Equal(there, was[name]) {
			return fmt.Errorf("find %s: it is not where the file system says", name)
		}
		if _, err := f.WriteAt(data, e.at); err != nil {
			return fmt.Errorf("overwrite %s: %w", name, err)
		}
	}
	return f.Sync()
}

const (
	isoSector    = 2048
	maxDirectory = 1 << 20 // bytes
)

// findISO finds a file by its path, in names of Rock Ridge or else of ISO 9660
// (ECMA-119 §§8.4 and 9.1; IEEE P1282 §4.1.4).
func findISO(r io.ReaderAt, path string) (extent, error) {
	volume := make([]byte, isoSector)
	if _, err := r.ReadAt(volume, 16*isoSector); err != nil || volume[0] != 1 || string(volume[1:6]) != "CD001" {
		return extent{}, errors.New("no ISO 9660 volume")
	}
	here := recordExtent(volume[156:])
	folder := true
	for part := range strings.SplitSeq(path, "/") {
		if !folder {
			return extent{}, errors.New("a part of the path is not a folder")
		}
		if here.size > maxDirectory {
			return extent{}, errors.New("a folder is too large")
		}
		data := make([]byte, here.size)
		if _, err := r.ReadAt(data, here.at); err != nil {
			return extent{}, err
		}
		record := findRecord(data, part)
		if record == nil {
			return extent{}, fmt.Errorf("no %s", part)
		}
		const directory, more = 0x02, 0x80
		if record[25]&more != 0 {
			return extent{}, fmt.Errorf("%s lies in several parts", part)
		}
		here, folder = recordExtent(record), record[25]&directory != 0
	}
	if folder {
		return extent{}, errors.New("a folder, not a file")
	}
	return here, nil
}

// recordExtent reads a directory record of at least 34 bytes. Numbers stand in
// both byte orders, the little one first.
func recordExtent(record []byte) extent {
	return extent{int64(binary.LittleEndian.Uint32(record[2:])) * isoSector, int64(binary.LittleEndian.Uint32(record[10:]))}
}

// findRecord finds the record of a name in a folder. A record never crosses a
// sector's end: there, zeros follow the last one.
func findRecord(data []byte, name string) []byte {
	for sector := range slices.Chunk(data, isoSector) {
		for len(sector) >= 34 && int(sector[0]) >= 34 && int(sector[0]) <= len(sector) {
			record := sector[:sector[0]]
			if recordName(record) == name {
				return record
			}
			sector = sector[sector[0]:]
		}
	}
	return nil
}

// recordName returns the NM entry of Rock Ridge, else the name in small letters
// and without its version.
func recordName(record []byte) string {
	end := 33 + int(record[32])
	if end > len(record) {
		return ""
	}
	plain, _, _ := strings.Cut(strings.ToLower(string(record[33:end])), ";")
	use := record[min(len(record), end+(end&1)):] // system use begins at an even byte
	for len(use) >= 4 && int(use[2]) >= 4 && int(use[2]) <= len(use) {
		const head = 5 // "NM", length, version, flags; no flag: the whole name
		if string(use[:2]) == "NM" && int(use[2]) >= head && use[4] == 0 {
			return string(use[head:use[2]])
		}
		use = use[use[2]:]
	}
	return strings.TrimSuffix(plain, ".")
}
