package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	"github.com/urfave/cli/v3"

	"trivet/firstboot"
	"trivet/firstboot/host"
	"trivet/firstboot/source"
	"trivet/firstboot/status"
)

// rescan is how often a machine that knows nothing looks at its sources.
const rescan = 5 * time.Second

// watch is how often each service of a ready node is looked at. A unit that is
// down is brought up again at once, one that does not answer after three looks.
const watch = 5 * time.Second

// memoryGoal is what the collector keeps the heap near, in bytes, so that the
// agent idles within 15 MB.
const memoryGoal = 12 << 20

func runCommand(stderr io.Writer) *cli.Command {
	return &cli.Command{
		Name:         "run",
		Usage:        "bring the node up and watch it; for systemd",
		OnUsageError: usageError,
		Action: func(ctx context.Context, c *cli.Command) error {
			if c.Args().Present() {
				return fmt.Errorf("run takes no arguments; %w", errUsage)
			}
			return serve(ctx, stderr)
		},
	}
}

func serve(ctx context.Context, stderr io.Writer) error {
	debug.SetMemoryLimit(memoryGoal)
	if err := os.MkdirAll(filepath.Dir(status.FilePath), 0o755); err != nil {
		return err
	}
	system, err := firstboot.NewSystem()
	if err != nil {
		return err
	}
	report := status.New(time.Now, status.NewPort(status.PortPath), status.NewConsole(status.ConsolePath), status.File{Path: status.FilePath}, status.Text{W: stderr}, status.Manager{}, system.Health)
	err = firstboot.Run(ctx, firstboot.Inputs{
		Root: "/", Host: host.System{}, Source: newSource("/"), Report: report, System: system, Rescan: rescan, Watch: watch,
		Log: func(line string) { fmt.Fprintln(stderr, line) },
	})
	if err != nil {
		report.Say("agent", status.Failed, err.Error(), nil)
	}
	return err
}

func newSource(root string) source.Env {
	return source.Env{
		Root: root, ReadDisk: host.ReadFiles, WriteDisk: host.WriteFiles, Client: source.NewClient(), Jitter: rand.Float64,
		Sleep: func(ctx context.Context, d time.Duration) error {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(d):
				return nil
			}
		},
	}
}
