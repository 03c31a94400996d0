package builder

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"syscall"
	"time"

	"trivet/roles"
)

// cacheKinds are the folders of the cache, each with what it holds and how
// deep below it the entries lie that can be removed one by one.
func cacheKinds() []cacheKind {
	return []cacheKind{
		{"apt", "indices of the archive and resolved sets", 1},
		{"debs", "package files, by digest", 2},
		{"unpacked", "package files, decompressed", 2},
		{"bytecode", "compiled Python, by package", 2},
		{"layers", "configured package layers", 1},
		{"tools", "the image tools", 1},
		{"initrd", "initrds, by kernel", 1},
		{"packed", "compressed layers", 1},
		{"sealed", "compressed roots with their hash trees", 1},
	}
}

// A cacheKind is one folder of the cache.
type cacheKind struct {
	name, about string
	depth       int
}

// A Usage is the size of each kind of cached thing.
type Usage struct {
	Dir   string      `json:"dir"`
	Kinds []KindUsage `json:"kinds"`
}

// A KindUsage is one folder of the cache.
type KindUsage struct {
	Name    string `json:"name"`
	About   string `json:"about"`
	Entries int    `json:"entries"`
	Bytes   int64  `json:"bytes"` // on disk
}

// CacheUsage measures the cache below dir.
func CacheUsage(dir string) (Usage, error) {
	u := Usage{Dir: dir}
	for _, k := range cacheKinds() {
		entries, err := cacheEntries(filepath.Join(dir, k.name), k.depth)
		if err != nil {
			return Usage{}, err
		}
		ku := KindUsage{Name: k.name, About: k.about, Entries: len(entries)}
		for _, e := range entries {
			ku.Bytes += e.bytes
		}
		u.Kinds = append(u.Kinds, ku)
	}
	return u, nil
}

func (u Usage) String() string {
	var w strings.Builder
	var total int64
	for _, k := range u.Kinds {
		fmt.Fprintf(&w, "%-9s %6d entries %8d MiB  %s\n", k.Name, k.Entries, k.Bytes>>20, k.About)
		total += k.Bytes
	}
	fmt.Fprintf(&w, "%-9s %14s %8d MiB  %s\n", "total", "", total>>20, u.Dir)
	return w.String()
}

// A cacheEntry is one thing that can be removed by itself.
type cacheEntry struct {
	path  string
	bytes int64
	used  time.Time
}

// cacheEntries lists the entries depth levels below dir.
func cacheEntries(dir string, depth int) ([]cacheEntry, error) {
	paths, err := filepath.Glob(dir + strings.Repeat("/*", depth))
	if err != nil {
		return nil, fmt.Errorf("list the cache: %w", err)
	}
	var list []cacheEntry
	for _, p := range paths {
		e := cacheEntry{path: p}
		if err := e.measure(); err != nil {
			return nil, fmt.Errorf("measure the cache: %w", err)
		}
		if strings.HasPrefix(filepath.Base(p), ".") {
			e.used = time.Time{} // what a killed build left: the first to go
		}
		list = append(list, e)
	}
	return list, nil
}

// measure adds up the blocks on disk; the time of use is the newest of the
// entry's own times, which builds renew when they take it.
func (e *cacheEntry) measure() error {
	info, err := os.Lstat(e.path)
	if err != nil {
		return err
	}
	e.used = info.ModTime()
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		if c := time.Unix(st.Ctim.Unix()); c.After(e.used) {
			e.used = c
		}
	}
	return filepath.WalkDir(e.path, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if st, ok := info.Sys().(*syscall.Stat_t); ok {
			e.bytes += st.Blocks * 512 // stat(2): blocks of 512 bytes
		}
		return nil
	})
}

// PruneCache removes the entries that were not used for longest until at most
// keep (such as "10GiB") is left, and returns the bytes freed. It refuses
// while a build runs.
func PruneCache(ctx context.Context, dir, keep string) (int64, error) {
	limit, err := roles.ParseBytes(keep)
	if err != nil {
		return 0, fmt.Errorf("read --keep: %w", err)
	}
	unlock, err := lockCache(dir, true)
	if err != nil {
		return 0, err
	}
	defer unlock()
	var all []cacheEntry
	var total, freed int64
	for _, k := range cacheKinds() {
		list, err := cacheEntries(filepath.Join(dir, k.name), k.depth)
		if err != nil {
			return 0, err
		}
		all = append(all, list...)
	}
	for _, e := range all {
		total += e.bytes
	}
	sort.Slice(all, func(i, j int) bool { return all[i].used.Before(all[j].used) })
	for _, e := range all {
		if total-freed <= int64(limit) || ctx.Err() != nil {
			break
		}
		if err := discard(dir, e.path); err != nil {
			return freed, fmt.Errorf("prune the cache: %w", err)
		}
		freed += e.bytes
	}
	return freed, ctx.Err()
}

// discard removes one entry. It is moved aside first: a prune that is killed
// must not leave half an entry under a name that counts as whole. Builds clear
// what lies in tmp.
func discard(dir, entry string) error {
	aside := filepath.Join(dir, "tmp")
	if err := os.MkdirAll(aside, 0o755); err != nil {
		return err
	}
	grave, err := os.MkdirTemp(aside, "prune-")
	if err != nil {
		return err
	}
	if err := os.Rename(entry, filepath.Join(grave, filepath.Base(entry))); err != nil {
		return err
	}
	return os.RemoveAll(grave)
}

// lockOut takes the lock of the directory that artifacts go to: two builds
// that write there at a time would mix theirs.
func lockOut(dir string) (unlock func(), err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make the output directory: %w", err)
	}
	f, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("open the output directory: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: another build is writing there; wait for it, or give another --out", dir)
	}
	return func() { f.Close() }, nil
}

// lockCache takes the cache's lock: shared for a build, exclusive for a prune,
// so that nothing is removed under a build. The kernel drops it with the process.
func lockCache(dir string, exclusive bool) (unlock func(), err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make the cache: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open the cache's lock: %w", err)
	}
	how := syscall.LOCK_SH
	if exclusive {
		how = syscall.LOCK_EX
	}
	if err := syscall.Flock(int(f.Fd()), how|syscall.LOCK_NB); err != nil {
		f.Close()
		if exclusive {
			return nil, fmt.Errorf("lock the cache %s: a build is running; prune when it is done", dir)
		}
		return nil, fmt.Errorf("lock the cache %s: it is being pruned; build again when that is done", dir)
	}
	return func() { f.Close() }, nil
}
