package rootfs

import (
	"bytes"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"sort"
	"strings"

	"golang.org/x/sys/unix"
)

// layInfo links the control files of pkgs into dpkg's info directory below
// dir, a directory of its own that lies over the layers of below.
func layInfo(below *view, pkgs []stored, dir string) error {
	if err := scaffold(below, infoDir, dir); err != nil {
		return err
	}
	for _, p := range pkgs {
		for _, c := range p.Control {
			if c.Name == "control" {
				continue // dpkg keeps it as the stanza in its status
			}
			from := filepath.Join(p.dir, "control", c.Name)
			to := filepath.Join(dir, infoDir, infoName(p.stanza)+"."+c.Name)
			if err := linkOrCopy(from, to, c); err != nil {
				return fmt.Errorf("install the control files of package %s: %w", p.deb.Name, err)
			}
		}
	}
	return nil
}

func linkOrCopy(from, to string, c controlMeta) error {
	if unix.Link(from, to) == nil {
		return nil
	}
	if err := copyFile(from, to); err != nil {
		return err
	}
	if err := os.Chmod(to, os.FileMode(c.Mode)); err != nil {
		return err
	}
	return setTime(unix.AT_FDCWD, to, c.MTime)
}

// writeDB writes what dpkg would know after it had unpacked the plan's
// packages: file lists, sums, interests in triggers, activated triggers and
// the status `install ok unpacked`.
func (p *plan) writeDB(dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	w := dbWriter{root: root}
	for _, s := range p.pkgs {
		w.write(infoDir+"/"+infoName(s.stanza)+".list", p.fileList(s))
		if !s.has("md5sums") {
			w.write(infoDir+"/"+infoName(s.stanza)+".md5sums", sums(s))
		}
	}
	if err := p.rewriteLost(&w); err != nil {
		return err
	}
	if len(p.below.layers) == 0 {
		w.write(infoDir+"/format", []byte("1\n"))
		w.write(dpkgDir+"/arch", []byte(p.arch()+"\n"))
		w.write("etc/hosts", []byte("127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n"))
	}
	w.write("etc/dpkg/dpkg.cfg.d/trivet", []byte(DpkgConfig()))
	if err := p.writeTriggers(&w); err != nil {
		return err
	}
	if err := p.writeStatus(&w); err != nil {
		return err
	}
	return w.err
}

// databaseDirs are where writeDB writes; the plan makes sure that they are
// directories and not links to elsewhere.
func databaseDirs() []string {
	return []string{infoDir, triggerDir, "etc/dpkg/dpkg.cfg.d"}
}

// A dbWriter writes small files below root and keeps the first error.
type dbWriter struct {
	root *os.Root
	err  error
}

func (w *dbWriter) write(name string, body []byte) {
	if w.err != nil {
		return
	}
	// Never into a file that is there already: it may be a link into the store.
	if err := w.root.Remove(name); err != nil && !os.IsNotExist(err) {
		w.err = err
		return
	}
	if w.err = w.root.WriteFile(name, body, 0o644); w.err == nil {
		w.err = w.root.Chmod(name, 0o644)
	}
}

// fileList is the .list of a package: every path of its archive, also the ones
// that are left out, but not those that another package took over.
func (p *plan) fileList(s stored) []byte {
	var b bytes.Buffer
	lost := p.lost[s.deb.Name]
	for _, e := range s.Entries {
		if e.Path == "." {
			b.WriteString("/.\n")
		} else if !lost[e.Path] {
			b.WriteString("/" + e.Path + "\n")
		}
	}
	return b.Bytes()
}

// sums is the md5sums file that dpkg makes for a package that brings none.
func sums(s stored) []byte {
	text, _ := s.control("conffiles")
	skip := map[string]bool{}
	for _, c := range conffiles(text) {
		skip[c] = true
	}
	var b bytes.Buffer
	for _, e := range s.Entries {
		if e.MD5 != "" && !skip["/"+e.Path] {
			fmt.Fprintf(&b, "%s  %s\n", e.MD5, e.Path)
		}
	}
	return b.Bytes()
}

// rewriteLost takes paths out of the lists of packages below that lost them.
func (p *plan) rewriteLost(w *dbWriter) error {
	here := map[string]bool{}
	for _, s := range p.pkgs {
		here[s.deb.Name] = true
	}
	status, err := p.db.packages()
	if err != nil {
		return err
	}
	for _, s := range status {
		lost := p.lost[s.get("Package")]
		if len(lost) == 0 || here[s.get("Package")] {
			continue
		}
		name := infoDir + "/" + infoName(s) + ".list"
		text, err := p.below.read(name)
		if err != nil {
			return fmt.Errorf("read the file list of package %s: %w", s.get("Package"), err)
		}
		var b bytes.Buffer
		for line := range strings.Lines(string(text)) {
			if !lost[strings.TrimPrefix(strings.TrimSuffix(line, "\n"), "/")] {
				b.WriteString(line)
			}
		}
		w.write(name, b.Bytes())
	}
	return nil
}

// arch is the architecture of the packages that are not for all.
func (p *plan) arch() string {
	for _, s := range p.pkgs {
		if s.deb.Arch != "all" {
			return s.deb.Arch
		}
	}
	return "all"
}

// writeStatus writes the status file: the stanzas below and the new ones.
func (p *plan) writeStatus(w *dbWriter) error {
	status, err := p.db.packages()
	if err != nil {
		return err
	}
	list := append([]stanza(nil), status...)
	for _, s := range p.pkgs {
		text, err := s.control("conffiles")
		if err != nil {
			return err
		}
		list = append(list, s.stanza.with(
			field{"Status", "install ok unpacked"},
			field{"Conffiles", conffileField(s, text)},
		))
	}
	w.write(statusPath, formatStatus(list))
	return nil
}

// conffileField lists the conffiles with their sums. dpkg's own unpack would
// leave them as NAME.dpkg-new for configure to move; they are in place
// already, and dpkg then takes them as done (deferred_configure_conffile).
func conffileField(s stored, text []byte) string {
	sum := map[string]string{}
	for _, e := range s.Entries {
		sum["/"+e.Path] = e.MD5
	}
	var b strings.Builder
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if name, ok := strings.CutPrefix(line, "remove-on-upgrade "); ok {
			b.WriteString("\n " + name + " newconffile remove-on-upgrade")
		} else if sum[line] != "" {
			b.WriteString("\n " + line + " " + sum[line])
		}
	}
	return b.String()
}

// formatStatus writes stanzas sorted by package and architecture.
func formatStatus(list []stanza) []byte {
	sort.SliceStable(list, func(i, j int) bool {
		a, b := list[i], list[j]
		if x, y := a.get("Package"), b.get("Package"); x != y {
			return x < y
		}
		return a.get("Architecture") < b.get("Architecture")
	})
	var b bytes.Buffer
	for i, s := range list {
		if i > 0 {
			b.WriteByte('\n')
		}
		s.appendTo(&b)
	}
	b.WriteByte('\n')
	return b.Bytes()
}

// An interest is a package that wants to know of a trigger (deb-triggers(5)).
type interest struct {
	trigger string // a name, or an absolute path
	pkg     string // as dpkg writes it: with /noawait where nobody waits for it
}

// interests reads a triggers control file.
func interests(text []byte, pkg string) []interest {
	var out []interest
	for _, f := range fieldLines(text) {
		if len(f) != 2 {
			continue
		}
		switch f[0] {
		case "interest", "interest-await":
			out = append(out, interest{f[1], pkg})
		case "interest-noawait":
			out = append(out, interest{f[1], pkg + "/noawait"})
		}
	}
	return out
}

// writeTriggers registers the interests of the plan's packages and activates
// the path triggers under which the plan has files. dpkg finds them in the
// file Unincorp and runs those of packages that are installed; the ones that
// are only unpacked are configured anyway.
func (p *plan) writeTriggers(w *dbWriter) error {
	files, err := p.below.read(triggerDir + "/File")
	if err != nil {
		return fmt.Errorf("read dpkg's triggers: %w", err)
	}
	named := map[string][]byte{}
	paths := map[string]bool{}
	for _, f := range fieldLines(files) {
		paths[f[0]] = true
	}
	for _, s := range p.pkgs {
		text, err := s.control("triggers")
		if err != nil {
			return err
		}
		for _, i := range interests(text, infoName(s.stanza)) {
			if strings.HasPrefix(i.trigger, "/") {
				files = append(files, i.trigger+" "+i.pkg+"\n"...)
				paths[i.trigger] = true
				continue
			}
			if err := p.addNamed(named, i); err != nil {
				return err
			}
		}
	}
	w.write(triggerDir+"/File", files)
	for name, body := range named {
		w.write(triggerDir+"/"+name, body)
	}
	w.write(triggerDir+"/Unincorp", p.activated(paths))
	return nil
}

// addNamed adds an interest to the file of the named trigger.
func (p *plan) addNamed(named map[string][]byte, i interest) error {
	if strings.ContainsAny(i.trigger, "/") || strings.HasPrefix(i.trigger, ".") || i.trigger == "File" || i.trigger == "Unincorp" || i.trigger == "Lock" {
		return fmt.Errorf("package %s: %q is no name of a trigger", i.pkg, i.trigger)
	}
	if _, ok := named[i.trigger]; !ok {
		body, err := p.below.read(triggerDir + "/" + i.trigger)
		if err != nil {
			return fmt.Errorf("read dpkg's trigger %s: %w", i.trigger, err)
		}
		named[i.trigger] = body
	}
	named[i.trigger] = append(named[i.trigger], i.pkg+"\n"...)
	return nil
}

// activated lists the path triggers at or above any path of the plan, as lines
// of dpkg's Unincorp file; "-" says that no package waits for them.
func (p *plan) activated(paths map[string]bool) []byte {
	hit := map[string]bool{}
	for _, s := range p.pkgs {
		for _, e := range s.Entries {
			if e.Out {
				continue
			}
			for at := "/" + e.Path; at != "/"; at = path.Dir(at) {
				if paths[at] {
					hit[at] = true
				}
			}
		}
	}
	var b bytes.Buffer
	for _, name := range sortedKeys(hit) {
		b.WriteString(name + " -\n")
	}
	return b.Bytes()
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}
