package firstboot

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"trivet/firstboot/host"
	"trivet/firstboot/node"
	"trivet/firstboot/render"
	"trivet/firstboot/source"
	"trivet/firstboot/status"
)

// setUpNetwork gives networkd its files and lets it act on them. What is as it
// should be is left alone.
func (a *agent) setUpNetwork(ctx context.Context, n *node.Network) error {
	folder := filepath.Join(a.Root, render.NetworkFolder)
	want := a.networkFiles(n)
	have, err := filepath.Glob(filepath.Join(folder, render.NetworkPattern))
	if err != nil {
		return err
	}
	changed := len(have) != len(want)
	for name, content := range want {
		was, err := os.ReadFile(filepath.Join(folder, name))
		changed = changed || err != nil || string(was) != content
	}
	if !changed {
		return nil
	}
	gone, err := removeNetwork(have, want)
	if err != nil {
		return err
	}
	for name, content := range want {
		// Networkd reads them under its own user.
		if err := host.WriteFile(filepath.Join(folder, name), []byte(content), 0o644, -1, -1); err != nil {
			return fmt.Errorf("write %s: %w", name, err)
		}
	}
	if n != nil {
		a.renameLinks(*n)
	}
	if err := host.StartUnit(ctx, a.Host, "systemd-networkd.service"); err != nil {
		return err
	}
	if _, err := a.Host.Run(ctx, host.Command{Args: []string{"networkctl", "reload"}}); err != nil {
		return fmt.Errorf("let networkd read its files: %w", err)
	}
	// A reload makes what is new, and leaves what is no more.
	for _, name := range gone {
		if _, err := a.Host.Run(ctx, host.Command{Args: []string{"networkctl", "delete", name}}); err != nil {
			return fmt.Errorf("delete the interface %s, which the network no longer has: %w", name, err)
		}
	}
	return nil
}

// networkFiles are networkd's files; without a network of the description, DHCP
// on every card, where the default route is that of the card that the machine
// was booted from, else of the first.
func (a *agent) networkFiles(n *node.Network) map[string]string {
	if n != nil && len(n.Links) > 0 {
		return render.Network(n)
	}
	boot, err := source.BootCard(a.Source)
	if err != nil {
		a.Report.Say("network", status.Waiting, err.Error(), nil)
	}
	return render.Fallback(a.System.Cards(), boot)
}

// removeNetwork removes networkd's files, and returns the names of the
// interfaces that some of them made and that no wanted one makes.
func removeNetwork(have []string, want map[string]string) (gone []string, err error) {
	for _, path := range have {
		text, err := os.ReadFile(path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		if name := netdevName(string(text)); filepath.Ext(path) == ".netdev" && want[filepath.Base(path)] == "" && name != "" {
			gone = append(gone, name)
		}
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	return gone, nil
}

// netdevName is the Name= of a systemd.netdev(5).
func netdevName(text string) string {
	for line := range strings.Lines(text) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "Name="); ok {
			return name
		}
	}
	return ""
}

// renameLinks does what set-name asks. A card that is not there, or keeps its
// name, is told and does not stop the node: networkd finds it by its address.
func (a *agent) renameLinks(n node.Network) {
	for _, l := range n.Links {
		if l.Kind != node.Card || l.Name == "" || l.MAC == "" {
			continue
		}
		if err := a.System.RenameLink(l.MAC, l.Name); err != nil {
			a.Report.Say("network", status.Waiting, fmt.Sprintf("card %s: %v", l.ID, err), nil)
		}
	}
}

// How long a node waits for its address before it says so, and before it calls
// that a failure and looks at its description again.
const (
	addressPatience = 5 * time.Second
	addressTimeout  = 90 * time.Second
)

// waitForAddress waits until this machine has the address that the description
// gives it, and returns the interface that holds it.
func (a *agent) waitForAddress(ctx context.Context, c node.Config) (string, error) {
	want, said := c.Address.Addr(), false
	for began := time.Now(); ; {
		device, have, err := a.System.Holds(want)
		switch waited := time.Since(began); {
		case err != nil:
			return "", err
		case device != "" && c.Interface != "" && device != c.Interface:
			return "", fmt.Errorf("the description says that %s is on %s, but %s has it", want, c.Interface, device)
		case device != "":
			return device, nil
		case waited > addressTimeout:
			return "", fmt.Errorf("this machine does not have its address %s: %s; give it by a network-config or by DHCP, or correct address in the description", want, have)
		case waited > addressPatience && !said:
			a.Report.Say("network", status.Waiting, fmt.Sprintf("for the address %s: %s", want, have), nil)
			said = true
		}
		if err := sleep(ctx, 100*time.Millisecond); err != nil {
			return "", err
		}
	}
}

// onlineTimeout is how long a seed's server is not asked for want of any address
// of this machine.
const onlineTimeout = time.Minute

// waitOnline waits for any address by which a server can be reached.
func (a *agent) waitOnline(ctx context.Context) error {
	for began := time.Now(); !a.System.Online(); {
		if time.Since(began) > onlineTimeout {
			return errors.New("this machine got no address on any network card, so that no server can be asked")
		}
		if err := sleep(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}
