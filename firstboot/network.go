package firstboot

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"trivet/firstboot/host"
	"trivet/firstboot/node"
	"trivet/firstboot/render"
	"trivet/firstboot/status"
)

// setUpNetwork gives networkd its files and lets it act on them. What is as it
// should be is left alone.
func (a *agent) setUpNetwork(ctx context.Context, n *node.Network) error {
	folder := filepath.Join(a.Root, render.NetworkFolder)
	want := render.Network(n)
	have, err := filepath.Glob(filepath.Join(folder, "*-trivet-*.network"))
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
	for _, old := range have {
		if err := os.Remove(old); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
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
	return nil
}

// renameLinks does what set-name asks. A card that is not there, or keeps its
// name, is told and does not stop the node: networkd finds it by its address.
func (a *agent) renameLinks(n node.Network) {
	for _, l := range n.Links {
		if l.Name == "" {
			continue
		}
		if err := a.System.RenameLink(l.MAC, l.Name); err != nil {
			a.Report.Say("network", status.Waiting, fmt.Sprintf("ethernets.%s: %v", l.ID, err), nil)
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
