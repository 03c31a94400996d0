package main

import (
	"context"
	"fmt"
	"io"

	"github.com/urfave/cli/v3"

	"trivet/firstboot"
	"trivet/firstboot/host"
)

func renderCommand(root *cli.StringFlag, stdout io.Writer) *cli.Command {
	return &cli.Command{
		Name:         "render",
		Usage:        "write the configuration that this node would have, elsewhere",
		OnUsageError: usageError,
		Flags: []cli.Flag{
			root,
			&cli.StringFlag{Name: "to", Usage: "write below `DIR`", Required: true},
			&cli.StringFlag{Name: "device", Usage: "call the network interface `NAME`", Value: "eth0"},
			&cli.BoolFlag{Name: "with-secrets", Usage: "write secrets as they are, not [redacted]"},
		},
		Action: func(ctx context.Context, c *cli.Command) error {
			if c.Args().Present() {
				return fmt.Errorf("render takes no arguments; %w", errUsage)
			}
			written, err := firstboot.Preview(ctx, firstboot.PreviewInputs{
				Root: c.String("root"), To: c.String("to"), Device: c.String("device"),
				Secrets: c.Bool("with-secrets"), Source: newSource(c.String("root")), Host: host.System{},
			})
			for _, path := range written {
				fmt.Fprintln(stdout, path)
			}
			return err
		},
	}
}
