package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/urfave/cli/v3"

	"trivet/builder"
	"trivet/builder/host"
)

func buildCommand() *cli.Command {
	return &cli.Command{
		Name:      "build",
		Usage:     "build the images of one or more roles, or of all",
		ArgsUsage: "[ROLE…]",
		Description: "Resolves the packages (or takes a lock), fetches, unpacks and configures them, lays the overlays, seals the root with dm-verity\n" +
			"and writes the artifacts below --out. What did not change is taken from the cache; when nothing changed it says so and ends.\n\n" +
			"EXAMPLE\n   trivet build controller --out out\n   trivet build --locked out/controller.lock controller",
		Flags: append(sourceFlags(),
			&cli.StringFlag{Name: "out", Value: "out", Usage: "write the artifacts to `DIR`"},
			&cli.IntFlag{Name: "jobs", Value: runtime.NumCPU(), Usage: "`N` workers"},
			&cli.IntFlag{Name: "sector-size", Value: 512, Usage: "logical sector `BYTES` of the disk: 512 or 4096 (artifacts ROLE.4k.*)"},
			&cli.BoolFlag{Name: "verbose", Aliases: []string{"v"}, Usage: "show what maintainer scripts and tools print"},
			jsonFlag(),
		),
		Action: build,
	}
}

func build(ctx context.Context, c *cli.Command) error {
	if err := host.BecomeRoot(); err != nil {
		return err
	}
	in, err := inputs(ctx, c)
	if err != nil {
		return err
	}
	if in.Out, err = filepath.Abs(c.String("out")); err != nil {
		return fmt.Errorf("find --out: %w", err)
	}
	if in.Init, in.Agent, err = siblings(); err != nil {
		return err
	}
	if in.SectorSize = c.Int("sector-size"); in.SectorSize != 512 && in.SectorSize != 4096 {
		return usage("--sector-size %d: give 512 or 4096", in.SectorSize)
	}
	if in.Jobs = c.Int("jobs"); in.Jobs < 1 {
		return usage("--jobs %d: give 1 or more", in.Jobs)
	}
	names, err := roleArgs(c, in)
	if err != nil {
		return err
	}
	bars := newProgress(c.Root().ErrWriter)
	defer bars.close()
	in.Progress, in.Log = bars.update, io.Discard
	if c.Bool("verbose") {
		in.Log = bars
	}
	return buildRoles(ctx, c, in, names, bars)
}

// A report is what `build --json` prints per role.
type report struct {
	Role      string          `json:"role"`
	Unchanged bool            `json:"unchanged"`
	Seconds   float64         `json:"seconds"`
	Manifest  string          `json:"manifest"`
	RootHash  string          `json:"root_hash"`
	Stages    []builder.Stage `json:"stages"`
}

func buildRoles(ctx context.Context, c *cli.Command, in builder.Inputs, names []string, bars *progress) error {
	var reports []report
	for _, name := range names {
		start := time.Now()
		bars.role(name)
		res, err := builder.Build(ctx, in, name)
		if err != nil {
			bars.close()
			return fmt.Errorf("build %s: %w", name, err)
		}
		r := report{
			Role: name, Unchanged: res.Unchanged, Seconds: time.Since(start).Seconds(), Stages: res.Stages,
			Manifest: filepath.Join(in.Out, res.Manifest.File()), RootHash: res.Manifest.RootHash,
		}
		reports = append(reports, r)
		bars.done(r)
	}
	if !c.Bool("json") {
		return nil
	}
	enc := json.NewEncoder(c.Root().Writer)
	enc.SetIndent("", "  ")
	return enc.Encode(reports)
}

// siblings are the two binaries that go into an image; they lie beside trivet.
func siblings() (initPath, agent string, err error) {
	self, err := os.Executable()
	if err != nil {
		return "", "", fmt.Errorf("find trivet's own file: %w", err)
	}
	dir := filepath.Dir(self)
	for _, name := range []string{"trivet-init", "trivet-agent"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			return "", "", fmt.Errorf("find the binary that goes into the image: %w; run `make bin`", err)
		}
	}
	return filepath.Join(dir, "trivet-init"), filepath.Join(dir, "trivet-agent"), nil
}
