package main

import (
	"context"
	"fmt"

	"github.com/urfave/cli/v3"

	"trivet/builder"
)

func doctorCommand() *cli.Command {
	return &cli.Command{
		Name:        "doctor",
		Usage:       "check that this host can build images, and say what to do where it cannot",
		Description: "EXAMPLE\n   trivet doctor",
		Flags:       []cli.Flag{cacheFlag(), jsonFlag()},
		Action: func(ctx context.Context, c *cli.Command) error {
			cache, err := cacheDir(c)
			if err != nil {
				return err
			}
			checks := builder.Doctor(ctx, cache)
			if c.Bool("json") {
				err = printJSON(c, checks)
			} else {
				for _, k := range checks {
					fmt.Fprintf(c.Root().Writer, "%-4s %s%s\n", k.Verdict(), k.Name, k.Hint())
				}
			}
			if err != nil {
				return err
			}
			for _, k := range checks {
				if !k.OK {
					return fmt.Errorf("this host cannot build images yet: see the lines marked %q", "no")
				}
			}
			return nil
		},
	}
}

func cacheCommand() *cli.Command {
	return &cli.Command{
		Name:  "cache",
		Usage: "show or prune what builds keep",
		Commands: []*cli.Command{
			{
				Name: "show", Usage: "list the kinds of cached things with their sizes", Flags: []cli.Flag{cacheFlag(), jsonFlag()},
				Description: "EXAMPLE\n   trivet cache show",
				Action:      cacheShow,
			},
			{
				Name: "prune", Usage: "remove what was not used for longest until the cache is small enough",
				Description: "EXAMPLE\n   trivet cache prune --keep 10GiB",
				Flags: []cli.Flag{
					cacheFlag(), jsonFlag(),
					&cli.StringFlag{Name: "keep", Value: "20GiB", Usage: "`SIZE` to keep at most"},
				},
				Action: cachePrune,
			},
		},
	}
}

func cacheShow(_ context.Context, c *cli.Command) error {
	dir, err := cacheDir(c)
	if err != nil {
		return err
	}
	usage, err := builder.CacheUsage(dir)
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return printJSON(c, usage)
	}
	_, err = fmt.Fprint(c.Root().Writer, usage)
	return err
}

func cachePrune(ctx context.Context, c *cli.Command) error {
	dir, err := cacheDir(c)
	if err != nil {
		return err
	}
	freed, err := builder.PruneCache(ctx, dir, c.String("keep"))
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return printJSON(c, map[string]int64{"freed_bytes": freed})
	}
	_, err = fmt.Fprintf(c.Root().Writer, "freed %d MiB\n", freed>>20)
	return err
}
