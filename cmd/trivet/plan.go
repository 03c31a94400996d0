package main

import (
	"context"
	"fmt"

	"github.com/urfave/cli/v3"

	"trivet/builder"
)

func planCommand() *cli.Command {
	return &cli.Command{
		Name:        "plan",
		Usage:       "print everything that the image of a role will hold",
		ArgsUsage:   "ROLE",
		Description: "Prints services, packages with versions, files with their overlay, units, partitions and the kernel command line, sorted.\n\nEXAMPLE\n   trivet plan controller --locked out/controller.lock --cloud cloud.yaml",
		Flags:       append(sourceFlags(), jsonFlag(), cloudFlag()),
		Action: func(ctx context.Context, c *cli.Command) error {
			name, err := oneArg(c, "ROLE")
			if err != nil {
				return err
			}
			in, err := inputs(ctx, c)
			if err != nil {
				return err
			}
			described, err := plannedCloud(c)
			if err != nil {
				return err
			}
			plan, err := builder.NewPlan(ctx, in, name)
			if err != nil {
				return err
			}
			return tellPlan(c, plan, described)
		},
	}
}

func lockCommand() *cli.Command {
	return &cli.Command{
		Name:        "lock",
		Usage:       "write the lock of a role: the exact packages that a build takes",
		ArgsUsage:   "ROLE",
		Description: "Resolves the role against the archive as it is now. Commit the file and build from it with `trivet build --locked FILE ROLE`.\n\nEXAMPLE\n   trivet lock controller --output controller.lock",
		Flags:       append(sourceFlags(), &cli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "write to `FILE` (default: ROLE.lock)"}),
		Action: func(ctx context.Context, c *cli.Command) error {
			name, err := oneArg(c, "ROLE")
			if err != nil {
				return err
			}
			in, err := inputs(ctx, c)
			if err != nil {
				return err
			}
			lock, err := builder.Lock(ctx, in, name)
			if err != nil {
				return err
			}
			file := c.String("output")
			if file == "" {
				file = name + ".lock"
			}
			if err := lock.WriteFile(file); err != nil {
				return err
			}
			_, err = fmt.Fprintf(c.Root().ErrWriter, "%s: %d packages of %s, archive of %s\n", file, len(lock.Packages), lock.Suite, lock.Date.Format("2006-01-02 15:04"))
			return err
		},
	}
}
