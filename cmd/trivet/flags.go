package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/urfave/cli/v3"

	"trivet/builder"
	"trivet/builder/apt"
)

// sourceFlags say what to build from; build, plan and lock share them.
func sourceFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "source", Value: ".", Usage: "the `DIR` that holds roles/ and overlays/"},
		cacheFlag(),
		&cli.StringFlag{Name: "mirror", Usage: "`URL` of the Debian archive (default: the one that this host's apt uses)"},
		&cli.StringFlag{Name: "security-mirror", Usage: "`URL` of the security archive (default: as --mirror, with debian-security for debian)"},
		&cli.StringFlag{Name: "snapshot", Usage: "the archive as it was at `TIME`, such as 20261101T000000Z; stands for {time} in --mirror, which must be a snapshot archive"},
		&cli.StringFlag{Name: "suite", Value: "trixie", Usage: "Debian `SUITE`; its updates and security pockets come with it"},
		&cli.StringFlag{Name: "arch", Value: runtime.GOARCH, Usage: "Debian `ARCH` of the image"},
		&cli.StringFlag{Name: "locked", Usage: "take exactly the packages of the lock `FILE`, or fail"},
	}
}

func cacheFlag() cli.Flag {
	return &cli.StringFlag{Name: "cache", Sources: cli.EnvVars("TRIVET_CACHE"), Usage: "keep what can be used again in `DIR` (default: ~/.cache/trivet)"}
}

func jsonFlag() cli.Flag {
	return &cli.BoolFlag{Name: "json", Usage: "print JSON for a script"}
}

func cacheDir(c *cli.Command) (string, error) {
	if dir := c.String("cache"); dir != "" {
		return filepath.Abs(dir)
	}
	base, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find the cache directory: %w; give --cache DIR", err)
	}
	return filepath.Join(base, "trivet"), nil
}

// inputs turns the shared flags into the builder's typed inputs.
func inputs(ctx context.Context, c *cli.Command) (builder.Inputs, error) {
	cache, err := cacheDir(c)
	if err != nil {
		return builder.Inputs{}, err
	}
	source, err := filepath.Abs(c.String("source"))
	if err != nil {
		return builder.Inputs{}, fmt.Errorf("find --source: %w", err)
	}
	in := builder.Inputs{
		Source: source, Cache: cache, Suite: c.String("suite"), Arch: c.String("arch"), Locked: c.String("locked"),
		Version: version, Jobs: runtime.NumCPU(), SectorSize: 512,
	}
	if in.Mirrors, err = mirrors(c); err != nil {
		return in, err
	}
	if in.At, err = snapshot(c, &in.Mirrors); err != nil {
		return in, err
	}
	in.Proxy, err = apt.HostProxy(ctx)
	return in, err
}

// snapshotTime is the form in which Debian's snapshot archive writes times.
const snapshotTime = "20060102T150405Z"

// snapshot puts the time of --snapshot into the mirrors' URLs and returns it.
func snapshot(c *cli.Command, m *apt.Mirrors) (time.Time, error) {
	text := c.String("snapshot")
	if text == "" {
		return time.Time{}, nil
	}
	at, err := time.Parse(snapshotTime, text)
	if err != nil {
		return at, usage("--snapshot %s is not a time such as %s", text, snapshotTime)
	}
	if !strings.Contains(m.Archive, "{time}") || !strings.Contains(m.Security, "{time}") {
		return at, usage("--snapshot needs --mirror (and --security-mirror) with {time} where the URL of the snapshot archive has the time")
	}
	m.Archive, m.Security = strings.ReplaceAll(m.Archive, "{time}", text), strings.ReplaceAll(m.Security, "{time}", text)
	return at, nil
}

func mirrors(c *cli.Command) (apt.Mirrors, error) {
	m := apt.Mirrors{Archive: c.String("mirror"), Security: c.String("security-mirror")}
	if m.Archive == "" && m.Security == "" {
		return apt.HostMirrors("/etc/apt")
	}
	if m.Archive == "" {
		return m, usage("--security-mirror needs --mirror beside it")
	}
	if m.Security == "" {
		m.Security = apt.SecurityBeside(m.Archive)
	}
	return m, nil
}

// roleArgs are the roles named on the command line, all of them if none is.
func roleArgs(c *cli.Command, in builder.Inputs) ([]string, error) {
	if c.Args().Present() {
		return c.Args().Slice(), nil
	}
	return builder.RoleNames(in.Source)
}

// oneArg is the only argument, called what in the error.
func oneArg(c *cli.Command, what string) (string, error) {
	if c.Args().Len() != 1 {
		return "", usage("%s takes one argument, %s; got %d", c.Name, what, c.Args().Len())
	}
	return c.Args().First(), nil
}
