// Package nspawn makes nodes of containers: systemd-nspawn boots the sealed root
// of a built image, at the speed of the host, on a bridge in a network namespace.
// It is the second driver beside package cluster, which makes virtual machines;
// the names are the same where the things are.
//
// A container shows what the agent and the services do. Firmware, kernel, verity
// and disks only a machine can show, and nothing here claims them: what the
// initrd would do, the overlay over /etc, the machine's identity and an empty
// /var, the driver does.
//
// It needs root, squashfs, overlayfs and network namespaces, and the programs of
// Requirements. All that it makes goes when the test ends, and what a killed
// test left goes with the next New.
package nspawn

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// prefix begins the names of all network namespaces and folders of this package.
const prefix = "trivet-ns-"

// Options are for New.
type Options struct {
	Root string // the squashfs of the role's root file system, as a build leaves it beside the disk
	Logs string // folder that keeps the logs of a failed test; empty: below the temporary one
}

// A World is a network with nodes on it. It ends with its test.
type World struct {
	t     testing.TB
	o     Options
	dir   string // of its mounts, disks and logs
	image string // where the root is mounted
	nodes []*Node
}

// Requirements says what is missing on this host.
func Requirements() error {
	if os.Geteuid() != 0 {
		return errors.New("containers need root")
	}
	for _, program := range []string{"systemd-nspawn", "ip", "mount", "nsenter"} {
		if _, err := exec.LookPath(program); err != nil {
			return fmt.Errorf("no %s on this machine (`.ci/install cluster` installs it)", program)
		}
	}
	return nil
}

// New makes a network without nodes.
func New(t testing.TB, o Options) *World {
	t.Helper()
	sweep()
	dir, err := os.MkdirTemp("", prefix)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "owner"), []byte(strconv.Itoa(os.Getpid())), 0o644); err != nil {
		t.Fatal(err)
	}
	w := &World{t: t, o: o, dir: dir, image: filepath.Join(dir, "image")}
	t.Cleanup(w.end)
	for _, sub := range []string{w.image, w.path("logs")} {
		if err := os.Mkdir(sub, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	w.run("mount", "-o", "ro,loop", o.Root, w.image)
	w.run("ip", "netns", "add", w.space("switch"))
	w.in("switch", "link", "set", "lo", "up")
	w.in("switch", "link", "add", "bridge", "type", "bridge")
	w.in("switch", "link", "set", "bridge", "up")
	return w
}

func (w *World) path(name ...string) string {
	return filepath.Join(append([]string{w.dir}, name...)...)
}

// space names a network namespace.
func (w *World) space(name string) string { return filepath.Base(w.dir) + "-" + name }

// run runs a program of the host; its failure ends the test.
func (w *World) run(args ...string) {
	w.t.Helper()
	if err := run(args...); err != nil {
		w.t.Fatal(err)
	}
}

// in runs ip(8) in a network namespace of the world.
func (w *World) in(space string, args ...string) {
	w.t.Helper()
	w.run(append([]string{"ip", "-n", w.space(space)}, args...)...)
}

func run(args ...string) error {
	if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

// plug puts a new network namespace on the bridge, with a card of this hardware
// address, called host0 there as in every container.
func (w *World) plug(name, mac string) {
	w.t.Helper()
	port := "p" + name
	w.run("ip", "netns", "add", w.space(name))
	w.in(name, "link", "set", "lo", "up")
	w.run("ip", "link", "add", port, "netns", w.space("switch"), "type", "veth", "peer", "name", "host0", "netns", w.space(name), "address", mac)
	w.in("switch", "link", "set", port, "master", "bridge", "up")
}

// end ends the nodes and removes all.
func (w *World) end() {
	for _, n := range w.nodes {
		if w.t.Failed() {
			n.keepLogs()
		}
	}
	for _, n := range w.nodes {
		n.Kill()
	}
	if w.t.Failed() {
		w.t.Logf("kept %s", w.saveLogs())
	}
	if err := remove(w.dir); err != nil {
		w.t.Errorf("remove the containers' world: %v", err)
	}
}

// saveLogs moves the logs to where they stay.
func (w *World) saveLogs() string {
	to := w.o.Logs
	if to == "" {
		to = filepath.Join(os.TempDir(), "trivet-cluster-logs")
	}
	to = filepath.Join(to, strings.ReplaceAll(w.t.Name(), "/", "_"))
	err := os.RemoveAll(to)
	if err == nil {
		err = os.MkdirAll(filepath.Dir(to), 0o755)
	}
	if err == nil {
		err = run("cp", "-r", w.path("logs"), to)
	}
	if err != nil {
		w.t.Errorf("keep the logs: %v", err)
	}
	return to
}

// sweep removes the worlds of killed tests: those whose test does not run.
func sweep() {
	found, _ := filepath.Glob(filepath.Join(os.TempDir(), prefix+"*"))
	for _, dir := range found {
		if pid, err := os.ReadFile(filepath.Join(dir, "owner")); err == nil && alive(string(pid)) {
			continue
		}
		_ = remove(dir) // a courtesy
	}
}

func alive(pid string) bool {
	_, err := os.Stat("/proc/" + strings.TrimSpace(pid))
	return err == nil
}

// remove unmounts what is mounted below a world's folder, deletes its network
// namespaces, and the folder.
func remove(dir string) error {
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return err
	}
	lines := strings.Split(string(mounts), "\n")
	for i := len(lines) - 1; i >= 0; i-- {
		if fields := strings.Fields(lines[i]); len(fields) > 1 && strings.HasPrefix(fields[1], dir+"/") {
			_ = unix.Unmount(fields[1], unix.MNT_DETACH)
		}
	}
	spaces, _ := filepath.Glob("/run/netns/" + filepath.Base(dir) + "-*")
	for _, s := range spaces {
		err = errors.Join(err, run("ip", "netns", "del", filepath.Base(s)))
	}
	return errors.Join(err, removeGroups(filepath.Base(dir)), os.RemoveAll(dir))
}
