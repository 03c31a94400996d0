package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"

	"github.com/urfave/cli/v3"

	"trivet/firstboot"
	"trivet/firstboot/host"
)

func explainCommand(root *cli.StringFlag, stdout io.Writer) *cli.Command {
	return &cli.Command{
		Name:         "explain",
		Usage:        "tell where this node's description comes from, and why not from elsewhere",
		OnUsageError: usageError,
		Flags:        []cli.Flag{root, &cli.BoolFlag{Name: "json", Usage: "for scripts"}},
		Action: func(ctx context.Context, c *cli.Command) error {
			if c.Args().Present() {
				return fmt.Errorf("explain takes no arguments; %w", errUsage)
			}
			e, err := firstboot.Explain(ctx, c.String("root"), host.System{}, newSource(c.String("root")))
			if err != nil {
				return err
			}
			if c.Bool("json") {
				enc := json.NewEncoder(stdout)
				enc.SetIndent("", "  ")
				enc.SetEscapeHTML(false)
				return enc.Encode(e)
			}
			return e.WriteText(stdout)
		},
	}
}
