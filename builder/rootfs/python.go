package rootfs

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"sort"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"trivet/builder/host"
)

// A compiled package is the byte code of one package, in the cache:
//
//	pyc.json  the compiledList
//	N.pyc     of the N-th source
type compiled struct {
	dir  string
	list compiledList
	pkg  int // index in the plan's pkgs
}

type compiledList struct {
	Tag   string   `json:"tag"`   // cpython-313
	Files []string `json:"files"` // sources, relative to the root; the N-th has N.pyc unless it is bad
	Bad   []string `json:"bad"`   // sources that do not compile, absolute
}

// pythonJob is what inside/compile.py reads.
type pythonJob struct {
	Jobs     int             `json:"jobs"`
	Out      string          `json:"out"`
	Packages []pythonPackage `json:"packages"`
}

type pythonPackage struct {
	Key   string   `json:"key"`
	Files [][2]any `json:"files"`
	size  int64
	at    int // index in the list of the layer's packages with Python
}

// outTarget is where the sandbox has the directory that takes results.
const outTarget = "/run/trivet-out"

// compilePython makes the byte code of all packages of the plan that the cache
// does not have. It needs only the unpacked tree, so it can run while dpkg
// configures the same packages.
func (b *build) compilePython(ctx context.Context) ([]compiled, error) {
	interpreter, err := b.interpreter()
	if err != nil || interpreter == "" {
		return nil, err
	}
	var all []compiled
	job := pythonJob{Jobs: b.in.jobs(), Out: outTarget + "/pyc"}
	for i, s := range b.plan.pkgs {
		files, err := b.plan.sources(i)
		if err != nil {
			return nil, err
		}
		if len(files) == 0 {
			continue
		}
		c := compiled{dir: b.pycDir(s.deb.SHA256, interpreter, files), pkg: i}
		if err := c.load(); errors.Is(err, os.ErrNotExist) {
			p := pythonPackage{Key: s.deb.SHA256, at: len(all)}
			for _, e := range files {
				c.list.Files = append(c.list.Files, e.Path)
				p.Files = append(p.Files, [2]any{"/" + e.Path, min(e.MTime, b.in.Epoch.Unix())})
				p.size += e.Size
			}
			job.Packages = append(job.Packages, p)
		} else if err != nil {
			return nil, err
		}
		all = append(all, c)
	}
	return all, b.runPython(ctx, job, all)
}

// interpreter names the Python of the tree with its version, "" when it has none.
func (b *build) interpreter() (string, error) {
	status, err := b.plan.db.packages()
	if err != nil {
		return "", err
	}
	list := append([]stanza(nil), status...)
	for _, s := range b.pkgs {
		list = append(list, s.stanza)
	}
	name := regexp.MustCompile(`^python3\.[0-9]+-minimal$`)
	found := ""
	for _, s := range list {
		if name.MatchString(s.get("Package")) {
			if found != "" {
				return "", errors.New("compile Python: the tree has more than one version of Python")
			}
			found = s.get("Package") + "_" + s.get("Version") + "_" + s.get("Architecture")
		}
	}
	return found, nil
}

// pycDir is where the byte code of a package is kept.
func (b *build) pycDir(sha, interpreter string, files []*entry) string {
	lines := []string{"interpreter " + interpreter, "deb " + sha, "tests " + strconv.FormatBool(compileTests)}
	script, _ := inside.ReadFile("inside/compile.py")
	lines = append(lines, "script "+digest(script))
	for _, e := range files {
		if e.MTime > b.in.Epoch.Unix() {
			lines = append(lines, fmt.Sprint("epoch ", b.in.Epoch.Unix()))
			break
		}
	}
	return filepath.Join(b.in.Cache, "bytecode", sha[:2], sha+"."+digest([]byte(strings.Join(lines, "\n")))[:16])
}

func (c *compiled) load() error {
	text, err := os.ReadFile(filepath.Join(c.dir, "pyc.json"))
	if err != nil {
		return err
	}
	now := time.Now()
	_ = os.Chtimes(filepath.Dir(c.dir), now, now) // used now
	if err := json.Unmarshal(text, &c.list); err != nil {
		return fmt.Errorf("read the byte code kept in %s: %w", c.dir, err)
	}
	return nil
}

// compileTests says whether test suites inside of packages are compiled, as
// py3compile would. They are a third of all sources, nothing runs them on a
// node, and without byte code they still work.
const compileTests = false

// sources returns the Python files of package i that its postinst would have
// compiled: public modules, the directories named after py3compile -p, and the
// standard library.
func (p *plan) sources(i int) ([]*entry, error) {
	script, err := p.pkgs[i].control("postinst")
	if err != nil {
		return nil, err
	}
	dirs := compileDirs(string(script))
	var out []*entry
	for j := range p.pkgs[i].Entries {
		e := &p.pkgs[i].Entries[j]
		if !strings.HasSuffix(e.Path, ".py") || e.Out || e.Kind != kindFile && e.Kind != kindHard || !isSource(e.Path, dirs) {
			continue
		}
		// Diverted, replaced or moved by a merged /usr: what lies at the path is
		// not what the package thinks.
		if n := p.nodes[e.Path]; n != nil && n.entry == e {
			out = append(out, e)
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Path < out[j].Path })
	return out, nil
}

const publicModules = "usr/lib/python3/dist-packages/"

// compileDirs are the directories of a postinst's py3compile calls, relative.
// They are prefixes of paths and not directories, as py3compile takes them.
func compileDirs(script string) []string {
	var dirs []string
	for line := range strings.SplitSeq(script, "\n") {
		f := strings.Fields(line)
		if len(f) < 3 || f[0] != "py3compile" || f[1] != "-p" {
			continue
		}
		private := false
		for k := 3; k < len(f); k++ {
			if strings.HasPrefix(f[k], "/") {
				dirs = append(dirs, strings.TrimLeft(f[k], "/"))
				private = true
			} else if f[k] == "-V" || f[k] == "-X" {
				k++
			}
		}
		if !private {
			dirs = append(dirs, publicModules)
		}
	}
	return dirs
}

func isSource(name string, dirs []string) bool {
	if isStdlib(name) {
		return true
	}
	for _, d := range dirs {
		if rest, ok := strings.CutPrefix(name, d); ok {
			return compileTests || d != publicModules || !strings.Contains("/"+path.Dir(rest)+"/", "/tests/")
		}
	}
	return false
}

// isStdlib says whether the path is below usr/lib/python3.N.
func isStdlib(name string) bool {
	rest, ok := strings.CutPrefix(name, "usr/lib/python3.")
	minor, _, slash := strings.Cut(rest, "/")
	return ok && slash && minor != "" && strings.Trim(minor, "0123456789") == ""
}

// runPython compiles the packages of the job, the largest first, and keeps
// them in the cache.
func (b *build) runPython(ctx context.Context, job pythonJob, all []compiled) error {
	if len(job.Packages) == 0 {
		return nil
	}
	sort.SliceStable(job.Packages, func(i, j int) bool { return job.Packages[i].size > job.Packages[j].size })
	at := map[string]int{}
	for _, p := range job.Packages {
		at[p.Key] = p.at
	}
	text, err := json.Marshal(job)
	if err != nil {
		return err
	}
	out, err := b.tmp.sub("python")
	if err != nil {
		return err
	}
	if err := os.Mkdir(filepath.Join(out, "pyc"), 0o755); err != nil {
		return err
	}
	answer := &pythonAnswer{build: b, total: int64(len(job.Packages))}
	// -S: no site-packages, -s: no user's, -P: not the script's directory. Not
	// -I, which would ignore PYTHONHASHSEED.
	c := host.Command{
		Args:   []string{"python3", "-S", "-s", "-P", toolsTarget + "/compile.py"},
		Stdin:  bytes.NewReader(text),
		Stdout: answer, Stderr: b.in.log(),
	}
	if err := b.beside(out).Run(ctx, c); err != nil {
		return fmt.Errorf("compile Python: %w", err)
	}
	return b.keepPython(filepath.Join(out, "pyc"), answer.buf.Bytes(), at, all)
}

// beside is a sandbox with the unpacked tree read-only and the directory out to
// write into, for work that runs beside dpkg's.
func (b *build) beside(out string) host.Sandbox {
	return host.Sandbox{
		Mounts: []host.Mount{
			{Target: "/", Layers: b.stack("info", "pre", "unpack")},
			{Target: toolsTarget, Layers: []string{b.path("tools")}},
			{Target: outTarget, Layers: []string{out}, Writable: true},
		},
		Env: b.env(),
	}
}

// keepPython moves the byte code of every package into the cache.
func (b *build) keepPython(out string, answers []byte, at map[string]int, all []compiled) error {
	sc := bufio.NewScanner(bytes.NewReader(answers))
	sc.Buffer(nil, 16<<20)
	n := 0
	for ; sc.Scan(); n++ {
		var a struct {
			Key, Tag string
			Bad      []string
		}
		if err := json.Unmarshal(sc.Bytes(), &a); err != nil {
			return fmt.Errorf("compile Python: read the answer: %w", err)
		}
		i, ok := at[a.Key]
		if !ok {
			return fmt.Errorf("compile Python: an answer for the unknown package %q", a.Key)
		}
		c := &all[i]
		c.list.Tag, c.list.Bad = a.Tag, a.Bad
		if err := c.keep(filepath.Join(out, a.Key)); err != nil {
			return fmt.Errorf("keep the byte code of package %s: %w", b.plan.pkgs[c.pkg].deb.Name, err)
		}
	}
	if n != len(at) {
		return fmt.Errorf("compile Python: %d packages answered of %d", n, len(at))
	}
	return sc.Err()
}

func (c *compiled) keep(from string) error {
	text, err := json.Marshal(c.list)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(from, "pyc.json"), text, 0o644); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(c.dir), 0o755); err != nil {
		return err
	}
	err = os.Rename(from, c.dir)
	if errors.Is(err, os.ErrExist) || errors.Is(err, unix.ENOTEMPTY) {
		return nil // another build was faster with the same bytes
	}
	return err
}

// pythonAnswer collects the answers and counts them.
type pythonAnswer struct {
	build *build
	buf   bytes.Buffer
	total int64
	done  atomic.Int64
}

func (a *pythonAnswer) Write(p []byte) (int, error) {
	a.build.in.progress("compile", a.done.Add(int64(bytes.Count(p, []byte("\n")))), a.total)
	return a.buf.Write(p)
}

// layPython links the byte code beside its sources in the tree root. Scripts
// have run in that tree: directories are opened inside of it only.
func (b *build) layPython(root *os.Root, all []compiled) error {
	for _, c := range all {
		if err := c.lay(root); err != nil {
			return fmt.Errorf("lay byte code of package %s: %w", b.plan.pkgs[c.pkg].deb.Name, err)
		}
	}
	return nil
}

func (c compiled) lay(root *os.Root) error {
	bad := map[string]bool{}
	for _, p := range c.list.Bad {
		bad[strings.TrimPrefix(p, "/")] = true
	}
	dirs := map[string]*os.File{}
	defer func() {
		for _, d := range dirs {
			d.Close()
		}
	}()
	for n, source := range c.list.Files {
		if bad[source] {
			continue
		}
		if _, err := root.Lstat(source); errors.Is(err, os.ErrNotExist) {
			continue // a script took the source away
		}
		name := path.Join(path.Dir(source), "__pycache__")
		dir, ok := dirs[name]
		if !ok {
			var err error
			if dir, err = openMade(root, name); err != nil {
				return err
			}
			dirs[name] = dir
		}
		to := strings.TrimSuffix(path.Base(source), ".py") + "." + c.list.Tag + ".pyc"
		if err := layPyc(filepath.Join(c.dir, strconv.Itoa(n+1)+".pyc"), int(dir.Fd()), to); err != nil {
			return err
		}
	}
	return nil
}

// openMade opens the directory name, which it makes if it is missing.
func openMade(root *os.Root, name string) (*os.File, error) {
	err := root.Mkdir(name, 0o755)
	if err == nil {
		err = root.Chmod(name, 0o755)
	}
	if err != nil && !errors.Is(err, os.ErrExist) {
		return nil, err
	}
	return root.OpenFile(name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
}

// layPyc links from as to in the directory dirfd. What a script compiled on
// its own goes: ours is the same every time.
func layPyc(from string, dirfd int, to string) error {
	err := unix.Linkat(unix.AT_FDCWD, from, dirfd, to, 0)
	if errors.Is(err, unix.EEXIST) {
		if err := unix.Unlinkat(dirfd, to, 0); err != nil {
			return &os.PathError{Op: "remove", Path: to, Err: err}
		}
		err = unix.Linkat(unix.AT_FDCWD, from, dirfd, to, 0)
	}
	if err != nil {
		return &os.LinkError{Op: "link", Old: from, New: to, Err: err}
	}
	return nil
}
