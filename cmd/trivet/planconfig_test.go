package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"trivet/builder"
	"trivet/firstboot/enroll/cloud"
	"trivet/firstboot/render"
	"trivet/roles"
)

// TestPlanShowsOptions: what the example of three controllers adds to each
// role's services.
func TestPlanShowsOptions(t *testing.T) {
	text, err := cloud.Example("three")
	if err != nil {
		t.Fatal(err)
	}
	c, err := cloud.Parse("three.yaml", text)
	if err != nil {
		t.Fatal(err)
	}
	all, err := roles.LoadAll("../../roles")
	if err != nil {
		t.Fatal(err)
	}
	for _, role := range all {
		plan := builder.Plan{Role: role.Name}
		for _, s := range role.Services {
			plan.Services = append(plan.Services, builder.PlanService{Name: s.Name})
		}
		text := cloudPlan{plan, c.Name, plannedOptions(plan.Services, c)}.String()
		_, got, found := strings.Cut(text, "\ncloud acme\n")
		want := ""
		if role.Name == "controller" {
			want = "option keystone [token] expiration = 7200\noption mariadb [mariadbd] innodb_io_capacity = 1000\n"
		}
		if d := cmp.Diff(want, got); d != "" || !found {
			t.Errorf("%s: %s", role.Name, d)
		}
	}
}

// TestConfigurable: the services that `config:` may name are those whose
// templates take options, so that none is silently dropped.
func TestConfigurable(t *testing.T) {
	overlays, err := os.ReadDir("../../overlays")
	if err != nil {
		t.Fatal(err)
	}
	var takers []string
	for _, o := range overlays {
		some, err := render.Takers(filepath.Join("../../overlays", o.Name()))
		if err != nil {
			t.Fatal(err)
		}
		takers = append(takers, some...)
	}
	slices.Sort(takers)
	if d := cmp.Diff(cloud.Configurable(), slices.Compact(takers)); d != "" {
		t.Errorf("cloud.Configurable and {{options}} in overlays/ (-first +second):\n%s", d)
	}
}
