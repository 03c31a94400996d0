package cloud

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"trivet/firstboot/node"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// golden compares text with a file, or writes the file.
func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("%s (-want +got):\n%s", path, d)
	}
}

// broken returns the file of a check. Those that would be long are made longer
// here, as they say themselves.
func broken(t *testing.T, id string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", "bad", id+".yaml"))
	if err != nil {
		t.Fatal(err)
	}
	switch id {
	case "file-size":
		lines := bytes.SplitAfter(data, []byte("\n"))
		last := lines[len(lines)-2]
		data = append(data, bytes.Repeat(last, maxFile/len(last))...)
	case "nodes-many":
		keys := bytes.Index(data, []byte("ssh_authorized_keys:"))
		var more []byte
		for i := range maxNodes {
			more = fmt.Appendf(more, "  - {name: cmp%d, identity: {serial: A%d}, addresses: {management: 10.0.0.20}}\n", i, i+1)
		}
		data = slices.Concat(data[:keys], more, data[keys:])
	case "config-many":
		for i := range maxConfigOptions + 1 {
			data = fmt.Appendf(data, "      option%d: %d\n", i, i)
		}
	}
	return data
}

// TestEveryCheckCanFail: for each check there is a file in which it is the only
// one to find something, and its message is in the golden file beside it.
func TestEveryCheckCanFail(t *testing.T) {
	all := Checks()
	var ids []string
	for _, c := range all {
		ids = append(ids, c.ID)
		t.Run(c.ID, func(t *testing.T) {
			data := broken(t, c.ID)
			_, findings := Examine("cloud.yaml", data)
			var text strings.Builder
			for _, f := range findings {
				fmt.Fprintln(&text, f)
				switch {
				case f.ID != c.ID && c.ID != "too-many":
					t.Errorf("not this check's: %s", f)
				case f.ID == c.ID && f.Severity != c.Severity, f.File != "cloud.yaml", f.Line < 1, f.Column < 1:
					t.Errorf("severity or place is wrong: %+v", f)
				}
			}
			if !strings.Contains(text.String(), "["+c.ID+"]") || strings.Contains(text.String(), "%!") {
				t.Errorf("found:\n%s", text.String())
			}
			if strings.Contains(text.String(), "open-sesame") {
				t.Errorf("a secret is told:\n%s", text.String())
			}
			if c.ID == "too-many" { // the last line is enough
				text.Reset()
				fmt.Fprintln(&text, findings[len(findings)-1])
			}
			golden(t, filepath.Join("testdata", "bad", c.ID+".txt"), text.String())
			stops(t, c, data)
		})
	}
	if len(all) < 40 {
		t.Errorf("there are %d checks, fewer than 40", len(all))
	}
	slices.Sort(ids)
	if len(slices.Compact(slices.Clone(ids))) != len(ids) {
		t.Error("two checks have one ID")
	}
	files, err := filepath.Glob("testdata/bad/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		id := strings.TrimSuffix(filepath.Base(file), filepath.Ext(file))
		if !slices.Contains(ids, id) {
			t.Errorf("%s is of no check", file)
		}
	}
}

// stops shows that Parse fails at errors and not at warnings.
func stops(t *testing.T, c Check, data []byte) {
	t.Helper()
	parsed, err := Parse("cloud.yaml", data)
	var problems node.Problems
	switch {
	case c.Severity == Error && !errors.As(err, &problems):
		t.Errorf("Parse gave %v instead of node.Problems", err)
	case c.Severity == Error && parsed.Name != "":
		t.Error("Parse gave a cloud beside an error")
	case c.Severity == Warning && err != nil:
		t.Errorf("a warning stopped Parse: %v", err)
	case c.Severity == Warning && parsed.Name == "":
		t.Error("Parse gave no cloud")
	}
}

// TestChecksAreExplained: every check has all its words, and what the code says
// is in the table.
func TestChecksAreExplained(t *testing.T) {
	known := map[string]bool{}
	id := regexp.MustCompile(`^[a-z]+(-[a-z]+)*$`)
	for _, c := range Checks() {
		known[c.ID] = true
		if !id.MatchString(c.ID) || c.About == "" || c.message == "" || c.fix == "" || c.Severity != Error && c.Severity != Warning {
			t.Errorf("%+v lacks something", c)
		}
	}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	said := map[string]bool{}
	call := regexp.MustCompile(`\b(?:say|sayAt|number|unique)\("([a-z-]+)"`)
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if file == "diff.go" { // its number is another
			continue
		}
		for _, m := range call.FindAllStringSubmatch(string(text), -1) {
			said[m[1]] = true
			if !known[m[1]] {
				t.Errorf("%s says %q, which is no check", file, m[1])
			}
		}
	}
	for id := range known {
		if !said[id] && id != "too-many" {
			t.Errorf("nothing says %q", id)
		}
	}
}

// TestAllAtOnce: a file with many mistakes has all of them told, in the order of
// its lines.
func TestAllAtOnce(t *testing.T) {
	data, err := os.ReadFile("testdata/many.yaml")
	if err != nil {
		t.Fatal(err)
	}
	_, findings := Examine("many.yaml", data)
	var text strings.Builder
	for _, f := range findings {
		fmt.Fprintln(&text, f)
	}
	golden(t, "testdata/many.txt", text.String())
	if !slices.IsSortedFunc(findings, func(a, b Finding) int { return a.Line - b.Line }) {
		t.Error("not in the order of lines")
	}
}
