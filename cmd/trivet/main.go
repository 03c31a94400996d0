// Command trivet builds the sealed disk images of a highly available OpenStack
// cloud, one per role, and looks at what it built.
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

	"trivet/builder"
	"trivet/builder/host"
)

// version is set by the linker.
var version = "unknown"

// Exit codes, as `trivet help` documents them.
const (
	exitFailed      = 1
	exitUsage       = 2
	exitInterrupted = 130 // 128 + SIGINT, as shells have it
)

// errUsage marks an error of the command line.
var errUsage = errors.New("see --help")

func main() {
	host.Main(builder.Funcs())
	syscall.Umask(0o022) // what a build makes does not depend on who builds
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
	case ctx.Err() != nil:
		fmt.Fprintln(stderr, "trivet: interrupted; nothing half-written is left, the next build goes on from the cache")
		return exitInterrupted
	case errors.Is(err, errUsage):
		fmt.Fprintf(stderr, "trivet: %v\n", err)
		return exitUsage
	default:
		fmt.Fprintf(stderr, "trivet: %v\n", err)
		return exitFailed
	}
}

func command(stdout, stderr io.Writer) *cli.Command {
	return &cli.Command{
		Name:    "trivet",
		Usage:   "build, check and look at the images of an OpenStack cloud",
		Version: version,
		Description: "trivet makes one immutable disk image per role (controller, compute, storage) from Debian packages.\n\n" +
			"Exit status: 0 done, 1 it did not work (the message says what, where and what to do), 2 wrong usage, 130 interrupted.\n\n" +
			"EXAMPLE\n   trivet build controller && trivet inspect out/controller.raw",
		Writer:                stdout,
		ErrWriter:             stderr,
		Suggest:               true,
		EnableShellCompletion: true,
		ConfigureShellCompletionCommand: func(c *cli.Command) {
			c.Hidden, c.Usage = false, "print the shell completion script for bash, zsh, fish or pwsh"
		},
		ExitErrHandler:  func(context.Context, *cli.Command, error) {}, // run decides
		OnUsageError:    func(_ context.Context, _ *cli.Command, err error, _ bool) error { return usage("%v", err) },
		CommandNotFound: func(_ context.Context, _ *cli.Command, name string) {},
		Action:          unknownCommand,
		Commands: []*cli.Command{
			buildCommand(), planCommand(), lockCommand(), inspectCommand(), verifyCommand(), clusterCommand(), statusCommand(), simulateCommand(), doctorCommand(), cacheCommand(),
		},
	}
}

// unknownCommand runs when the first word names no command.
func unknownCommand(_ context.Context, c *cli.Command) error {
	if c.Args().Present() {
		name := c.Args().First()
		if near := cli.SuggestCommand(c.Commands, name); near != "" {
			return usage("no command %q; did you mean %q?", name, near)
		}
		return usage("no command %q", name)
	}
	return cli.ShowRootCommandHelp(c)
}

func usage(format string, args ...any) error {
	return fmt.Errorf("%s: %w", fmt.Sprintf(format, args...), errUsage)
}
