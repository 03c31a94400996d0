// Package firstboot is the agent of a node: it learns who the machine is,
// renders its configuration, joins its clusters, and stays to watch them. It
// runs the same at every boot; the first one differs only in that there is
// nothing to come back to.
//
// To add a service, a cluster, a metadata source or a value for templates, see
// the packages join, source and node: nothing here changes.
package firstboot

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"trivet/firstboot/host"
	"trivet/firstboot/join"
	"trivet/firstboot/render"
	"trivet/firstboot/source"
	"trivet/firstboot/status"
	"trivet/roles"
)

// Paths of the image that the agent reads.
const (
	rolePath  = "/usr/share/trivet/role.json"
	statePath = "/var/lib/trivet"
)

// Inputs are what the agent works on. Tests give other ones.
type Inputs struct {
	Root   string // "/" on a node
	Host   host.Runner
	Source source.Env
	Report *status.Reporter
	// System is what no program does for the agent; see SystemCalls.
	System System
	// Log takes what is for those who look into the journal only.
	Log func(line string)
	// Rescan is the pause before a machine that knows nothing looks again.
	Rescan time.Duration
	// Watch is the pause between two looks at a service of a node that is ready.
	Watch time.Duration
}

// Run brings the node up and then watches it until ctx ends. What fails is
// reported and tried again from the start, for ever: an operator may hand in a
// better description at any time. It returns an error only where trying again
// cannot help.
func Run(ctx context.Context, in Inputs) error {
	role, err := readRole(in.Root)
	if err != nil {
		return err
	}
	in.Report.Identify("", role.Name)
	a := &agent{Inputs: in, vault: &vault{root: in.Root, run: in.Host}, role: role, image: imageName(in.Root), took: map[string]any{}, said: map[string]time.Time{}}
	defer a.disagree()
	if err := a.System.ServeLocal(stateHandler(a.state)); err != nil {
		return err
	}
	a.Report.Say("agent", status.Start, "the image of a "+role.Name, map[string]any{"image": a.image})
	for pause := in.Rescan; ; pause = min(2*pause, time.Minute) {
		env, err := a.bringUp(ctx)
		if err == nil {
			return a.watch(ctx, env)
		}
		if ctx.Err() != nil {
			return nil
		}
		if sleep(ctx, pause) != nil {
			return nil
		}
	}
}

// An agent is one run.
type agent struct {
	Inputs
	vault *vault
	role  roles.Role
	image string

	agreement agreement

	mu   sync.Mutex // services start side by side
	env  join.Env   // of the newest way up, to tell of
	ward ward
	took map[string]any       // seconds of each step that was done once
	said map[string]time.Time // failures, each to be said once in a while
}

// firewall is the service that opens the role's ports, and no others.
const firewall = "firewall"

// bringUp is the way from nothing to ready. Each line may run again.
func (a *agent) bringUp(ctx context.Context) (join.Env, error) {
	var known description
	var device string
	env := join.Env{Root: a.Root, Role: a.role, Image: a.image, Host: a.Host, Holds: a.System.Holds, Database: a.System.Database}
	err := a.steps(
		ctx,
		step{"describe", func(ctx context.Context) (result string, err error) {
			known, result, err = a.describe(ctx)
			return result, err
		}},
		plain("identity", func(ctx context.Context) error { return a.identify(ctx, known) }),
		plain("network", func(ctx context.Context) (err error) {
			if err = a.setUpNetwork(ctx, known.network); err == nil {
				device, err = a.waitForAddress(ctx, known.config)
			}
			return err
		}),
		plain("secrets", func(ctx context.Context) error { return a.fillSecrets(ctx, &known.config) }),
		plain("render", func(ctx context.Context) error {
			env.Node, env.Device, env.Files = known.config, device, known.files
			if err := a.placeFiles(known.files); err != nil {
				return err
			}
			a.keep(env)
			return a.render(ctx, env)
		}),
		plain("health", func(context.Context) error { return a.System.Serve(env, a.Report, stateHandler(a.state)) }),
	)
	if err == nil && slices.Contains(a.role.Start, firewall) {
		// Before anything talks to peers, so that it has seen each connection's begin.
		err = a.start(ctx, env, firewall)
	}
	if err == nil && agrees(known.config) {
		err = a.steps(ctx, plain("quorum", func(ctx context.Context) error { return a.agree(ctx, known, &env) }))
	}
	if err == nil {
		err = a.startServices(ctx, env)
	}
	if err == nil && a.publishes() {
		err = a.steps(ctx, plain("vip", func(ctx context.Context) error { return a.waitForFronts(ctx, env) }))
	}
	if err == nil {
		a.Report.Say(status.Ready, status.Ready, fmt.Sprintf("%s is ready", env.Node.Name), map[string]any{
			"vip": env.Node.VIP.Addr().String(), "address": env.Node.Address.Addr().String(), "seconds": a.seconds(),
		})
	}
	return env, err
}

// A step is one part of the way, with the name that records show. It returns
// what there is to say when it is done.
type step struct {
	name string
	run  func(context.Context) (string, error)
}

func plain(name string, run func(context.Context) error) step {
	return step{name, func(ctx context.Context) (string, error) { return "", run(ctx) }}
}

// steps runs steps in order up to the first that fails, and reports each.
func (a *agent) steps(ctx context.Context, all ...step) error {
	for _, s := range all {
		if err := a.step(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

func (a *agent) step(ctx context.Context, s step) error {
	began := time.Now()
	// On the way back to a step that failed, what went well before is not news.
	again := a.wasDone(s.name)
	if !again {
		a.Report.Say(s.name, status.Start, "", nil)
	}
	result, err := s.run(ctx)
	if err != nil {
		a.fail(ctx, s.name, err)
		return err
	}
	if !again {
		seconds := float64(time.Since(began).Milliseconds()) / 1000
		a.noteDone(s.name, seconds)
		a.Report.Say(s.name, status.Done, result, map[string]any{"seconds": seconds})
	}
	return nil
}

// keep keeps what there is to tell of.
func (a *agent) keep(env join.Env) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.env = env
}

func (a *agent) kept() join.Env {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.env
}

func (a *agent) wasDone(name string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	_, ok := a.took[name]
	return ok
}

func (a *agent) noteDone(name string, seconds float64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.took[name] = seconds
}

func (a *agent) seconds() map[string]any {
	a.mu.Lock()
	defer a.mu.Unlock()
	return maps.Clone(a.took)
}

// fail reports an error, the same one not more than once a minute. Of programs
// the step is what is compared: their words hold times and process numbers.
func (a *agent) fail(ctx context.Context, name string, err error) {
	if ctx.Err() != nil {
		return
	}
	key := name
	if name == "describe" {
		key += err.Error()
	}
	a.mu.Lock()
	before := a.said[key]
	again := time.Since(before) < time.Minute
	if !again {
		a.said[key] = time.Now()
	}
	a.mu.Unlock()
	if !again {
		a.Report.Say(name, status.Failed, err.Error(), map[string]any{"retry": true})
	}
}

// bundlePath is where the files of a bundle lie while the machine runs: in
// memory, for root.
const bundlePath = "/run/trivet/bundle"

// placeFiles writes the files of the bundle.
func (a *agent) placeFiles(files map[string][]byte) error {
	if len(files) == 0 {
		return nil
	}
	if err := os.MkdirAll(filepath.Join(a.Root, bundlePath), 0o700); err != nil {
		return fmt.Errorf("place the files of the bundle: %w", err)
	}
	for _, path := range slices.Sorted(maps.Keys(files)) {
		if err := host.WriteFile(filepath.Join(a.Root, bundlePath, path), files[path], 0o400, -1, -1); err != nil {
			return fmt.Errorf("place the files of the bundle: %w", err)
		}
	}
	return nil
}

// render writes the configuration, opens it to its services by tmpfiles.d, and
// lets systemd read what is new of its own.
func (a *agent) render(ctx context.Context, env join.Env) error {
	data := render.NewData(env.Node, env.Device, a.role)
	data.TLS = certified(env.Files)
	written, err := render.Files(a.Root, a.Root, data, declaredSecrets(a.role))
	if err != nil {
		return err
	}
	if len(written) > 0 {
		if _, err := a.Host.Run(ctx, host.Command{Args: append([]string{"systemd-tmpfiles", "--create"}, prefixes(written)...)}); err != nil {
			return fmt.Errorf("open the rendered files to their services: %w", err)
		}
	}
	for _, path := range written {
		if strings.HasPrefix(path, "/etc/systemd/system/") {
			if _, err := a.Host.Run(ctx, host.Command{Args: []string{"systemctl", "daemon-reload"}}); err != nil {
				return fmt.Errorf("let systemd read rendered units: %w", err)
			}
			break
		}
	}
	return nil
}

// prefixes limits systemd-tmpfiles to the rendered files and their folders: a
// line of some other package is not this step's business.
func prefixes(files []string) []string {
	var all []string
	for _, f := range files {
		if dir := filepath.Dir(f); dir != "/etc" {
			f = dir
		}
		if p := "--prefix=" + f; !slices.Contains(all, p) {
			all = append(all, p)
		}
	}
	return all
}

// identify gives the machine its name, and lets its operators in.
func (a *agent) identify(ctx context.Context, known description) error {
	for _, f := range render.Identity(known.config) {
		if err := host.WriteFile(filepath.Join(a.Root, f.Path), []byte(f.Content), 0o644, -1, -1); err != nil {
			return fmt.Errorf("write %s: %w", f.Path, err)
		}
	}
	if err := a.System.SetHostname(known.config.Name); err != nil {
		return fmt.Errorf("set the host name: %w", err)
	}
	return a.sshKeys(ctx)
}

// sshKeys makes the node's SSH key at its first boot, and puts it at each boot
// where sshd looks for it; then sshd, which no preset starts, can.
func (a *agent) sshKeys(ctx context.Context) error {
	const name = "ssh_host_ed25519_key"
	folder := filepath.Join(a.Root, statePath, "ssh")
	if _, err := os.Stat(filepath.Join(folder, name)); errors.Is(err, os.ErrNotExist) {
		if err := a.makeKey(ctx, folder, name); err != nil {
			return fmt.Errorf("make the SSH host key: %w", err)
		}
	}
	for _, f := range []struct {
		end  string
		mode os.FileMode
	}{{".pub", 0o644}, {"", 0o600}} { // the private key last: where it is, all is
		key, err := os.ReadFile(filepath.Join(folder, name+f.end))
		if err == nil {
			err = host.WriteFile(filepath.Join(a.Root, "/etc/ssh", name+f.end), key, f.mode, -1, -1)
		}
		if err != nil {
			return fmt.Errorf("place the SSH host key: %w", err)
		}
	}
	return host.StartUnit(ctx, a.Host, "ssh.service")
}

func (a *agent) makeKey(ctx context.Context, folder, name string) error {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return err
	}
	fresh := filepath.Join(folder, "new")
	for _, left := range []string{fresh, fresh + ".pub"} {
		if err := os.Remove(left); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	if _, err := a.Host.Run(ctx, host.Command{Args: []string{"ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", fresh}}); err != nil {
		return err
	}
	if err := host.SyncFS(folder); err != nil {
		return err
	}
	for _, end := range []string{".pub", ""} {
		if err := os.Rename(fresh+end, filepath.Join(folder, name+end)); err != nil {
			return err
		}
	}
	return host.SyncDir(folder)
}

func readRole(root string) (roles.Role, error) {
	data, err := os.ReadFile(filepath.Join(root, rolePath))
	if err != nil {
		return roles.Role{}, fmt.Errorf("read the image's role: %w", err)
	}
	return roles.DecodeJSON(data)
}

// imageName tells images apart: by the root hash of the kernel command line, or
// by the role file's time where the root is not sealed, as in a container.
func imageName(root string) string {
	line, _ := os.ReadFile(filepath.Join(root, "/proc/cmdline"))
	for word := range strings.FieldsSeq(string(line)) {
		if hash, ok := strings.CutPrefix(word, "roothash="); ok {
			return hash
		}
	}
	if info, err := os.Stat(filepath.Join(root, rolePath)); err == nil {
		return "unsealed-" + info.ModTime().UTC().Format("20060102T150405Z")
	}
	return "unsealed"
}

// sleep waits, or ends early with ctx's error.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
