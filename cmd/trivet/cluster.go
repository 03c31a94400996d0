package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/urfave/cli/v3"

	"trivet/builder"
	"trivet/builder/host"
	"trivet/firstboot/enroll"
	"trivet/firstboot/enroll/cloud"
	"trivet/firstboot/enroll/rings"
	"trivet/roles"
)

func clusterCommand() *cli.Command {
	return &cli.Command{
		Name:        "cluster",
		Usage:       "check the description of a cloud, and make what its nodes are told",
		Description: "EXAMPLE\n   trivet cluster example three >cloud.yaml && trivet cluster check cloud.yaml",
		Commands:    []*cli.Command{clusterExample(), clusterCheck(), clusterInit(), clusterBundle(), clusterSeed(), clusterRings(), clusterDiff(), clusterRotate(), clusterSecret(), clusterProtect(), clusterSchema()},
		Action:      unknownCommand,
	}
}

func clusterExample() *cli.Command {
	return &cli.Command{
		Name: "example", Usage: "print a commented cloud.yaml to begin with", ArgsUsage: strings.Join(cloud.Examples(), "|"),
		Description: "EXAMPLE\n   trivet cluster example lab >cloud.yaml",
		Action: func(_ context.Context, c *cli.Command) error {
			name, err := oneArg(c, strings.Join(cloud.Examples(), " or "))
			if err != nil {
				return err
			}
			text, err := cloud.Example(name)
			if err != nil {
				return err
			}
			_, err = c.Root().Writer.Write(text)
			return err
		},
	}
}

func clusterSchema() *cli.Command {
	return &cli.Command{
		Name: "schema", Usage: "print the JSON Schema of cloud.yaml, for editors",
		Description: "EXAMPLE\n   trivet cluster schema >cloud.schema.json",
		Action: func(_ context.Context, c *cli.Command) error {
			_, err := c.Root().Writer.Write(cloud.Schema())
			return err
		},
	}
}

// A finding is what `check --json` prints of one.
type finding struct {
	ID       string `json:"id"`
	Severity string `json:"severity"`
	File     string `json:"file"`
	Line     int    `json:"line"`
	Column   int    `json:"column"`
	Message  string `json:"message"`
}

func clusterCheck() *cli.Command {
	return &cli.Command{
		Name: "check", Usage: "find what is wrong in a description, all of it, each with its place and fix", ArgsUsage: "CLOUD.yaml",
		Description: "Exit status 1 if there is an error; warnings do not fail. Of the cloud's keys it tells which certificates end soon, and needs no passphrase for that.\n\nEXAMPLE\n   trivet cluster check cloud.yaml\n   trivet cluster check --list",
		Flags:       []cli.Flag{jsonFlag(), &cli.BoolFlag{Name: "list", Usage: "list what is checked, and check nothing"}, keysFlag()},
		Action: func(_ context.Context, c *cli.Command) error {
			if c.Bool("list") {
				for _, k := range cloud.Checks() {
					fmt.Fprintf(c.Root().Writer, "%-24s %-8v %s\n", k.ID, k.Severity, k.About)
				}
				return nil
			}
			path, err := oneArg(c, "CLOUD.yaml")
			if err != nil {
				return err
			}
			described, found, err := cloud.ExamineFile(path)
			if err != nil {
				return err
			}
			ends, err := endings(c, described.Name, time.Now())
			if err != nil {
				return err
			}
			return tellFindings(c, path, described, append(found, ends...))
		},
	}
}

func tellFindings(c *cli.Command, path string, described cloud.Cloud, found []cloud.Finding) error {
	faults := 0
	list := make([]finding, 0, len(found))
	for _, f := range found {
		if f.Severity == cloud.Error {
			faults++
		}
		list = append(list, finding{f.ID, fmt.Sprint(f.Severity), f.File, f.Line, f.Column, f.Message})
		if !c.Bool("json") {
			fmt.Fprintln(c.Root().Writer, f)
		}
	}
	if c.Bool("json") {
		if err := printJSON(c, list); err != nil {
			return err
		}
	}
	if faults > 0 {
		return fmt.Errorf("check %s: %d errors, %d warnings", path, faults, len(found)-faults)
	}
	if !c.Bool("json") {
		fmt.Fprintf(c.Root().Writer, "%s describes %s: %d controllers, %d computes, %d storage nodes; %d warnings\n",
			path, described.Name, len(described.Controllers), len(described.Computes), len(described.Storages), len(found))
	}
	return nil
}

func clusterDiff() *cli.Command {
	return &cli.Command{
		Name: "diff", Usage: "tell what differs between two descriptions, by node", ArgsUsage: "OLD.yaml NEW.yaml",
		Description: "EXAMPLE\n   trivet cluster diff cloud.yaml.orig cloud.yaml",
		Flags:       []cli.Flag{jsonFlag()},
		Action: func(_ context.Context, c *cli.Command) error {
			if c.Args().Len() != 2 {
				return usage("diff takes two arguments, OLD.yaml NEW.yaml; got %d", c.Args().Len())
			}
			before, err := cloud.Read(c.Args().Get(0))
			if err != nil {
				return err
			}
			after, err := cloud.Read(c.Args().Get(1))
			if err != nil {
				return err
			}
			changes := cloud.Diff(before, after)
			if c.Bool("json") {
				return printJSON(c, changes)
			}
			for _, change := range changes {
				fmt.Fprintln(c.Root().Writer, change)
			}
			return nil
		},
	}
}

func clusterRings() *cli.Command {
	return &cli.Command{
		Name: "rings", Usage: "make Swift's rings, or bring them up to the description, by Debian 13's swift-ring-builder", ArgsUsage: "CLOUD.yaml",
		Description: "Each version stays below --out with its builder files, without which rings cannot be changed: keep that directory.\n\nEXAMPLE\n   trivet cluster rings cloud.yaml --out rings",
		Flags:       append(sourceFlags(), jsonFlag(), &cli.StringFlag{Name: "out", Value: "rings", Usage: "keep the rings in `DIR`"}),
		Action:      makeRings,
	}
}

func makeRings(ctx context.Context, c *cli.Command) error {
	path, err := oneArg(c, "CLOUD.yaml")
	if err != nil {
		return err
	}
	described, err := cloud.Read(path)
	if err != nil {
		return err
	}
	in, err := inputs(ctx, c)
	if err != nil {
		return err
	}
	storage, err := roles.Load(filepath.Join(in.Source, "roles"), "storage")
	if err != nil {
		return err
	}
	plan, err := enroll.RingPlan(described, storage)
	if err != nil {
		return err
	}
	fmt.Fprintln(c.Root().ErrWriter, "opens a toolbox with swift-ring-builder (the first time takes half a minute)")
	box, err := builder.OpenToolbox(ctx, in, "swift")
	if err != nil {
		return err
	}
	out, err := filepath.Abs(c.String("out"))
	if err != nil {
		return fmt.Errorf("find --out: %w", err)
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return fmt.Errorf("make the directory of the rings: %w", err)
	}
	v, changed, err := rings.Update(ctx, out, plan, runIn(box))
	if err != nil {
		return err
	}
	return tellRings(c, v, changed)
}

// runIn is the toolbox as rings needs it: an exit code is an answer.
func runIn(box *builder.Toolbox) rings.Run {
	return func(ctx context.Context, dir string, out io.Writer, args ...string) (int, error) {
		err := box.Run(ctx, dir, out, args...)
		var exit *host.ExitError
		if errors.As(err, &exit) && exit.Code > 0 {
			return exit.Code, nil
		}
		return 0, err
	}
}

func tellRings(c *cli.Command, v rings.Version, changed bool) error {
	if c.Bool("json") {
		return printJSON(c, v)
	}
	what := "is unchanged"
	if changed {
		what = "is new"
	}
	fmt.Fprintf(c.Root().Writer, "version %d of the rings %s: %d devices, %d replicas, 2^%d partitions, in %s\n", v.Number, what, len(v.Plan.Devices), v.Plan.Replicas, v.Plan.PartPower, v.Dir)
	if changed {
		for _, said := range v.Said {
			first, _, _ := strings.Cut(said, "\n")
			fmt.Fprintln(c.Root().Writer, "  swift-ring-builder warns of "+first)
		}
	}
	return nil
}
