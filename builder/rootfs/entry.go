package rootfs

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
)

// The kinds of an entry.
const (
	kindFile    = "f"
	kindDir     = "d"
	kindSymlink = "l"
	kindHard    = "h" // another name of a file earlier in the same package
)

// An entry is one path of a package's data archive.
type entry struct {
	Path   string            `json:"p"`           // relative to the root, clean; "." is the root itself
	Kind   string            `json:"k"`           // kindFile, …
	Mode   uint32            `json:"m,omitempty"` // permission bits with setuid, setgid and sticky (07777)
	UID    int               `json:"u,omitempty"`
	GID    int               `json:"g,omitempty"`
	User   string            `json:"un,omitempty"` // names as in the archive; dpkg prefers them to the numbers
	Group  string            `json:"gn,omitempty"`
	MTime  int64             `json:"t,omitempty"`  // seconds since 1970
	Size   int64             `json:"s,omitempty"`  // bytes, of a file
	Link   string            `json:"l,omitempty"`  // target of a symbolic link; path of a hard link's file
	File   int               `json:"n,omitempty"`  // number of the content in the store, from 1; 0 when there is none
	MD5    string            `json:"h,omitempty"`  // of conffiles, and of all files of a package without md5sums
	Xattrs map[string]string `json:"x,omitempty"`  // security.capability and user.* only
	Key    bool              `json:"pk,omitempty"` // the content holds a private key
	Out    bool              `json:"o,omitempty"`  // left out by the path-exclude table
}

// Bounds on what a data archive may hold.
const (
	maxEntries   = 1 << 20
	maxPathBytes = 4000 // PATH_MAX is 4096
	maxDepth     = 64   // directories
	maxXattrs    = 64 << 10
)

// A contentSink takes the content of the regular files, in order, and returns
// the number that each is kept under.
type contentSink func(e *entry, r io.Reader) error

// readEntries reads the tar archive r, hands the content of every file that is
// not left out to sink and returns the entries in the archive's order. It
// refuses what has no place in a package: absolute names, "..", device nodes
// and other special files, unknown types, two entries of one name.
func readEntries(r io.Reader, sink contentSink) ([]entry, error) {
	var list []entry
	seen := map[string]int{} // path → index in list
	tr := tar.NewReader(r)
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return list, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read its data archive after %d entries: %w", len(list), err)
		}
		if len(list) == maxEntries {
			return nil, fmt.Errorf("more than %d entries in its data archive", maxEntries)
		}
		e, err := newEntry(h)
		if err != nil {
			return nil, err
		}
		if dup, ok := seen[e.Path]; ok {
			if list[dup].Kind == kindDir && e.Kind == kindDir {
				continue
			}
			return nil, fmt.Errorf("path /%s is in its data archive twice", e.Path)
		}
		if e.Kind == kindHard {
			if err := e.linkTo(list, seen); err != nil {
				return nil, err
			}
		}
		if e.Kind == kindFile && !e.Out {
			if err := sink(&e, tr); err != nil {
				return nil, fmt.Errorf("unpack /%s: %w", e.Path, err)
			}
		}
		seen[e.Path] = len(list)
		list = append(list, e)
	}
}

// newEntry turns a tar header into an entry, or says why it may not be one.
func newEntry(h *tar.Header) (entry, error) {
	name, err := cleanName(h.Name)
	if err != nil {
		return entry{}, err
	}
	e := entry{Path: name, Mode: uint32(h.Mode) & 0o7777, UID: h.Uid, GID: h.Gid, MTime: h.ModTime.Unix()}
	if h.Uname != "root" {
		e.User = h.Uname
	}
	if h.Gname != "root" {
		e.Group = h.Gname
	}
	if h.Uid < 0 || h.Gid < 0 || h.Uid > 1<<31 || h.Gid > 1<<31 {
		return entry{}, fmt.Errorf("path /%s has the owner %d:%d", name, h.Uid, h.Gid)
	}
	switch h.Typeflag {
	case tar.TypeReg:
		e.Kind, e.Size = kindFile, h.Size
	case tar.TypeDir:
		e.Kind = kindDir
	case tar.TypeSymlink:
		e.Kind, e.Link = kindSymlink, h.Linkname
		if e.Link == "" || len(e.Link) > maxPathBytes || strings.ContainsRune(e.Link, 0) {
			return entry{}, fmt.Errorf("path /%s is a symbolic link to %q", name, e.Link)
		}
	case tar.TypeLink:
		e.Kind = kindHard
		if e.Link, err = cleanName(h.Linkname); err != nil {
			return entry{}, fmt.Errorf("path /%s is a hard link: %w", name, err)
		}
	case tar.TypeChar, tar.TypeBlock:
		return entry{}, fmt.Errorf("path /%s is a device node, which no package may hold", name)
	default:
		return entry{}, fmt.Errorf("path /%s is of the tar type %q, which no package may hold", name, h.Typeflag)
	}
	e.Out = excluded("/"+name, e.Kind)
	return e, e.takeXattrs(h)
}

// linkTo makes e another name of a file that came before it.
func (e *entry) linkTo(list []entry, seen map[string]int) error {
	i, ok := seen[e.Link]
	if !ok || list[i].Kind != kindFile && list[i].Kind != kindHard {
		return fmt.Errorf("path /%s is a hard link to /%s, which is no file before it", e.Path, e.Link)
	}
	target := list[i]
	if target.File == 0 && !e.Out && !target.Out {
		return fmt.Errorf("path /%s is a hard link to /%s, which has no content", e.Path, e.Link)
	}
	if target.Out != e.Out {
		return fmt.Errorf("path /%s is a hard link to /%s and only one of them is left out of images", e.Path, e.Link)
	}
	e.File, e.Size, e.MD5, e.Xattrs, e.Key = target.File, target.Size, target.MD5, target.Xattrs, target.Key
	e.Mode, e.UID, e.GID, e.User, e.Group, e.MTime = target.Mode, target.UID, target.GID, target.User, target.Group, target.MTime
	return nil
}

// takeXattrs keeps the extended attributes that a package may set.
func (e *entry) takeXattrs(h *tar.Header) error {
	size := 0
	for key, value := range h.PAXRecords {
		name, ok := strings.CutPrefix(key, "SCHILY.xattr.")
		if !ok {
			continue
		}
		if name != "security.capability" && !strings.HasPrefix(name, "user.") || strings.HasPrefix(name, "user.overlay.") {
			return fmt.Errorf("path /%s has the extended attribute %q, which no package may set", e.Path, name)
		}
		if size += len(name) + len(value); size > maxXattrs {
			return fmt.Errorf("path /%s has more than %d bytes of extended attributes", e.Path, maxXattrs)
		}
		if e.Xattrs == nil {
			e.Xattrs = map[string]string{}
		}
		e.Xattrs[name] = value
	}
	return nil
}

// cleanName checks a name of an archive and returns it relative and clean.
func cleanName(name string) (string, error) {
	switch {
	case name == "" || strings.HasPrefix(name, "/"):
		return "", fmt.Errorf("path %q is not relative to the root", name)
	case len(name) > maxPathBytes:
		return "", fmt.Errorf("path %.60q… is longer than %d bytes", name, maxPathBytes)
	case strings.ContainsAny(name, "\x00\n\r"):
		return "", fmt.Errorf("path %q holds a control character", name)
	case strings.Count(name, "/") > maxDepth:
		return "", fmt.Errorf("path %.60q… is deeper than %d directories", name, maxDepth)
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == ".." {
			return "", fmt.Errorf("path %q has .. in it, which climbs out of the root", name)
		}
	}
	return path.Clean(name), nil
}
