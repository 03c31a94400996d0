package firstboot

import (
	"slices"
	"strings"
	"testing"

	"trivet/firstboot/host"
	"trivet/firstboot/status"
)

// TestOptionsWithoutAFile: options that no file of the image takes are told at
// boot and by explain, and hold up nothing; those that one takes are in it.
func TestOptionsWithoutAFile(t *testing.T) {
	const unheard = "config of back: no file of this image takes it"
	n := newNode(t)
	n.put("/etc/more.conf.tmpl", "[DEFAULT]\nname = {{.Name}}\n{{- options \"front\"}}\n")
	n.seed(goodSeed + "config:\n  front: {DEFAULT: {debug: true}}\n  back: {x: {y: 1}}\n  elsewhere: {x: {y: 1}}\n")
	records := n.boot(ready)
	if !slices.ContainsFunc(records, said("describe", status.Done, "without effect here: "+unheard)) {
		t.Errorf("it is not told: %+v", records)
	}
	if got := n.read("/etc/more.conf"); !strings.HasSuffix(got, "\n[DEFAULT]\ndebug = true\n") {
		t.Errorf("more.conf: %q", got)
	}
	in := n.inputs()
	e, err := Explain(t.Context(), n.root, host.Runner(n), in.Source)
	if err != nil || e.Taken == nil || !slices.Equal(e.Taken.Ignored, []string{unheard}) || !slices.Equal(e.Stored.Ignored, []string{unheard}) {
		t.Errorf("explain: %+v %v", e, err)
	}
}
