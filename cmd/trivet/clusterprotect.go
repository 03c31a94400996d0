package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/urfave/cli/v3"
	"golang.org/x/term"

	"trivet/firstboot/enroll/trust"
)

func recipientFlag() cli.Flag {
	return &cli.StringSliceFlag{Name: "recipient", Usage: "encrypt the master to this age `RECIPIENT` in place of a passphrase; may be repeated"}
}

func clusterProtect() *cli.Command {
	return &cli.Command{
		Name: "protect", Usage: "encrypt the master of the cloud's keys anew: another passphrase, or other recipients",
		Description: "Nothing that follows from the master changes, and no node needs a new bundle. Copies of the keys that were made before still open as they did: delete them.\n\n" +
			"EXAMPLE\n   trivet cluster protect --keys keys --recipient age1… --recipient age1…",
		Flags: append(keyFlags(), recipientFlag(),
			&cli.StringFlag{Name: "new-passphrase-file", Usage: "read the new passphrase from `FILE` (default: ask on the terminal)"}),
		Action: func(_ context.Context, c *cli.Command) error {
			if c.Args().Present() {
				return usage("protect takes no arguments; got %d", c.Args().Len())
			}
			m, err := openKeys(c)
			if err != nil {
				return err
			}
			p, err := protection(c, "new-passphrase-file", "New passphrase of the cloud's keys: ")
			if err != nil {
				return err
			}
			if err := m.Reprotect(p); err != nil {
				return err
			}
			fmt.Fprintf(c.Root().Writer, "the master of %s is now encrypted with %v; copies of %s that were made before still open as they did: delete them\n", m.Cluster(), p, c.String("keys"))
			return nil
		},
	}
}

// protection is what the master is to be encrypted with: recipients if there are
// any, else the passphrase of the flag's file, or one that is asked for.
func protection(c *cli.Command, flag, prompt string) (trust.Protect, error) {
	p := trust.Protect{Recipients: c.StringSlice("recipient")}
	if len(p.Recipients) > 0 {
		return p, nil
	}
	var err error
	p.Passphrase, err = passphrase(c, flag, prompt, true)
	return p, err
}

// passphrase reads it from the flag's file, or asks; twice for a new one.
func passphrase(c *cli.Command, flag, prompt string, fresh bool) (string, error) {
	if name := c.String(flag); name != "" {
		text, err := os.ReadFile(name)
		if err != nil {
			return "", fmt.Errorf("read --%s: %w", flag, err)
		}
		return strings.TrimRight(string(text), "\r\n"), nil
	}
	in := int(os.Stdin.Fd())
	if !term.IsTerminal(in) {
		return "", usage("there is no terminal to ask for the passphrase of the keys; give --%s FILE", flag)
	}
	ask := func(prompt string) (string, error) {
		fmt.Fprint(c.Root().ErrWriter, prompt)
		text, err := term.ReadPassword(in)
		fmt.Fprintln(c.Root().ErrWriter)
		return string(text), err
	}
	first, err := ask(prompt)
	if err != nil || !fresh {
		return first, err
	}
	second, err := ask("The same again: ")
	if err == nil && first != second {
		err = errors.New("read the passphrase: the two differ")
	}
	return first, err
}
