package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"

	"github.com/urfave/cli/v3"

	"trivet/firstboot"
	"trivet/firstboot/status"
)

func statusCommand(stdout io.Writer) *cli.Command {
	return &cli.Command{
		Name:         "status",
		Usage:        "tell how this node is: what it waits for, its clusters, who holds the virtual IP",
		OnUsageError: usageError,
		Flags:        []cli.Flag{&cli.BoolFlag{Name: "json", Usage: "for scripts"}},
		Action: func(ctx context.Context, c *cli.Command) error {
			if c.Args().Present() {
				return fmt.Errorf("status takes no arguments; %w", errUsage)
			}
			client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				var d net.Dialer
				return d.DialContext(ctx, "unix", firstboot.LocalSocket)
			}}}
			s, err := status.Read(ctx, client, "http://agent/status")
			if err != nil {
				return fmt.Errorf("%w; is trivet-agent.service running, and are you root?", err)
			}
			if c.Bool("json") {
				enc := json.NewEncoder(stdout)
				enc.SetIndent("", "  ")
				return enc.Encode(s)
			}
			return s.WriteText(stdout)
		},
	}
}
