package render

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"trivet/firstboot/node"
)

// TestNetworkGolden turns networks as real tools write them into the complete
// files of networkd and udev: FILE.txt has what FILE becomes. `make golden`
// takes a change over.
func TestNetworkGolden(t *testing.T) {
	inputs, err := filepath.Glob("testdata/network/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	data, err := filepath.Glob("testdata/network/*.json")
	if inputs = append(inputs, data...); err != nil || len(inputs) < 12 {
		t.Fatalf("%d samples, %v", len(inputs), err)
	}
	for _, input := range inputs {
		t.Run(filepath.Base(input), func(t *testing.T) {
			n := parseNetwork(t, input)
			var b strings.Builder
			for name, text := range sorted(Network(&n)) {
				fmt.Fprintf(&b, "== %s\n%s", name, text)
			}
			for _, what := range n.Ignored {
				fmt.Fprintf(&b, "== without effect: %s\n", what)
			}
			golden(t, input+".txt", b.String())
			checkFiles(t, Network(&n))
		})
	}
}

func parseNetwork(t *testing.T, file string) node.Network {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	parse := node.ParseNetwork
	if strings.HasSuffix(file, ".json") {
		parse = node.ParseNetworkData
	}
	n, err := parse(filepath.Base(file), text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	if updating() {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v; `make golden` writes it", err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Error(d)
	}
}

// checkFiles checks what is true of all files: each link that is named is also
// made or is a card, and every line is one that its section has.
func checkFiles(t *testing.T, files map[string]string) {
	t.Helper()
	made := map[string]bool{}
	for name, text := range files {
		if strings.HasSuffix(name, ".netdev") {
			made[value(text, "Name")] = true
		}
	}
	for name, text := range files {
		for line := range strings.Lines(text) {
			key, what, _ := strings.Cut(strings.TrimSpace(line), "=")
			if (key == "Bond" || key == "Bridge" || key == "VLAN") && !made[what] {
				t.Errorf("%s: %s is made by no .netdev", name, what)
			}
			if what == "" && strings.Contains(line, "=") {
				t.Errorf("%s: %q has no value", name, line)
			}
		}
		if strings.HasSuffix(name, ".network") && !strings.Contains(text, "[Match]\n") {
			t.Errorf("%s matches everything", name)
		}
	}
}

// value returns what a key is in a file.
func value(text, key string) string {
	_, rest, _ := strings.Cut(text, "\n"+key+"=")
	found, _, _ := strings.Cut(rest, "\n")
	return found
}

// TestFallback: the boot card has the default route, then the others in their
// order, and no two have the same metric.
func TestFallback(t *testing.T) {
	var b strings.Builder
	files := Fallback([]string{"52:54:00:00:00:01", "52:54:00:00:00:02", "52:54:00:00:00:03"}, "52:54:00:00:00:02")
	for name, text := range sorted(files) {
		fmt.Fprintf(&b, "== %s\n%s", name, text)
	}
	golden(t, "testdata/network-fallback.txt", b.String())
	seen := map[string]string{}
	for name, text := range files {
		if m := value(text, "RouteMetric"); m != "" && seen[m] != "" {
			t.Errorf("%s and %s have the metric %s", seen[m], name, m)
		} else {
			seen[m] = name
		}
	}
	if d := cmp.Diff(Fallback(nil, ""), Network(&node.Network{})); d != "" {
		t.Errorf("an empty network is not the default: %s", d)
	}
}
