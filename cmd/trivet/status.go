package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v3"

	"trivet/firstboot/enroll/cloud"
	"trivet/firstboot/status"
)

// agentPort is where an agent answers health checks, on its node's management
// address (package firstboot).
const agentPort = 9200

// askTimeout bounds the wait for one node.
const askTimeout = 5 * time.Second

func statusCommand() *cli.Command {
	return &cli.Command{
		Name: "status", Usage: "ask each node of a cloud how it is", ArgsUsage: "CLOUD.yaml",
		Description: "Asks the agents on the management network. The exit status is 1 when a node is silent or not ready.\n\nEXAMPLE\n   trivet status cloud.yaml",
		Flags:       []cli.Flag{&cli.BoolFlag{Name: "json", Usage: "all that the nodes tell, for scripts"}},
		Action: func(ctx context.Context, c *cli.Command) error {
			described, err := describedCloud(c)
			if err != nil {
				return err
			}
			answers := askAll(ctx, described.Nodes(), agentPort)
			if c.Bool("json") {
				enc := json.NewEncoder(c.Root().Writer)
				enc.SetIndent("", "  ")
				err = enc.Encode(answers)
			} else {
				err = writeAnswers(c.Root().Writer, answers)
			}
			if err != nil {
				return err
			}
			if bad := notReady(answers); len(bad) > 0 {
				return fmt.Errorf("%d of %d nodes are not ready: %s", len(bad), len(answers), strings.Join(bad, ", "))
			}
			return nil
		},
	}
}

// An answer is a node's, or why there is none.
type answer struct {
	Name   string        `json:"name"`
	Role   string        `json:"role"`
	Silent string        `json:"silent,omitempty"` // why it does not answer
	State  *status.State `json:"state,omitempty"`
}

// askAll asks all nodes at once.
func askAll(ctx context.Context, nodes []cloud.Node, port int) []answer {
	client := &http.Client{Timeout: askTimeout, Transport: &http.Transport{DisableKeepAlives: true}} // no proxy: nodes are near
	answers := make([]answer, len(nodes))
	var all sync.WaitGroup
	for i, n := range nodes {
		answers[i] = answer{Name: n.Name, Role: n.Role}
		all.Go(func() {
			s, err := status.Read(ctx, client, fmt.Sprintf("http://%s:%d/status", n.On(cloud.Management).Addr(), port))
			if err != nil {
				answers[i].Silent = err.Error()
				return
			}
			answers[i].State = &s
		})
	}
	all.Wait()
	return answers
}

func notReady(answers []answer) []string {
	var names []string
	for _, a := range answers {
		if a.State == nil || !a.State.Ready {
			names = append(names, a.Name)
		}
	}
	return names
}

// writeAnswers prints one line for each node, and below it what it waits for.
func writeAnswers(w io.Writer, answers []answer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "NODE\tROLE\tREADY\tVIRTUAL IP\tIMAGE")
	for _, a := range answers {
		if a.State == nil {
			fmt.Fprintf(t, "%s\t%s\tsilent\t\t\n", a.Name, a.Role)
			continue
		}
		ready, vip := "no", ""
		if a.State.Ready {
			ready = "yes"
		}
		if a.State.HoldsVIP {
			vip = a.State.VIP
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%.16s\n", a.Name, a.Role, ready, vip, a.State.Image)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, a := range answers {
		for _, line := range a.troubles() {
			if _, err := fmt.Fprintf(w, "%s: %s\n", a.Name, line); err != nil {
				return err
			}
		}
	}
	return nil
}

func (a answer) troubles() []string {
	if a.State == nil {
		return []string{a.Silent}
	}
	return a.State.Troubles()
}
