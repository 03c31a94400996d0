package rootfs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// The layout of an ar archive as deb(5) and ar(5) describe it: a magic line,
// then members, each with a header of 60 bytes and padded to an even offset.
const (
	arMagic      = "!<arch>\n"
	arHeaderSize = 60
	arHeaderEnd  = "`\n"
	maxArMembers = 16 // a .deb has three; deb(5) allows some more whose name begins with _
)

// A debFile is an opened .deb: where its two archives lie and how they are
// compressed. The reader must stay open while the sections are read.
type debFile struct {
	control, data             *io.SectionReader
	controlFormat, dataFormat string // "xz", "zst", "gz" or "" (plain tar)
}

// readDeb finds the members of the .deb r of size bytes (deb(5): debian-binary,
// control.tar.*, data.tar.*, in this order; members whose name begins with an
// underscore are skipped).
func readDeb(r io.ReaderAt, size int64) (debFile, error) {
	var d debFile
	magic := make([]byte, len(arMagic))
	if _, err := r.ReadAt(magic, 0); err != nil || string(magic) != arMagic {
		return d, errors.New("not a Debian package: no ar magic at its start")
	}
	var seen []string
	for off := int64(len(arMagic)); off < size; {
		if len(seen) == maxArMembers {
			return d, fmt.Errorf("more than %d members in the package's ar archive", maxArMembers)
		}
		name, length, err := readArHeader(r, off, size)
		if err != nil {
			return d, err
		}
		off += arHeaderSize
		if err := d.take(name, io.NewSectionReader(r, off, length), len(seen)); err != nil {
			return d, err
		}
		if !strings.HasPrefix(name, "_") {
			seen = append(seen, name)
		}
		if d.data != nil {
			return d, nil // whatever follows is not part of the format's version 2.0
		}
		off += length + length%2
	}
	return d, fmt.Errorf("package ends without its data archive; it has the members %q", seen)
}

// readArHeader reads the member header at off.
func readArHeader(r io.ReaderAt, off, size int64) (name string, length int64, err error) {
	var h [arHeaderSize]byte
	if _, err := r.ReadAt(h[:], off); err != nil {
		return "", 0, fmt.Errorf("read ar header at byte %d: %w", off, err)
	}
	if string(h[58:60]) != arHeaderEnd {
		return "", 0, fmt.Errorf("ar header at byte %d has no end mark", off)
	}
	name = strings.TrimSuffix(strings.TrimRight(string(h[:16]), " "), "/")
	length, err = strconv.ParseInt(strings.TrimRight(string(h[48:58]), " "), 10, 64)
	if err != nil || length < 0 {
		return "", 0, fmt.Errorf("ar member %q has the size %q", name, h[48:58])
	}
	if length > size-off-arHeaderSize {
		return "", 0, fmt.Errorf("ar member %q of %d bytes is longer than the rest of the package (%d bytes): the file is cut short", name, length, size-off-arHeaderSize)
	}
	return name, length, nil
}

// take notes the member name, the n-th that counts.
func (d *debFile) take(name string, body *io.SectionReader, n int) error {
	switch {
	case strings.HasPrefix(name, "_"):
		return nil
	case n == 0:
		return checkDebianBinary(name, body)
	case n == 1:
		format, ok := archiveFormat(name, "control.tar")
		if !ok {
			return fmt.Errorf("member %q where control.tar, .xz, .zst or .gz must be", name)
		}
		d.control, d.controlFormat = body, format
	default:
		format, ok := archiveFormat(name, "data.tar")
		if !ok {
			return fmt.Errorf("member %q where data.tar, .xz, .zst or .gz must be", name)
		}
		d.data, d.dataFormat = body, format
	}
	return nil
}

func checkDebianBinary(name string, body *io.SectionReader) error {
	text := make([]byte, 4)
	n, _ := body.ReadAt(text, 0)
	if name != "debian-binary" || !bytes.HasPrefix(text[:n], []byte("2.")) {
		return fmt.Errorf("member %q with %q where debian-binary with version 2.x must be", name, text[:n])
	}
	return nil
}

// archiveFormat splits "data.tar.xz" into its known stem and its compression.
func archiveFormat(name, stem string) (format string, ok bool) {
	rest, ok := strings.CutPrefix(name, stem)
	if !ok {
		return "", false
	}
	switch rest {
	case "":
		return "", true
	case ".xz", ".zst", ".gz":
		return rest[1:], true
	}
	return "", false
}
