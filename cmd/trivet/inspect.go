package main

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/urfave/cli/v3"

	"trivet/builder"
)

func inspectCommand() *cli.Command {
	return &cli.Command{
		Name:        "inspect",
		Usage:       "show what an image holds: partitions, root hash, packages, versions, units, sizes",
		ArgsUsage:   "IMAGE",
		Description: "IMAGE is a .raw file; the manifest that lies beside it tells packages and units.\n\nEXAMPLE\n   trivet inspect out/controller.raw",
		Flags:       []cli.Flag{jsonFlag()},
		Action: func(_ context.Context, c *cli.Command) error {
			path, err := oneArg(c, "IMAGE")
			if err != nil {
				return err
			}
			info, err := builder.Inspect(path)
			if err != nil {
				return err
			}
			if c.Bool("json") {
				return printJSON(c, info)
			}
			_, err = fmt.Fprint(c.Root().Writer, info)
			return err
		},
	}
}

func verifyCommand() *cli.Command {
	return &cli.Command{
		Name:        "verify",
		Usage:       "check an image: verity re-computed, the digest of every artifact of its manifest",
		ArgsUsage:   "IMAGE",
		Description: "IMAGE is a .raw file beside its manifest.\n\nEXAMPLE\n   trivet verify out/controller.raw",
		Flags:       []cli.Flag{jsonFlag()},
		Action: func(ctx context.Context, c *cli.Command) error {
			path, err := oneArg(c, "IMAGE")
			if err != nil {
				return err
			}
			checks, err := builder.Verify(ctx, path)
			if c.Bool("json") {
				if jerr := printJSON(c, checks); jerr != nil {
					return jerr
				}
				return err
			}
			for _, check := range checks {
				fmt.Fprintf(c.Root().Writer, "%-6s %s\n", check.Verdict(), check.Name)
			}
			return err
		},
	}
}

func printJSON(c *cli.Command, v any) error {
	enc := json.NewEncoder(c.Root().Writer)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}
