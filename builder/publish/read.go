package publish

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sync/errgroup"
)

// Limits of a manifest that is read.
const (
	maxManifest  = 16 << 20 // bytes
	maxArtifacts = 100
)

// Read reads the manifest NAME.manifest.json at path.
func Read(path string) (Manifest, error) {
	info, err := os.Stat(path)
	if err != nil {
		return Manifest{}, fmt.Errorf("read the manifest: %w", err)
	}
	if info.Size() > maxManifest {
		return Manifest{}, fmt.Errorf("read the manifest %s: %d bytes, more than %d", path, info.Size(), maxManifest)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return Manifest{}, fmt.Errorf("read the manifest: %w", err)
	}
	m, err := parse(text)
	if err != nil {
		return Manifest{}, fmt.Errorf("read the manifest %s: %w", path, err)
	}
	return m, nil
}

func parse(text []byte) (Manifest, error) {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	var m Manifest
	if err := dec.Decode(&m); err != nil {
		return Manifest{}, err
	}
	if m.Format != manifestFormat {
		return Manifest{}, fmt.Errorf("format %d; this trivet reads %d", m.Format, manifestFormat)
	}
	if len(m.Artifacts) > maxArtifacts {
		return Manifest{}, fmt.Errorf("%d artifacts, more than %d", len(m.Artifacts), maxArtifacts)
	}
	for _, a := range m.Artifacts {
		if a.Name == "" || strings.ContainsAny(a.Name, "/\x00") || strings.HasPrefix(a.Name, ".") {
			return Manifest{}, fmt.Errorf("%q is not the name of a file beside the manifest", a.Name)
		}
	}
	return m, nil
}

// Current returns the manifest of the artifacts called base below out, if they
// were made from the same inputs and all are there with their sizes.
func Current(out, base, inputs string) (Manifest, bool) {
	m, err := Read(filepath.Join(out, base+".manifest.json"))
	if err != nil || m.Inputs != inputs || m.Base != base || len(m.Artifacts) == 0 {
		return Manifest{}, false
	}
	for _, a := range m.Artifacts {
		info, err := os.Stat(filepath.Join(out, a.Name))
		if err != nil || info.Size() != a.Size {
			return Manifest{}, false
		}
	}
	return m, true
}

// A Check is one thing that Verify looked at.
type Check struct {
	Name string `json:"name"`
	OK   bool   `json:"ok"`
	Why  string `json:"why,omitempty"`
}

// Verdict is "ok" or "FAILED".
func (c Check) Verdict() string {
	if c.OK {
		return "ok"
	}
	return "FAILED"
}

// Verify reads every artifact of m below dir and compares size and digest.
func Verify(ctx context.Context, dir string, m Manifest) ([]Check, error) {
	checks := make([]Check, len(m.Artifacts))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(4)
	for i, a := range m.Artifacts {
		g.Go(func() error {
			checks[i] = Check{Name: "digest of " + a.Name}
			got, err := measure(ctx, filepath.Join(dir, a.Name))
			switch {
			case err != nil:
				checks[i].Why = err.Error()
			case got != a:
				checks[i].Why = fmt.Sprintf("%d bytes with SHA-256 %s; the manifest says %d and %s", got.Size, got.SHA256, a.Size, a.SHA256)
			default:
				checks[i].OK = true
			}
			return ctx.Err()
		})
	}
	return checks, g.Wait()
}
