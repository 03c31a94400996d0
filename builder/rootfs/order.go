package rootfs

import "sort"

// inDependencyOrder sorts packages so that, as far as there are no circles,
// each comes after what it depends on.
func inDependencyOrder(pkgs []stored) []stored {
	o := ordering{by: map[string][]int{}, pkgs: append([]stored(nil), pkgs...)}
	sort.Slice(o.pkgs, func(i, j int) bool { return o.pkgs[i].deb.Name < o.pkgs[j].deb.Name })
	o.done = make([]bool, len(o.pkgs))
	for i, p := range o.pkgs {
		o.by[p.deb.Name] = append(o.by[p.deb.Name], i)
		for _, group := range parseRelations(p.stanza.get("Provides")) {
			for _, r := range group {
				o.by[r.name] = append(o.by[r.name], i)
			}
		}
	}
	for i := range o.pkgs {
		o.visit(i)
	}
	return o.out
}

type ordering struct {
	pkgs []stored
	by   map[string][]int // name, real or provided → indices
	done []bool
	out  []stored
}

func (o *ordering) visit(i int) {
	if o.done[i] {
		return
	}
	o.done[i] = true
	for _, name := range []string{"Pre-Depends", "Depends"} {
		for _, group := range parseRelations(o.pkgs[i].stanza.get(name)) {
			for _, r := range group {
				for _, j := range o.by[r.name] {
					o.visit(j)
				}
			}
		}
	}
	o.out = append(o.out, o.pkgs[i])
}
