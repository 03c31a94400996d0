package builder

import (
	"context"
	"fmt"
	"path/filepath"
	"sort"
	"strings"

	"trivet/builder/apt"
	"trivet/builder/disk"
	"trivet/builder/overlay"
	"trivet/roles"
)

// A Plan is everything that an image will hold, resolved and sorted. Its text
// form is the golden file that a review reads.
type Plan struct {
	Role     string        `json:"role"`
	Services []PlanService `json:"services"`
	Start    []string      `json:"start"`
	Packages []PlanPackage `json:"packages"`
	Files    []PlanFile    `json:"files"`
	Repart   []string      `json:"repart"`
	Disk     disk.Layout   `json:"disk"`
	Cmdline  string        `json:"cmdline"`
}

// A PlanService is one service with its units.
type PlanService struct {
	Name  string   `json:"name"`
	Units []string `json:"units"`
	Boot  bool     `json:"boot"`
}

// A PlanPackage is one package of one set.
type PlanPackage struct{ Set, Name, Version string }

// A PlanFile is one file that an overlay lays.
type PlanFile struct {
	Path     string `json:"path"`
	Overlay  string `json:"overlay"`
	Template bool   `json:"template"`
}

// NewPlan resolves the role (or reads its lock) and says what its image will hold.
func NewPlan(ctx context.Context, in Inputs, name string) (Plan, error) {
	role, err := roles.Load(filepath.Join(in.Source, "roles"), name)
	if err != nil {
		return Plan{}, err
	}
	b := &build{in: in, clock: newClock()}
	lock, err := b.lock(ctx, role)
	if err != nil {
		return Plan{}, err
	}
	tree, err := overlay.Read(filepath.Join(in.Source, "overlays"), role.Overlays())
	if err != nil {
		return Plan{}, err
	}
	repart, err := disk.Repart(b.layout(role))
	if err != nil {
		return Plan{}, err
	}
	return planOf(role, lock, tree, b.layout(role), repart), nil
}

func planOf(role roles.Role, lock apt.Lock, tree overlay.Tree, layout disk.Layout, repart map[string]string) Plan {
	p := Plan{Role: role.Name, Start: role.Start, Disk: layout, Cmdline: cmdline("<root hash>")}
	for _, s := range role.Services {
		p.Services = append(p.Services, PlanService{Name: s.Name, Units: s.Units, Boot: s.Boot})
	}
	for _, k := range lock.Packages {
		p.Packages = append(p.Packages, PlanPackage{Set: k.Set, Name: k.Name, Version: k.Version})
	}
	sort.Slice(p.Packages, func(i, j int) bool {
		a, b := p.Packages[i], p.Packages[j]
		return a.Set < b.Set || a.Set == b.Set && a.Name < b.Name
	})
	for _, f := range tree.Files {
		p.Files = append(p.Files, PlanFile{Path: "/" + f.Path, Overlay: f.From, Template: f.Template})
	}
	for name := range repart {
		p.Repart = append(p.Repart, name)
	}
	sort.Strings(p.Repart)
	return p
}

// String is the readable form: one thing a line, sorted, made for diffs.
func (p Plan) String() string {
	var w strings.Builder
	fmt.Fprintf(&w, "role %s\ncmdline %s\n", p.Role, p.Cmdline)
	fmt.Fprintf(&w, "partition esp %d MiB\npartition root-a %d MiB\npartition verity-a %d MiB\n", p.Disk.ESP>>20, p.Disk.Root>>20, p.Disk.Verity>>20)
	for _, name := range p.Repart {
		fmt.Fprintf(&w, "repart %s\n", name)
	}
	for _, s := range p.Services {
		when := "by the agent"
		if s.Boot {
			when = "at boot"
		}
		for _, u := range s.Units {
			fmt.Fprintf(&w, "unit %s of %s, %s\n", u, s.Name, when)
		}
	}
	fmt.Fprintf(&w, "start %s\n", strings.Join(p.Start, " "))
	for _, f := range p.Files {
		kind := "file"
		if f.Template {
			kind = "template"
		}
		fmt.Fprintf(&w, "%s %s from overlays/%s\n", kind, f.Path, f.Overlay)
	}
	for _, k := range p.Packages {
		fmt.Fprintf(&w, "package %s %s %s\n", k.Set, k.Name, k.Version)
	}
	return w.String()
}

// RoleNames are the roles that source describes, sorted.
func RoleNames(source string) ([]string, error) {
	all, err := roles.LoadAll(filepath.Join(source, "roles"))
	if err != nil {
		return nil, err
	}
	var names []string
	for _, r := range all {
		names = append(names, r.Name)
	}
	sort.Strings(names)
	return names, nil
}
