package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/urfave/cli/v3"

	"trivet/builder"
	"trivet/firstboot/enroll/cloud"
)

// A cloudPlan is a role's plan with what one cloud adds to it on its nodes.
type cloudPlan struct {
	builder.Plan
	Cloud  string          `json:"cloud"`
	Config []plannedOption `json:"config"`
}

// A plannedOption is one that `config:` of a cloud has for a service.
type plannedOption struct {
	Service string `json:"service"`
	Section string `json:"section"`
	Option  string `json:"option"`
	Value   string `json:"value"`
}

func cloudFlag() cli.Flag {
	return &cli.StringFlag{Name: "cloud", Usage: "show also what config: of the description `FILE` adds to the files of the role's services"}
}

// plannedCloud reads the description that --cloud names; nil without one.
func plannedCloud(c *cli.Command) (*cloud.Cloud, error) {
	path := c.String("cloud")
	if path == "" {
		return nil, nil
	}
	described, err := cloud.Read(path)
	return &described, err
}

func tellPlan(c *cli.Command, plan builder.Plan, described *cloud.Cloud) error {
	if described == nil {
		if c.Bool("json") {
			return printJSON(c, plan)
		}
		_, err := fmt.Fprint(c.Root().Writer, plan)
		return err
	}
	all := cloudPlan{plan, described.Name, plannedOptions(plan.Services, *described)}
	if c.Bool("json") {
		return printJSON(c, all)
	}
	_, err := fmt.Fprint(c.Root().Writer, all)
	return err
}

// plannedOptions are those of the role's services, sorted.
func plannedOptions(services []builder.PlanService, c cloud.Cloud) []plannedOption {
	all := []plannedOption{}
	for _, service := range slices.Sorted(maps.Keys(c.Config)) {
		if !slices.ContainsFunc(services, func(s builder.PlanService) bool { return s.Name == service }) {
			continue
		}
		for _, section := range slices.Sorted(maps.Keys(c.Config[service])) {
			options := c.Config[service][section]
			for _, option := range slices.Sorted(maps.Keys(options)) {
				all = append(all, plannedOption{service, section, option, options[option]})
			}
		}
	}
	return all
}

// String is the plan's, and a line for each option.
func (p cloudPlan) String() string {
	var w strings.Builder
	fmt.Fprintf(&w, "%scloud %s\n", p.Plan, p.Cloud)
	for _, o := range p.Config {
		fmt.Fprintf(&w, "option %s [%s] %s = %s\n", o.Service, o.Section, o.Option, o.Value)
	}
	return w.String()
}
