package rootfs

import (
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"trivet/builder/host"
)

// realDebs reads the packages of a real root from the JSON file that
// TRIVET_ROOTFS_DEBS names: a list of {Set, Name, Version, Arch, SHA256, Path}.
func realDebs(t *testing.T) []Layer {
	t.Helper()
	path := os.Getenv("TRIVET_ROOTFS_DEBS")
	if path == "" {
		t.Skip("TRIVET_ROOTFS_DEBS names no list of real packages")
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var list []struct {
		Deb
		Set string
	}
	if err := json.Unmarshal(text, &list); err != nil {
		t.Fatal(err)
	}
	var layers []Layer
	for _, d := range list {
		if len(layers) == 0 || layers[len(layers)-1].Name != d.Set {
			layers = append(layers, Layer{Name: d.Set})
		}
		l := &layers[len(layers)-1]
		l.Debs = append(l.Debs, d.Deb)
	}
	return layers
}

func realInputs(t *testing.T) Inputs {
	cache := os.Getenv("TRIVET_ROOTFS_CACHE")
	if cache == "" {
		cache = t.TempDir()
	}
	return Inputs{
		Cache: cache,
		Epoch: time.Unix(1795219200, 0),
		Log:   os.Stderr,
		XZ: func(ctx context.Context, r io.Reader, w io.Writer) error {
			return host.Exec(ctx, host.Command{Args: []string{"xz", "-dc", "-T1"}, Stdin: r, Stdout: w})
		},
	}
}

func TestRealPrepare(t *testing.T) {
	layers := realDebs(t)
	in := realInputs(t)
	for _, l := range layers {
		start := time.Now()
		if err := Prepare(context.Background(), in, l.Debs); err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: %d packages in %v", l.Name, len(l.Debs), time.Since(start))
	}
}

func TestRealUnpack(t *testing.T) {
	layers := realDebs(t)
	in := realInputs(t)
	var debs []Deb
	for _, l := range layers {
		debs = append(debs, l.Debs...)
	}
	if err := Prepare(context.Background(), in, debs); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	pkgs, err := loadAll(in, debs)
	if err != nil {
		t.Fatal(err)
	}
	t.Log("load", time.Since(start))
	p, err := newPlan(newView(nil), pkgs)
	if err != nil {
		t.Fatal(err)
	}
	t.Log("plan", time.Since(start))
	dir, err := os.MkdirTemp(in.Cache, "tree")
	if err != nil {
		t.Fatal(err)
	}
	if err := p.lay(in, dir); err != nil {
		t.Fatal(err)
	}
	t.Log("lay", time.Since(start))
	if err := p.writeDB(dir); err != nil {
		t.Fatal(err)
	}
	if err := layInfo(newView(nil), pkgs, dir); err != nil {
		t.Fatal(err)
	}
	t.Log("db", time.Since(start))
	if err := in.setTimes(dir); err != nil {
		t.Fatal(err)
	}
	t.Log("times", time.Since(start), dir)
}

// realBuild makes the layers of the real packages. TRIVET_ROOTFS_SHUFFLE gives
// them in another order and with another number of jobs.
func realBuild(t *testing.T) (Inputs, []string) {
	t.Helper()
	layers := realDebs(t)
	in := realInputs(t)
	var err error
	if in.Pinned, err = os.ReadFile(os.Getenv("TRIVET_ROOTFS_PINNED")); err != nil {
		t.Log("no pinned users: ", err)
	}
	if os.Getenv("TRIVET_ROOTFS_SHUFFLE") != "" {
		in.Jobs = 3
		for _, l := range layers {
			slices.Reverse(l.Debs)
		}
	}
	start := time.Now()
	dirs, err := InstallAll(t.Context(), in, layers)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("layers: %v: %v", time.Since(start), dirs)
	return in, dirs
}

func TestRealFinish(t *testing.T) {
	in, below := realBuild(t)
	start := time.Now()
	factory, err := Factory(t.Context(), in, below)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("factory: %v: %s", time.Since(start), factory)
	below = append(below, factory)
	start = time.Now()
	lay := func(upper string) error {
		for name, body := range map[string]string{
			"usr/lib/systemd/system-preset/00-test.preset": "enable ssh.service\nenable systemd-networkd.service\nenable systemd-resolved.service\nenable chrony.service\n",
			"etc/keystone/keystone.conf.tmpl":              "x",
		} {
			if err := os.MkdirAll(filepath.Join(upper, filepath.Dir(name)), 0o755); err != nil {
				return err
			}
			if err := os.WriteFile(filepath.Join(upper, name), []byte(body), 0o644); err != nil {
				return err
			}
		}
		return nil
	}
	dir, err := Finish(context.Background(), in, below, lay, FinishOptions{Digest: os.Getenv("TRIVET_ROOTFS_DIGEST")})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("finish: %v: %s", time.Since(start), dir)
	s := host.Sandbox{Mounts: []host.Mount{{Target: "/", Layers: append(below, dir)}}}
	script := `dpkg --audit; dpkg -l | tail -n +6 | cut -c1-2 | sort | uniq -c; dpkg -V 2>&1 | grep -v missing | head; ls -laR /var; mkdir /tmp/r; systemctl list-unit-files --state=enabled | cat; cat /usr/lib/tmpfiles.d/trivet-var.conf; mount -t tmpfs none /var; systemd-tmpfiles --create --prefix=/var; ls -la /var /var/lib /var/lib/nova /var/lib/openstack-dashboard /var/lib/dpkg/; systemd-tmpfiles --create --prefix=/var && echo again ok; dpkg -l keystone | tail -1`
	if err := s.Run(context.Background(), host.Command{Args: []string{"sh", "-c", script}, Stdout: os.Stderr, Stderr: os.Stderr}); err != nil {
		t.Fatal(err)
	}
}
