// Command trivet-agent runs on every node: it learns who the machine is from
// its metadata, renders its configuration, joins its clusters and watches them.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/urfave/cli/v3"
)

// version is set by the linker.
var version = "unknown"

// Exit codes.
const (
	exitFailed = 1
	exitUsage  = 2
)

// errUsage marks an error of the command line.
var errUsage = errors.New("see --help")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run is the whole command: tests call it in-process.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	err := command(stdout, stderr).Run(ctx, args)
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errUsage):
		fmt.Fprintf(stderr, "trivet-agent: %v\n", err)
		return exitUsage
	default:
		fmt.Fprintf(stderr, "trivet-agent: %v\n", err)
		return exitFailed
	}
}

func command(stdout, stderr io.Writer) *cli.Command {
	root := &cli.StringFlag{Name: "root", Value: "/", Usage: "look at the image and its state below `DIR`"}
	return &cli.Command{
		Name:    "trivet-agent",
		Usage:   "makes this machine the node that its metadata describes",
		Version: version,
		Description: `Examples:
  trivet-agent explain                      which sources were looked at, which was taken, and why
  trivet-agent explain --json | jq .taken   the same for a script
  trivet-agent status                       what it waits for, its clusters, the virtual IP
  trivet-agent render --to /tmp/etc         the configuration of this node, secrets redacted
  trivet-agent render --root tree --to out  that of an unpacked image with a seed below
                                            tree/var/lib/cloud/seed/nocloud

Systemd runs "trivet-agent run". What it does is told on the console, in the
journal (journalctl -u trivet-agent), in /run/trivet/status.json, and as JSON
lines on the virtio port trivet.status.`,
		Writer: stdout, ErrWriter: stderr,
		ExitErrHandler: func(context.Context, *cli.Command, error) {}, // run says it once
		OnUsageError:   usageError,
		Commands:       []*cli.Command{runCommand(stderr), explainCommand(root, stdout), statusCommand(stdout), renderCommand(root, stdout)},
		Action: func(_ context.Context, c *cli.Command) error {
			if c.Args().Present() {
				return fmt.Errorf("there is no command %q; %w", c.Args().First(), errUsage)
			}
			return cli.ShowRootCommandHelp(c)
		},
	}
}

// usageError marks what cli says of flags. It is not inherited: each command
// names it.
func usageError(_ context.Context, _ *cli.Command, err error, _ bool) error {
	return fmt.Errorf("%w; %w", err, errUsage)
}
