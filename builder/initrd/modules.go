package initrd

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"sort"
	"strings"

	"github.com/cavaliergopher/cpio"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
	"golang.org/x/sync/errgroup"
)

// Limits on what is read below the modules' directory.
const (
	maxIndex  = 64 << 20 // bytes of modules.dep and its like
	maxModule = 64 << 20 // bytes of one module
)

// index is what depmod(8) wrote: all by normalized names.
type index struct {
	files    map[string]string   // module → path below the directory
	deps     map[string][]string // module → modules that it depends on, directly or not
	builtin  map[string]bool
	softdeps map[string][]string // module → names or aliases
	aliases  map[string][]string // alias without wildcards → modules
}

// normal is a module's name as the kernel has it: - is _.
func normal(name string) string { return strings.ReplaceAll(name, "-", "_") }

// nameOf is the module in the file p.
func nameOf(p string) string {
	base, _, _ := strings.Cut(path.Base(p), ".ko")
	return normal(base)
}

func readIndex(dir string) (index, error) {
	x := index{map[string]string{}, map[string][]string{}, map[string]bool{}, map[string][]string{}, map[string][]string{}}
	for _, f := range []struct {
		name     string
		required bool
		line     func(string) error
	}{
		{"modules.dep", true, x.depLine},
		{"modules.builtin", true, func(l string) error { x.builtin[nameOf(l)] = true; return nil }},
		{"modules.softdep", false, x.softdepLine},
		{"modules.alias", true, x.aliasLine},
	} {
		raw, err := readFile(filepath.Join(dir, f.name), maxIndex)
		if errors.Is(err, fs.ErrNotExist) && !f.required {
			continue
		}
		if errors.Is(err, fs.ErrNotExist) {
			return x, fmt.Errorf("%w: depmod, which the kernel package runs when it is configured, did not write it", err)
		}
		if err == nil {
			err = eachLine(raw, f.line)
		}
		if err != nil {
			return x, fmt.Errorf("read %s: %w", f.name, err)
		}
	}
	return x, nil
}

// eachLine calls do with each line that is neither empty nor a comment.
func eachLine(raw []byte, do func(string) error) error {
	s := bufio.NewScanner(bytes.NewReader(raw))
	s.Buffer(nil, 1<<20)
	for n := 1; s.Scan(); n++ {
		line := strings.TrimSpace(s.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		if err := do(line); err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
	}
	return s.Err()
}

// depLine reads "PATH: PATH…" (modules.dep(5)).
func (x index) depLine(line string) error {
	file, deps, ok := strings.Cut(line, ":")
	if !ok || !filepath.IsLocal(file) || !strings.Contains(file, ".ko") {
		return fmt.Errorf("%q is not PATH: PATH…", line)
	}
	name := nameOf(file)
	x.files[name] = path.Clean(file)
	for _, d := range strings.Fields(deps) {
		x.deps[name] = append(x.deps[name], nameOf(d))
	}
	return nil
}

// softdepLine reads "softdep NAME [pre: NAME…] [post: NAME…]" (modprobe.d(5)).
func (x index) softdepLine(line string) error {
	fields := strings.Fields(line)
	if len(fields) < 2 || fields[0] != "softdep" {
		return fmt.Errorf("%q is not softdep NAME …", line)
	}
	for _, f := range fields[2:] {
		if f != "pre:" && f != "post:" {
			x.softdeps[normal(fields[1])] = append(x.softdeps[normal(fields[1])], f)
		}
	}
	return nil
}

// aliasLine reads "alias PATTERN NAME" and keeps the patterns that are plain
// names, as soft dependencies use them.
func (x index) aliasLine(line string) error {
	alias, name, err := cutAlias(line)
	if err == nil && !strings.ContainsAny(alias, "*?[") {
		x.aliases[normal(alias)] = append(x.aliases[normal(alias)], normal(name))
	}
	return err
}

// cutAlias takes the line apart from its ends: a pattern may hold spaces.
func cutAlias(line string) (alias, name string, err error) {
	rest, ok := strings.CutPrefix(line, "alias ")
	i := strings.LastIndexByte(rest, ' ')
	if !ok || i < 1 {
		return "", "", fmt.Errorf("%q is not alias PATTERN NAME", line)
	}
	return rest[:i], rest[i+1:], nil
}

// selected is the set of modules that names ask for, with all that they depend
// on.
func (x index) selected(names []string) (map[string]bool, error) {
	out := map[string]bool{}
	var missing []string
	for _, name := range names {
		name, optional := strings.CutSuffix(name, "?")
		name = normal(name)
		if x.files[name] != "" {
			x.add(out, name)
		} else if !x.builtin[name] && !optional {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		sort.Strings(missing)
		return nil, fmt.Errorf("the kernel has no module %s, neither as a file nor built in", strings.Join(missing, ", "))
	}
	return out, nil
}

func (x index) add(out map[string]bool, name string) {
	if out[name] || x.files[name] == "" {
		return
	}
	out[name] = true
	for _, d := range x.deps[name] {
		x.add(out, d)
	}
	// What a soft dependency names need not exist (modprobe.d(5)).
	for _, d := range x.softdeps[name] {
		x.add(out, normal(d))
		for _, m := range x.aliases[normal(d)] {
			x.add(out, m)
		}
	}
}

// moduleFiles returns the modules and their index files as entries below
// usr/lib/modules/VERSION.
func moduleFiles(ctx context.Context, in Inputs) ([]entry, error) {
	x, err := readIndex(in.Modules)
	if err != nil {
		return nil, err
	}
	names := in.Names
	if names == nil {
		names = DefaultModules()
	}
	set, err := x.selected(names)
	if err != nil {
		return nil, err
	}
	sorted := make([]string, 0, len(set))
	for name := range set {
		sorted = append(sorted, name)
	}
	sort.Strings(sorted)
	base := path.Join("usr/lib/modules", filepath.Base(in.Modules))
	files := make([]entry, len(sorted))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i, name := range sorted {
		g.Go(func() error {
			data, err := readModule(ctx, filepath.Join(in.Modules, x.files[name]), in.XZ)
			files[i] = entry{path.Join(base, plain(x.files[name])), cpio.TypeReg | 0o644, data}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	trimmed, err := trim(in.Modules, x, set)
	if err != nil {
		return nil, err
	}
	for name, data := range trimmed {
		files = append(files, entry{path.Join(base, name), cpio.TypeReg | 0o644, data})
	}
	return files, nil
}

// plain is the path of a module without its compression's suffix.
func plain(p string) string {
	i := strings.LastIndex(p, ".ko")
	return p[:i+len(".ko")]
}

// readModule reads a module and decompresses it: in the initrd zstd packs all of
// them together, and the kernel need not.
func readModule(ctx context.Context, file string, unxz func(context.Context, io.Reader, io.Writer) error) ([]byte, error) {
	raw, err := readFile(file, maxModule)
	if err != nil {
		return nil, fmt.Errorf("read a module: %w", err)
	}
	var out bytes.Buffer
	switch ext := path.Ext(file); {
	case ext == ".ko":
		return raw, nil
	case ext == ".xz" && unxz != nil:
		err = unxz(ctx, bytes.NewReader(raw), &limited{&out, maxModule})
	case ext == ".xz":
		var r io.Reader
		if r, err = xz.NewReader(bytes.NewReader(raw)); err == nil {
			_, err = io.Copy(&limited{&out, maxModule}, r)
		}
	case ext == ".zst":
		var r *zstd.Decoder
		if r, err = zstd.NewReader(bytes.NewReader(raw), zstd.WithDecoderConcurrency(1)); err == nil {
			_, err = io.Copy(&limited{&out, maxModule}, r)
			r.Close()
		}
	default:
		err = fmt.Errorf("compression %s is not known", ext)
	}
	if err != nil {
		return nil, fmt.Errorf("decompress module %s: %w", filepath.Base(file), err)
	}
	return out.Bytes(), nil
}

// limited refuses more than left bytes.
type limited struct {
	to   io.Writer
	left int
}

func (l *limited) Write(p []byte) (int, error) {
	if len(p) > l.left {
		return 0, fmt.Errorf("it is larger than %d bytes", maxModule)
	}
	l.left -= len(p)
	return l.to.Write(p)
}

func readFile(name string, limit int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(raw)) > limit {
		err = fmt.Errorf("%s is larger than %d bytes", filepath.Base(name), limit)
	}
	return raw, err
}
