package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/urfave/cli/v3"

	"trivet/firstboot/bundle"
	"trivet/firstboot/enroll"
	"trivet/firstboot/enroll/cloud"
	"trivet/firstboot/enroll/rings"
	"trivet/firstboot/enroll/seed"
	"trivet/firstboot/enroll/trust"
	"trivet/roles"
)

// keyFlags say where the cloud's keys are and what opens them.
func keyFlags() []cli.Flag {
	return []cli.Flag{
		keysFlag(),
		&cli.StringFlag{Name: "passphrase-file", Usage: "read the passphrase of the keys from `FILE` (default: ask on the terminal)"},
		&cli.StringFlag{Name: "identity", Usage: "open the keys with the age identities of `FILE`"},
	}
}

func keysFlag() cli.Flag {
	return &cli.StringFlag{Name: "keys", Value: "keys", Usage: "the `DIR` of the cloud's keys"}
}

func clusterInit() *cli.Command {
	return &cli.Command{
		Name: "init", Usage: "make the keys of a new cloud, once", ArgsUsage: "CLOUD.yaml",
		Description: "Every secret of the cloud follows from one master, which is encrypted with a passphrase or to age recipients, and never leaves --keys.\n\n" +
			"EXAMPLE\n   trivet cluster init cloud.yaml --keys keys --recipient age1…",
		Flags: append(keyFlags(), recipientFlag()),
		Action: func(_ context.Context, c *cli.Command) error {
			described, err := describedCloud(c)
			if err != nil {
				return err
			}
			protect, err := protection(c, "passphrase-file", "Passphrase of the cloud's keys: ")
			if err != nil {
				return err
			}
			m, err := trust.Init(c.String("keys"), described.Name, protect, time.Now())
			if err != nil {
				return err
			}
			fmt.Fprintf(c.Root().Writer, "the keys of %s are in %s; back that directory up: without it no node can be added or changed\n", m.Cluster(), c.String("keys"))
			return nil
		},
	}
}

func clusterRotate() *cli.Command {
	return &cli.Command{
		Name: "rotate", Usage: "begin a new epoch of one purpose, or list the purposes", ArgsUsage: "[PURPOSE]",
		Description: "What follows from a purpose becomes another; new bundles bring it to the nodes. A CA's old epoch stays trusted until --retire.\n\n" +
			"EXAMPLE\n   trivet cluster rotate\n   trivet cluster rotate galera/ca && trivet cluster bundle cloud.yaml",
		Flags:  append(keyFlags(), sourceFlag(), &cli.BoolFlag{Name: "retire", Usage: "end the trust in a CA's old epoch"}),
		Action: rotate,
	}
}

func rotate(_ context.Context, c *cli.Command) error {
	m, err := openKeys(c)
	if err != nil {
		return err
	}
	declared, err := declaredSecrets(c)
	if err != nil {
		return err
	}
	switch {
	case c.Args().Len() == 0:
		for _, p := range m.Purposes(declared) {
			about := p.Means
			if p.Fixed != "" {
				about = "fixed: " + p.Fixed
			}
			if !p.Until.IsZero() {
				about = strings.TrimSuffix("ends "+p.Until.Format(time.DateOnly)+"; "+about, "; ")
			}
			fmt.Fprintln(c.Root().Writer, strings.TrimSpace(fmt.Sprintf("%-28s epoch %-3d since %s  %s", p.Name, p.Epoch, p.Since.Format(time.DateOnly), about)))
		}
		return nil
	case c.Args().Len() > 1:
		return usage("rotate takes one PURPOSE; got %d", c.Args().Len())
	case c.Bool("retire"):
		return m.Retire(c.Args().First())
	}
	epoch, err := m.Rotate(c.Args().First(), declared, time.Now())
	if err == nil {
		fmt.Fprintf(c.Root().Writer, "%s is in epoch %d; make new bundles\n", c.Args().First(), epoch)
	}
	return err
}

func clusterBundle() *cli.Command {
	return &cli.Command{
		Name: "bundle", Usage: "make what each node is told: its description with its secrets encrypted, and its key apart", ArgsUsage: "CLOUD.yaml [NODE…]",
		Description: "Writes --out/NODE/{user-data,meta-data,network-config} and --node-keys/NODE.key. Hand the two to the machine by different ways: either alone is worth nothing.\n\n" +
			"EXAMPLE\n   trivet cluster bundle cloud.yaml --keys keys --out seeds --node-keys node-keys",
		Flags: append(makerFlags(),
			&cli.StringFlag{Name: "out", Value: "seeds", Usage: "write the seeds below `DIR`"},
			&cli.StringFlag{Name: "node-keys", Value: "node-keys", Usage: "write the nodes' keys below `DIR`"}),
		Action: func(_ context.Context, c *cli.Command) error {
			m, err := newMaker(c)
			if err != nil {
				return err
			}
			nodes := c.Args().Slice()[1:]
			if len(nodes) == 0 {
				for _, n := range m.Cloud.Nodes() {
					nodes = append(nodes, n.Name)
				}
			}
			for _, name := range nodes {
				o := seed.Options{Out: filepath.Join(c.String("out"), name), KeyOut: filepath.Join(c.String("node-keys"), name+".key"), Epoch: m.Now, Force: c.Bool("force")}
				if err := writeSeed(c, m, name, seed.NoCloudDir, o); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

func clusterSeed() *cli.Command {
	var forms []string
	for _, f := range seed.Formats() {
		forms = append(forms, string(f))
	}
	return &cli.Command{
		Name: "seed", Usage: "make what one node is told, in the form that its world hands over", ArgsUsage: "CLOUD.yaml NODE",
		Description: "EXAMPLE\n   trivet cluster seed cloud.yaml ctl1 --format nocloud-iso --out seeds/ctl1.iso --key-out node-keys/ctl1.key",
		Flags: append(makerFlags(),
			&cli.StringFlag{Name: "format", Value: string(seed.NoCloudISO), Usage: "one of `FORMAT` " + strings.Join(forms, ", ")},
			&cli.StringFlag{Name: "out", Required: true, Usage: "write to `PATH`: a folder for nocloud-dir and http, else a file"},
			&cli.StringFlag{Name: "key-out", Usage: "write the node's key to `FILE`, in another folder"},
			&cli.StringFlag{Name: "url", Usage: "for smbios: `URL` where the seed of format http is served"},
		),
		Action: func(_ context.Context, c *cli.Command) error {
			if c.Args().Len() != 2 {
				return usage("seed takes two arguments, CLOUD.yaml NODE; got %d", c.Args().Len())
			}
			format, err := seed.ParseFormat(c.String("format"))
			if err != nil {
				return usage("%v", err)
			}
			m, err := newMaker(c)
			if err != nil {
				return err
			}
			o := seed.Options{Out: c.String("out"), KeyOut: c.String("key-out"), URL: c.String("url"), Epoch: m.Now, Force: c.Bool("force"), Sign: m.Keys.Detached}
			if format == seed.SMBIOS {
				o.KeyForm = seed.KeySMBIOS
			}
			return writeSeed(c, m, c.Args().Get(1), format, o)
		},
	}
}

func makerFlags() []cli.Flag {
	return append(
		keyFlags(), sourceFlag(),
		&cli.StringFlag{Name: "rings", Usage: "take the newest rings of `DIR` along (trivet cluster rings)"},
		&cli.IntFlag{Name: "generation", Usage: "`N` of the descriptions; nodes refuse an older one (default: the minute of now)"},
		&cli.BoolFlag{Name: "form", Usage: "the cloud has not formed yet: give the controllers a ticket to do so, valid for a day"},
		&cli.BoolFlag{Name: "cleartext", Usage: "leave the secrets readable: for labs of one controller"},
		&cli.BoolFlag{Name: "force", Usage: "overwrite what is there"},
	)
}

// newMaker reads the description, opens the keys and looks for rings.
func newMaker(c *cli.Command) (enroll.Maker, error) {
	m := enroll.Maker{Now: time.Now(), Generation: c.Int("generation"), Forms: c.Bool("form"), Cleartext: c.Bool("cleartext")}
	var err error
	if c.Args().Len() == 0 {
		return m, usage("%s needs the description, CLOUD.yaml", c.Name)
	}
	if m.Cloud, err = cloud.Read(c.Args().First()); err != nil {
		return m, err
	}
	if m.Roles, err = roles.LoadAll(filepath.Join(c.String("source"), "roles")); err != nil {
		return m, err
	}
	if m.Rings, err = newestRings(c.String("rings")); err != nil {
		return m, err
	}
	if err := m.Check(); err != nil {
		return m, err
	}
	if m.Keys, err = openKeys(c); err != nil {
		return m, err
	}
	if m.Keys.Cluster() != m.Cloud.Name {
		return m, fmt.Errorf("the keys in %s are of the cloud %s, and %s describes %s", c.String("keys"), m.Keys.Cluster(), c.Args().First(), m.Cloud.Name)
	}
	if m.Cleartext {
		fmt.Fprintln(c.Root().ErrWriter, "WARNING: --cleartext leaves every secret of these nodes readable to whoever sees their seeds; the nodes will say so")
	}
	return m, nil
}

func newestRings(dir string) (bundle.Files, error) {
	if dir == "" {
		return nil, nil
	}
	v, err := rings.Current(dir)
	if err != nil {
		return nil, err
	}
	files := bundle.Files{}
	for _, name := range rings.Names() {
		if files["rings/"+name+".ring.gz"], err = os.ReadFile(filepath.Join(v.Dir, name+".ring.gz")); err != nil {
			return nil, fmt.Errorf("read the rings: %w", err)
		}
	}
	return files, nil
}

func writeSeed(c *cli.Command, m enroll.Maker, name string, format seed.Format, o seed.Options) error {
	n, ok := m.Cloud.Node(name)
	if !ok {
		return fmt.Errorf("%s describes no node %s", m.Cloud.File, name)
	}
	s, err := m.Seed(n)
	if err != nil {
		return err
	}
	if o.KeyOut == "" || s.Key == nil {
		s.Key, o.KeyOut = nil, ""
	}
	written, err := seed.Write(format, s, o)
	for _, f := range written {
		fmt.Fprintf(c.Root().Writer, "%s %v %d bytes: %s\n", f.Path, f.Mode, f.Size, f.About)
	}
	return err
}

func sourceFlag() cli.Flag {
	return &cli.StringFlag{Name: "source", Value: ".", Usage: "the `DIR` that holds roles/"}
}

func describedCloud(c *cli.Command) (cloud.Cloud, error) {
	path, err := oneArg(c, "CLOUD.yaml")
	if err != nil {
		return cloud.Cloud{}, err
	}
	return cloud.Read(path)
}

// declaredSecrets are the names of the secrets of all roles.
func declaredSecrets(c *cli.Command) ([]string, error) {
	all, err := roles.LoadAll(filepath.Join(c.String("source"), "roles"))
	if err != nil {
		return nil, err
	}
	var names []string
	for _, r := range all {
		for _, s := range r.Services {
			names = append(names, s.Secrets...)
		}
	}
	return names, nil
}

func openKeys(c *cli.Command) (*trust.Master, error) {
	dir := c.String("keys")
	public, err := trust.ReadPublic(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w; trivet cluster init makes the keys of a cloud, once", err)
	}
	if err != nil {
		return nil, err
	}
	var u trust.Unlock
	switch {
	case c.String("identity") != "":
		text, err := os.ReadFile(c.String("identity"))
		if err != nil {
			return nil, fmt.Errorf("read --identity: %w", err)
		}
		u.Identities = string(text)
	case public.ByPassphrase() || c.String("passphrase-file") != "":
		if u.Passphrase, err = passphrase(c, "passphrase-file", "Passphrase of the cloud's keys: ", false); err != nil {
			return nil, err
		}
	default:
		return nil, usage("the keys in %s are encrypted to age recipients; give --identity FILE", dir)
	}
	return trust.Open(dir, u)
}
