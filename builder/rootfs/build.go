package rootfs

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"trivet/builder/host"
)

// A build makes one layer in a temporary directory. The directories it makes
// lie over one another in this order, lowest first:
//
//	info    control files in dpkg's info directory
//	pre     what the preinst scripts wrote (not in the base layer: there they
//	        need the unpacked tree)
//	unpack  the packages' files and dpkg's database
//	conf    what configuring wrote
//
// At the end they are folded into one.
type build struct {
	in    Inputs
	below []string
	layer Layer
	tmp   *temp
	pkgs  []stored
	plan  *plan
}

// run makes the layer and returns its directory, still in the temporary one.
func (b *build) run(ctx context.Context) (string, error) {
	var err error
	if b.pkgs, err = loadAll(b.in, b.layer.Debs); err != nil {
		return "", err
	}
	if err := b.tools(); err != nil {
		return "", err
	}
	parts := []string{b.path("info")}
	if _, err := b.tmp.sub("info"); err != nil {
		return "", err
	}
	if err := layInfo(newView(b.below), b.pkgs, b.path("info")); err != nil {
		return "", err
	}
	base := len(b.below) == 0
	if !base {
		if err := b.preinst(ctx, b.stack("info"), "pre"); err != nil {
			return "", err
		}
		parts = append(parts, b.path("pre"))
	}
	done := b.clock("unpack")
	if err := b.unpack(parts); err != nil {
		return "", err
	}
	done()
	side, err := b.scripts(ctx, base)
	if err != nil {
		return "", err
	}
	done = b.clock("join")
	if err := b.fold(append(parts, b.path("unpack"), b.path("conf"))); err != nil {
		return "", err
	}
	if err := b.addSide(parts[0], side); err != nil {
		return "", err
	}
	done()
	if err := b.late(ctx, parts[0]); err != nil {
		return "", err
	}
	defer b.clock("settle")()
	return parts[0], b.settle(parts[0])
}

// clock starts timing a stage; the function it returns logs how long it took.
func (b *build) clock(stage string) func() {
	start := time.Now()
	return func() {
		fmt.Fprintf(b.in.log(), "trivet: layer %s: %s took %.1f s\n", b.layer.Name, stage, time.Since(start).Seconds())
	}
}

// aside is what is made from the unpacked tree while dpkg configures it.
type aside struct {
	python []compiled
	depmod []string // versions of kernels
}

// scripts runs the maintainer scripts, and beside them what needs only the
// unpacked files.
func (b *build) scripts(ctx context.Context, base bool) (aside, error) {
	var side aside
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		if base {
			done := b.clock("bootstrap")
			if err := b.bootstrap(ctx); err != nil {
				return err
			}
			done()
		}
		defer b.clock("configure")()
		return b.configure(ctx)
	})
	g.Go(func() (err error) {
		defer b.clock("depmod")()
		side.depmod, err = b.runDepmod(ctx)
		return err
	})
	g.Go(func() (err error) {
		defer b.clock("compile")()
		side.python, err = b.compilePython(ctx)
		return err
	})
	err := g.Wait()
	return side, err
}

// addSide puts what was made aside into the tree.
func (b *build) addSide(dir string, side aside) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	if err := b.layPython(root, side.python); err != nil {
		return err
	}
	return b.layDepmod(root, side.depmod)
}

func (b *build) path(name string) string { return filepath.Join(b.tmp.dir, name) }

// stack is the layers below with the named directories of this build on top,
// those that exist.
func (b *build) stack(names ...string) []string {
	out := append([]string(nil), b.below...)
	for _, n := range names {
		if _, err := os.Stat(b.path(n)); err == nil {
			out = append(out, b.path(n))
		}
	}
	return out
}

// unpack plans the packages on what is there now and lays them.
func (b *build) unpack(parts []string) error {
	var err error
	// The info directory holds no path of a package; the base layer must look
	// empty to its plan.
	under := b.below
	if len(under) > 0 {
		under = append(append([]string(nil), under...), parts...)
	}
	if b.plan, err = newPlan(newView(under), b.pkgs); err != nil {
		return err
	}
	dir, err := b.tmp.sub("unpack")
	if err != nil {
		return err
	}
	if err := b.plan.checkKeys(); err != nil {
		return err
	}
	if err := b.plan.lay(b.in, dir); err != nil {
		return fmt.Errorf("unpack: %w", err)
	}
	if err := b.plan.writeDB(dir); err != nil {
		return fmt.Errorf("write dpkg's database: %w", err)
	}
	return nil
}

// tools writes what the sandbox needs of ours into a directory that is mounted
// at toolsTarget.
func (b *build) tools() error {
	if _, err := b.tmp.sub("late"); err != nil {
		return err
	}
	dir, err := b.tmp.sub("tools")
	if err != nil {
		return err
	}
	files, err := inside.ReadDir("inside")
	if err != nil {
		return err
	}
	for _, f := range files {
		body, err := inside.ReadFile("inside/" + f.Name())
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, f.Name()), body, 0o600); err != nil {
			return err
		}
		if err := os.Chmod(filepath.Join(dir, f.Name()), 0o755); err != nil {
			return err
		}
	}
	to := filepath.Join(dir, "pinned.conf")
	if err := os.WriteFile(to, b.in.Pinned, 0o600); err != nil {
		return err
	}
	return os.Chmod(to, 0o644)
}

// toolsTarget is where the sandbox has the files of inside. /run is a tmpfs
// there, so nothing of it comes into the tree.
const toolsTarget = "/run/trivet"

// sandbox is the tree of the layers with upper taking the writes and the
// stand-ins covering their programs.
func (b *build) sandbox(layers []string, upper string, list []standIn) (host.Sandbox, error) {
	if _, err := b.tmp.sub(upper); err != nil {
		return host.Sandbox{}, err
	}
	s := host.Sandbox{
		Mounts: []host.Mount{
			{Target: "/", Layers: layers, Upper: b.path(upper), Work: b.path(upper + ".work")},
			{Target: toolsTarget, Layers: []string{b.path("tools")}},
			{Target: lateTarget, Layers: []string{b.path("late")}, Writable: true},
		},
		Env: b.env(),
	}
	over, err := b.covers(newView(layers), list)
	s.Mounts = append(s.Mounts, over...)
	return s, err
}

// env is what maintainer scripts see. The first lines keep dpkg and debconf
// from asking, the rest keeps results the same on every run.
func (b *build) env() []string {
	return []string{
		"DEBIAN_FRONTEND=noninteractive",
		"DEBCONF_NONINTERACTIVE_SEEN=true",
		"DEBCONF_NOWARNINGS=yes",
		"INITRD=No",         // linux-image: the initramfs is not made of what initramfs-tools finds here
		"SYSTEMD_OFFLINE=1", // systemctl changes links and asks no manager
		"RUNLEVEL=1",        // invoke-rc.d does not guess it
		"PERL_HASH_SEED=0",  // debconf's databases in one order
		"PYTHONHASHSEED=0",
		"PYTHONDONTWRITEBYTECODE=1",
		"KERNEL_INSTALL_BYPASS=1", // kernel-install looks for no boot partition
		"TERM=dumb",
		fmt.Sprint("SOURCE_DATE_EPOCH=", b.in.Epoch.Unix()),
	}
}
