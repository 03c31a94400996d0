package main

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A canary is something secret in one of the forms in which it could show.
type canary struct{ what, text string }

// Canaries are all that is secret in the clouds of a test, and the text that may
// show none of it.
type canaries struct {
	t      *testing.T
	values map[string]string // value → what it is
	birds  []canary
	places int
	texts  int // bytes that were looked through
}

// add takes a value in: as it is, in hexadecimal, in base64 of both alphabets at
// each of the three offsets that it may have in a longer text, and as a URL and
// Go write it.
func (c *canaries) add(what, value string) {
	c.t.Helper()
	if len(value) < 16 {
		c.t.Fatalf("%s has %d bytes, which may be anywhere by chance", what, len(value))
	}
	if c.values[value] != "" {
		return
	}
	c.values[value] = what
	forms := []string{value, hex.EncodeToString([]byte(value)), strings.ToUpper(hex.EncodeToString([]byte(value))), url.QueryEscape(value), strings.Trim(fmt.Sprintf("%q", value), `"`)}
	for _, alphabet := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding} {
		for skip := range 3 {
			coded := alphabet.EncodeToString([]byte(strings.Repeat("x", skip) + value))
			forms = append(forms, coded[(skip*8+5)/6:len(coded)-4])
		}
	}
	slices.Sort(forms)
	for _, form := range slices.Compact(forms) {
		c.birds = append(c.birds, canary{what, form})
	}
}

// in returns what shows in a text, each once.
func (c *canaries) in(text []byte) []string {
	var found []string
	for _, b := range c.birds {
		if bytes.Contains(text, []byte(b.text)) && !slices.Contains(found, b.what) {
			found = append(found, b.what)
		}
	}
	c.places++
	c.texts += len(text)
	return found
}

// none fails if anything shows.
func (c *canaries) none(place string, text []byte) {
	c.t.Helper()
	if found := c.in(text); len(found) > 0 {
		c.t.Errorf("%s shows %s", place, strings.Join(found, ", "))
	}
}

// folder looks through all files below dir. Allowed says which of them may hold
// what; those must be closed to everybody but their owner.
func (c *canaries) folder(dir string, allowed func(path, what string) bool) {
	c.t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		rel := strings.TrimPrefix(path, dir+"/")
		for _, what := range c.in(text) {
			if !allowed(rel, what) {
				c.t.Errorf("%s shows %s", path, what)
			}
			if info.Mode().Perm()&0o077 != 0 {
				c.t.Errorf("%s holds %s and has mode %s", path, what, info.Mode())
			}
		}
		return nil
	})
	if err != nil {
		c.t.Fatal(err)
	}
}

func nowhere(string, string) bool { return false }

// TestCanariesOfAllVerbs makes two clouds as an operator does, boots their nodes
// as far as files and a played systemd go, breaks what they are told in every
// line, and then looks for their secrets in all that was said and written: each
// verb's output, seeds of every form, status records, explanations, command
// lines, and what lies on the nodes. Acceptance 1 of the first-boot agent.
func TestCanariesOfAllVerbs(t *testing.T) {
	c := &canaries{t: t, values: map[string]string{}}
	o := newCanaryCloud(t, c, "three")
	lab := newCanaryCloud(t, c, "lab")
	if len(c.birds) < 200 || len(c.values) < 100 {
		t.Fatalf("there are %d canaries of %d values", len(c.birds), len(c.values))
	}
	for _, o := range []*canaryCloud{o, lab} {
		o.brokenInput()
		o.everyVerb()
		c.none("what the verbs say of "+o.name, o.said.Bytes())
		c.folder(o.dir, func(path, what string) bool {
			name, _ := strings.CutSuffix(filepath.Base(path), ".key")
			return strings.HasPrefix(path, "node-keys/") && what == "node key of "+name || strings.HasPrefix(path, "input/")
		})
	}
	boots := 0
	for _, o := range []*canaryCloud{o, lab} {
		for _, n := range o.nodes {
			t.Run("node "+o.name+" "+n.Name, func(t *testing.T) {
				boots += testNodeOfCanaries(t, c, o, n)
			})
		}
	}
	t.Run("clear text", func(t *testing.T) { testClearText(t, c, lab) })
	t.Logf("%d canaries of %d values in %d places, %d bytes; %d nodes booted", len(c.birds), len(c.values), c.places, c.texts, boots)
	if boots < 5 || c.places < 300 {
		t.Errorf("only %d nodes booted, and %d places were looked at", boots, c.places)
	}
	// The test can fail.
	for value := range c.values {
		if len(c.in([]byte("x"+value+"x"))) == 0 || len(c.in([]byte(base64.StdEncoding.EncodeToString([]byte("ab"+value+"cd"))))) == 0 {
			t.Fatalf("%s would not be found", c.values[value])
		}
	}
}
