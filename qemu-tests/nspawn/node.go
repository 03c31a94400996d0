package nspawn

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"trivet/firstboot/status"
)

// NodeOptions are for AddNode.
type NodeOptions struct {
	Name    string
	MAC     string       // of its network card
	Address netip.Prefix // that its world gives the card, as a container's manager does
	Seed    string       // folder of its NoCloud seed
	Key     string       // file of its bundle's key, which comes as a credential
}

// A Node is one container, off or on. Its folder var is its disk.
type Node struct {
	NodeOptions
	w       *World
	cmd     *exec.Cmd
	exited  chan struct{}
	started time.Time
}

// AddNode makes a node that is off.
func (w *World) AddNode(o NodeOptions) *Node {
	w.t.Helper()
	n := &Node{NodeOptions: o, w: w}
	w.plug(o.Name, o.MAC)
	// systemd-sysctl may not write these in a container, whose settings of the
	// network are its manager's business.
	for _, file := range []string{"usr/lib/sysctl.d/50-trivet.conf", "usr/lib/sysctl.d/50-trivet-controller.conf"} {
		n.sysctl(filepath.Join(w.image, file))
	}
	if err := os.MkdirAll(n.path("logs"), 0o755); err != nil {
		w.t.Fatal(err)
	}
	w.nodes = append(w.nodes, n)
	return n
}

func (n *Node) path(name ...string) string {
	return n.w.path(append([]string{n.Name}, name...)...)
}

// sysctl applies the settings of the network in a file of sysctl.d(5).
func (n *Node) sysctl(file string) {
	n.w.t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		n.w.t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		key, value, ok := strings.Cut(line, "=")
		if key = strings.TrimSpace(key); ok && strings.HasPrefix(key, "net.ipv4.") {
			n.w.run("ip", "netns", "exec", n.w.space(n.Name), "sysctl", "-qw", key+"="+strings.TrimSpace(value))
		}
	}
}

// Start turns the node on.
func (n *Node) Start() {
	n.w.t.Helper()
	if n.cmd != nil {
		n.w.t.Fatalf("start %s: it is on", n.Name)
	}
	if err := n.mount(); err != nil {
		n.w.t.Fatalf("start %s: %v", n.Name, err)
	}
	console, err := os.OpenFile(n.w.path("logs", n.Name+".console"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		n.w.t.Fatal(err)
	}
	defer console.Close()
	cmd := exec.Command("systemd-nspawn", n.arguments()...)
	cmd.Env = append(os.Environ(), "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1")
	cmd.Stdout, cmd.Stderr = console, console
	group, err := n.group()
	if err != nil {
		n.w.t.Fatalf("start %s: %v", n.Name, err)
	}
	defer group.Close()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL, UseCgroupFD: true, CgroupFD: int(group.Fd())}
	if err := start(cmd); err != nil {
		n.w.t.Fatalf("start %s: %v", n.Name, err)
	}
	n.cmd, n.exited, n.started = cmd, make(chan struct{}), time.Now()
	go func(done chan struct{}) {
		_ = cmd.Wait()
		close(done)
	}(n.exited)
}

func (n *Node) arguments() []string {
	return []string{
		"--directory=" + n.path("root"), "--machine=" + n.Name, "--network-namespace-path=/run/netns/" + n.w.space(n.Name),
		"--register=no", "--keep-unit", "--capability=all", "--private-users=no", "--console=pipe",
		"--bind=" + n.path("var") + ":/var", "--bind-ro=" + n.Seed + ":/var/lib/cloud/seed/nocloud",
		"--load-credential=trivet.key:" + n.Key, "--boot",
	}
}

// mount does what the initrd would: memory over the sealed root, the machine's
// identity out of /var.
func (n *Node) mount() error {
	root, memory := n.path("root"), n.path("memory")
	upper, work := filepath.Join(memory, "upper"), filepath.Join(memory, "work")
	network := filepath.Join(upper, "etc/systemd/network")
	for _, dir := range []string{root, memory} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	if err := run("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", memory); err != nil {
		return err
	}
	state := n.path("var/lib/trivet")
	for _, dir := range []string{upper, work, network, filepath.Dir(state)} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	id, err := n.machineID(state)
	if err == nil {
		err = os.WriteFile(filepath.Join(upper, "etc/machine-id"), id, 0o444)
	}
	if err == nil {
		text := fmt.Sprintf("[Match]\nName=host0\n[Network]\nAddress=%s\nLinkLocalAddressing=no\n", n.Address)
		err = os.WriteFile(filepath.Join(network, "10-world.network"), []byte(text), 0o644)
	}
	if err != nil {
		return err
	}
	return run("mount", "-t", "overlay", "-o", "lowerdir="+n.w.image+",upperdir="+upper+",workdir="+work, "overlay", root)
}

// machineID makes the node's identity at its first boot.
func (n *Node) machineID(state string) ([]byte, error) {
	if err := os.MkdirAll(state, 0o700); err != nil {
		return nil, err
	}
	path := filepath.Join(state, "machine-id")
	if id, err := os.ReadFile(path); err == nil {
		return id, nil
	}
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	id := []byte(hex.EncodeToString(b[:]) + "\n")
	return id, os.WriteFile(path, id, 0o444)
}

// leader is the process number of the container's init, 0 if it is off.
func (n *Node) leader() int {
	if n.cmd == nil {
		return 0
	}
	pid := n.cmd.Process.Pid
	data, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	first, _, _ := strings.Cut(strings.TrimSpace(string(data)), " ")
	leader, _ := strconv.Atoi(first)
	return leader
}

// Kill pulls the node's power: every process in it dies at once, and its memory
// is gone.
func (n *Node) Kill() {
	if n.cmd == nil {
		return
	}
	if leader := n.leader(); leader != 0 {
		_ = syscall.Kill(leader, syscall.SIGKILL)
	}
	n.gone(20 * time.Second)
}

// Stop turns the node off in order.
func (n *Node) Stop(limit time.Duration) {
	n.w.t.Helper()
	if n.cmd == nil {
		return
	}
	_ = n.cmd.Process.Signal(syscall.SIGTERM) // nspawn asks the container to power off
	n.gone(limit)
}

// gone waits until the container is no more, and takes its memory away.
func (n *Node) gone(limit time.Duration) {
	select {
	case <-n.exited:
	case <-time.After(limit):
		n.w.t.Errorf("%s is not off after %v; it is killed", n.Name, limit)
		if leader := n.leader(); leader != 0 {
			_ = syscall.Kill(leader, syscall.SIGKILL)
		}
		_ = n.cmd.Process.Kill()
		<-n.exited
	}
	n.cmd = nil
	for _, at := range []string{n.path("root"), n.path("memory")} {
		if err := run("umount", "-l", at); err != nil {
			n.w.t.Error(err)
		}
	}
}

// Wipe makes the disk blank.
func (n *Node) Wipe() {
	n.w.t.Helper()
	if n.cmd != nil {
		n.w.t.Fatalf("wipe %s: it is on", n.Name)
	}
	if err := os.RemoveAll(n.path("var")); err != nil {
		n.w.t.Fatal(err)
	}
}

// Run runs a program in the node, and returns what it says.
func (n *Node) Run(ctx context.Context, args ...string) (string, error) {
	leader := n.leader()
	if leader == 0 {
		return "", fmt.Errorf("run %s on %s: it is off", args[0], n.Name)
	}
	cmd := exec.CommandContext(ctx, "nsenter", append([]string{"-t", strconv.Itoa(leader), "-m", "-u", "-i", "-n", "-p", "-C", "--"}, args...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return string(out), fmt.Errorf("run %s on %s: %w: %s", args[0], n.Name, err, strings.TrimSpace(stderr.String()))
	}
	return string(out), nil
}

// Must is Run; a failure ends the test.
func (n *Node) Must(args ...string) string {
	n.w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	out, err := n.Run(ctx, args...)
	if err != nil {
		n.w.t.Fatal(err)
	}
	return out
}

// State asks the node's agent.
func (n *Node) State() (status.State, error) {
	leader := n.leader()
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", fmt.Sprintf("/proc/%d/root/run/trivet/agent.sock", leader))
		},
	}}
	return status.Read(context.Background(), client, "http://agent/status")
}

// WaitReady waits until the node says that it is ready, and returns how long
// that took since its start.
func (n *Node) WaitReady(limit time.Duration) time.Duration {
	n.w.t.Helper()
	var last string
	for began := time.Now(); time.Since(began) < limit; time.Sleep(250 * time.Millisecond) {
		s, err := n.State()
		switch {
		case err != nil:
			last = err.Error()
		case s.Ready:
			return time.Since(n.started)
		default:
			last = strings.Join(s.Troubles(), "; ")
		}
	}
	n.w.t.Fatalf("%s is not ready after %v: %s\n%s", n.Name, limit, last, n.journal(30))
	return 0
}

// journal returns the last lines of the agent's.
func (n *Node) journal(lines int) string {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	out, err := n.Run(ctx, "/usr/bin/journalctl", "--no-pager", "--boot", "--output=short-monotonic", "--unit=trivet-agent", "--lines="+strconv.Itoa(lines))
	if err != nil {
		return err.Error()
	}
	return out
}

// keepLogs writes what a running node can tell to the world's logs.
func (n *Node) keepLogs() {
	if n.cmd == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for name, args := range map[string][]string{
		"journal": {"/usr/bin/journalctl", "--no-pager", "--output=short-precise"},
		"status":  {"/usr/bin/trivet-agent", "status", "--json"},
		"units":   {"/usr/bin/systemctl", "--no-pager", "list-units"},
	} {
		out, err := n.Run(ctx, args...)
		if err != nil {
			out += err.Error()
		}
		if err := os.WriteFile(n.w.path("logs", n.Name+"."+name), []byte(out), 0o644); err != nil {
			n.w.t.Error(err)
		}
	}
}
