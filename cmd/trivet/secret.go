package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v3"
)

func clusterSecret() *cli.Command {
	return &cli.Command{
		Name: "secret", Usage: "print one secret of the cloud, such as the password of its first user", ArgsUsage: "NAME",
		Description: "EXAMPLE\n   trivet cluster secret keystone/admin --keys keys",
		Flags:       append(keyFlags(), sourceFlag()),
		Action: func(_ context.Context, c *cli.Command) error {
			name, err := oneArg(c, "NAME")
			if err != nil {
				return err
			}
			declared, err := declaredSecrets(c)
			if err != nil {
				return err
			}
			if !slices.Contains(declared, name) {
				slices.Sort(declared)
				return fmt.Errorf("no service declares a secret %q; there are: %s", name, strings.Join(slices.Compact(declared), ", "))
			}
			m, err := openKeys(c)
			if err != nil {
				return err
			}
			value, err := m.Secret(name)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(c.Root().Writer, value)
			return err
		},
	}
}
