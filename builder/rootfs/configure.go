package rootfs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"trivet/builder/host"
)

// preinst runs the preinst scripts of the layer's packages on the layers, in
// the order of their dependencies; upper takes what they write.
func (b *build) preinst(ctx context.Context, layers []string, upper string) error {
	script := b.preinstScript()
	if script == "" {
		_, err := b.tmp.sub(upper)
		return err
	}
	list, err := whileConfiguring(newView(layers))
	if err != nil {
		return err
	}
	return b.shell(ctx, "run preinst scripts", layers, upper, script, list)
}

// preinstScript is a shell program that runs every preinst as dpkg would
// (dpkg(1), "maintainer script"; deb-preinst(5)).
func (b *build) preinstScript() string {
	var s strings.Builder
	for _, p := range inDependencyOrder(b.pkgs) {
		if !p.has("preinst") {
			continue
		}
		fmt.Fprintf(&s, "DPKG_MAINTSCRIPT_NAME=preinst DPKG_MAINTSCRIPT_PACKAGE=%s DPKG_MAINTSCRIPT_ARCH=%s DPKG_MAINTSCRIPT_PACKAGE_REFCOUNT=1 /%s/%s.preinst install </dev/null || fail %s $?\n",
			p.deb.Name, p.deb.Arch, infoDir, infoName(p.stanza), p.deb.Name)
	}
	if s.Len() == 0 {
		return ""
	}
	return "export DPKG_ADMINDIR=/var/lib/dpkg DPKG_ROOT= DPKG_RUNNING_VERSION=$(dpkg-query -W -f='${Version}' dpkg)\n" +
		"fail() { echo \"preinst of package $1 ended with code $2\" >&2; exit 1; }\n" + s.String()
}

// bootstrap does in the base layer what dpkg cannot do before the packages it
// needs itself are configured: users, then every preinst.
func (b *build) bootstrap(ctx context.Context) error {
	script := b.preinstScript()
	for _, p := range b.pkgs {
		if p.deb.Name == "base-passwd" {
			script += "dpkg --force-depends --force-unsafe-io --configure base-passwd\n"
		}
	}
	if len(b.in.Pinned) > 0 {
		script += "systemd-sysusers " + toolsTarget + "/pinned.conf\n"
	}
	if script == "" {
		return nil
	}
	layers := b.stack("info", "unpack")
	list, err := whileConfiguring(newView(layers))
	if err != nil {
		return err
	}
	return b.shell(ctx, "run preinst scripts and make the pinned users", layers, "conf", script, list)
}

// shell runs a program of sh -e in the tree.
func (b *build) shell(ctx context.Context, what string, layers []string, upper, script string, list []standIn) error {
	s, err := b.sandbox(layers, upper, list)
	if err != nil {
		return err
	}
	// In a file: a program that reads standard input must not eat the script.
	if err := os.WriteFile(b.path("tools/script"), []byte(script), 0o600); err != nil {
		return err
	}
	c := host.Command{Args: []string{"sh", "-e", toolsTarget + "/script"}, Stdout: b.in.log(), Stderr: b.in.log()}
	if err := s.Run(ctx, c); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// configure lets dpkg configure all packages and run all triggers.
func (b *build) configure(ctx context.Context) error {
	layers := b.stack("info", "pre", "unpack")
	list, err := whileConfiguring(newView(layers))
	if err != nil {
		return err
	}
	s, err := b.sandbox(layers, "conf", list)
	if err != nil {
		return err
	}
	watch := &statusWatch{in: b.in, total: int64(len(b.pkgs)), now: time.Now()}
	c := host.Command{
		// dpkg closes the status descriptor for the scripts, so it must not be
		// their standard output itself.
		Args:   []string{"sh", "-c", "exec dpkg --force-unsafe-io --force-confnew --no-pager --status-fd=3 --configure --pending 3>&1"},
		Stdout: watch, Stderr: b.in.log(),
	}
	err = s.Run(ctx, c)
	var exit *host.ExitError
	if errors.As(err, &exit) && watch.failed != "" {
		return fmt.Errorf("configure package %s: %w", watch.failed, err)
	}
	if err != nil {
		return fmt.Errorf("configure packages: %w", err)
	}
	return nil
}

// A statusWatch reads dpkg's status lines (dpkg(1), --status-fd) out of what
// dpkg and the scripts print, and passes the rest on.
type statusWatch struct {
	in     Inputs
	total  int64
	mu     sync.Mutex
	rest   []byte
	done   int64
	failed string
	now    time.Time
}

func (w *statusWatch) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.rest = append(w.rest, p...)
	for {
		i := bytes.IndexByte(w.rest, '\n')
		if i < 0 {
			break
		}
		w.line(string(w.rest[:i]))
		w.rest = w.rest[i+1:]
	}
	if len(w.rest) > 64<<10 {
		w.rest = nil
	}
	return len(p), nil
}

func (w *statusWatch) line(line string) {
	f := strings.SplitN(line, ": ", 4)
	for i := range f {
		f[i] = strings.TrimSpace(f[i]) // "status: NAME: installed", but "status: NAME : error : TEXT"
	}
	switch {
	case len(f) >= 3 && f[0] == "status" && f[2] == "installed":
		w.done++
		w.in.progress("configure", min(w.done, w.total), w.total)
		w.lap(f[1])
	case len(f) >= 3 && f[0] == "status" && f[2] == "error":
		w.failed = f[1]
	case len(f) >= 3 && f[0] == "status" || len(f) >= 2 && f[0] == "processing":
	default:
		io.WriteString(w.in.log(), line+"\n")
	}
}

// lap logs the packages that took long.
func (w *statusWatch) lap(pkg string) {
	took := time.Since(w.now)
	w.now = time.Now()
	if took > 300*time.Millisecond {
		fmt.Fprintf(w.in.log(), "trivet: %s took %.1f s\n", pkg, took.Seconds())
	}
}
