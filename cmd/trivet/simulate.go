package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/urfave/cli/v3"

	"trivet/firstboot/join"
)

func simulateCommand() *cli.Command {
	return &cli.Command{
		Name:      "simulate",
		Usage:     "say what the controllers would do with the database in recorded states, and why",
		ArgsUsage: "STATES.json",
		Description: "STATES.json holds the controllers' names, the record of their quorum, and what each node reports. The decision is taken by\n" +
			"the very code that runs on the nodes; nothing is touched. A dash reads the standard input.\n\n" +
			"EXAMPLE\n   trivet simulate states.json",
		Flags: []cli.Flag{jsonFlag()},
		Action: func(_ context.Context, c *cli.Command) error {
			path, err := oneArg(c, "STATES.json")
			if err != nil {
				return err
			}
			states, err := readStates(path)
			if err != nil {
				return fmt.Errorf("read the states in %s: %w", path, err)
			}
			plan := join.GaleraDecide(states)
			if c.Bool("json") {
				return printJSON(c, plan)
			}
			printPlan(c.Root().Writer, states, plan)
			return nil
		},
	}
}

func readStates(path string) (join.GaleraSituation, error) {
	if path == "-" {
		return join.ParseGaleraSituation(os.Stdin)
	}
	f, err := os.Open(path)
	if err != nil {
		return join.GaleraSituation{}, err
	}
	defer f.Close()
	return join.ParseGaleraSituation(f)
}

func printPlan(w io.Writer, s join.GaleraSituation, p join.GaleraPlan) {
	fmt.Fprintf(w, "%s", p.Verdict)
	for _, n := range p.Nodes {
		fmt.Fprintf(w, " %s", n)
	}
	fmt.Fprintf(w, "\n%s\n", p.Why)
	for _, line := range p.Table {
		fmt.Fprintf(w, "  %s\n", line)
	}
	for _, command := range p.Commands {
		fmt.Fprintf(w, "the operator may run, as root: %s\n", command)
	}
	if p.Verdict != join.GaleraJoin {
		return
	}
	for _, r := range s.Reports {
		if r.State != join.GaleraStopped {
			continue
		}
		keep, why, err := join.GaleraRejoin(r, s.Record)
		switch {
		case err != nil:
			fmt.Fprintf(w, "  %s stays away: %v\n", r.Node, err)
		case keep:
			fmt.Fprintf(w, "  %s joins as it is: %s\n", r.Node, why)
		default:
			fmt.Fprintf(w, "  %s takes a new copy: %s\n", r.Node, why)
		}
	}
}
