// Package publish writes the artifacts of a role: the disk image in its
// formats, the parts for netboot, the software bills of materials, and the
// manifest that names the digest of each.
package publish

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"time"

	"golang.org/x/sync/errgroup"
)

// Inputs are what a role's build made.
type Inputs struct {
	Out  string // directory of the artifacts
	Base string // their name without ending, such as "controller"
	Raw  string // the disk image; moved into place
	// Parts are files that are copied, by their ending, such as ".efi"; a large
	// one is linked where Out is on its file system.
	Parts map[string]string
	// Known are the SHA-256 of parts, in hex by ending, that the caller has at
	// hand: a large part that is linked and not copied is not read again.
	Known    map[string]string
	Texts    map[string]string // small files by ending, such as ".lock"
	Manifest Manifest          // all but Artifacts
	Jobs     int
}

// manifestFormat changes when a reader of an older manifest would be wrong.
const manifestFormat = 1

// A Manifest says what an image is and names each of its artifacts.
type Manifest struct {
	Format    int        `json:"format"`
	Role      string     `json:"role"`
	Base      string     `json:"base"` // name of the artifacts without ending
	Version   string     `json:"version"`
	Tool      string     `json:"tool"` // version of trivet
	Suite     string     `json:"suite"`
	Arch      string     `json:"arch"`
	Date      time.Time  `json:"date"` // of the archive; no file of the image is younger
	Kernel    string     `json:"kernel"`
	RootHash  string     `json:"root_hash"`
	Cmdline   string     `json:"cmdline"`
	Inputs    string     `json:"inputs"` // digest of everything that the build depends on
	Units     []Unit     `json:"units"`
	Artifacts []Artifact `json:"artifacts"`
	Packages  []Package  `json:"packages"`
}

// A Unit is one systemd unit of one service.
type Unit struct {
	Name    string `json:"name"`
	Service string `json:"service"`
	Boot    bool   `json:"boot"` // systemd starts it; else the agent does
}

// An Artifact is one file beside the manifest.
type Artifact struct {
	Name   string `json:"name"`
	Size   int64  `json:"size"` // in bytes
	SHA256 string `json:"sha256"`
}

// A Package is one Debian package of the image.
type Package struct {
	Set     string `json:"set"`
	Name    string `json:"name"`
	Version string `json:"version"`
	Arch    string `json:"arch"`
	Source  string `json:"source"`
	SHA256  string `json:"sha256"`
}

// File is the name of the manifest's own file.
func (m Manifest) File() string { return m.Base + ".manifest.json" }

// Write makes every artifact in a scratch directory, moves them into place,
// and writes the manifest last: while a set is replaced there is no manifest.
func Write(ctx context.Context, in Inputs) (Manifest, error) {
	m := in.Manifest
	m.Format, m.Base = manifestFormat, in.Base
	// Always the same name: what a killed build left is removed by the next.
	temp := filepath.Join(in.Out, "."+in.Base+".parts")
	if err := errors.Join(os.RemoveAll(temp), os.Mkdir(temp, 0o755)); err != nil {
		return Manifest{}, fmt.Errorf("write the artifacts of %s: %w", in.Base, err)
	}
	defer os.RemoveAll(temp)
	raw := filepath.Join(temp, in.Base+".raw")
	if err := move(ctx, in.Raw, raw); err != nil {
		return Manifest{}, fmt.Errorf("write the artifacts of %s: %w", in.Base, err)
	}
	var err error
	if m.Artifacts, err = in.make(ctx, temp, raw, m); err != nil {
		return Manifest{}, fmt.Errorf("write the artifacts of %s: %w", in.Base, err)
	}
	if err := in.replace(temp, m); err != nil {
		return Manifest{}, fmt.Errorf("put the artifacts of %s in place: %w", in.Base, err)
	}
	return m, nil
}

// make writes all artifacts below temp, at once, and measures them.
func (in Inputs) make(ctx context.Context, temp, raw string, m Manifest) ([]Artifact, error) {
	path := func(ending string) string { return filepath.Join(temp, in.Base+ending) }
	// The longest first: with few cores the order matters.
	tasks := []task{
		{".raw", func(ctx context.Context) (Artifact, error) { return measure(ctx, raw) }},
		{".raw.zst", func(ctx context.Context) (Artifact, error) { return compress(ctx, raw, path(".raw.zst"), in.Jobs) }},
		{".qcow2", func(ctx context.Context) (Artifact, error) { return qcow2(ctx, raw, path(".qcow2")) }},
		{".spdx.json", func(ctx context.Context) (Artifact, error) { return bill(ctx, writeSPDX, m, path(".spdx.json")) }},
		{".cdx.json", func(ctx context.Context) (Artifact, error) { return bill(ctx, writeCycloneDX, m, path(".cdx.json")) }},
	}
	for ending, from := range in.Parts {
		tasks = append(tasks, task{ending, func(ctx context.Context) (Artifact, error) { return place(ctx, from, path(ending), in.Known[ending]) }})
	}
	for ending, text := range in.Texts {
		tasks = append(tasks, task{ending, func(ctx context.Context) (Artifact, error) {
			if err := os.WriteFile(path(ending), []byte(text), 0o644); err != nil {
				return Artifact{}, err
			}
			return measure(ctx, path(ending))
		}})
	}
	list := make([]Artifact, len(tasks))
	g, ctx := errgroup.WithContext(ctx)
	for i, t := range tasks {
		g.Go(func() (err error) {
			if list[i], err = t.make(ctx); err != nil {
				return fmt.Errorf("make %s%s: %w", in.Base, t.ending, err)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	sort.Slice(list, func(i, j int) bool { return list[i].Name < list[j].Name })
	return list, nil
}

// task makes one artifact.
type task struct {
	ending string
	make   func(context.Context) (Artifact, error)
}

func bill(ctx context.Context, write func(Manifest, string) error, m Manifest, path string) (Artifact, error) {
	if err := write(m, path); err != nil {
		return Artifact{}, err
	}
	return measure(ctx, path)
}

func (in Inputs) replace(temp string, m Manifest) error {
	final := filepath.Join(in.Out, m.File())
	dropped := map[string]bool{} // artifacts of the last build that this one does not have
	if last, err := Read(final); err == nil {
		for _, a := range last.Artifacts {
			dropped[a.Name] = true
		}
	}
	if err := os.Remove(final); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, a := range m.Artifacts {
		from := filepath.Join(temp, a.Name)
		if err := os.Chmod(from, 0o644); err != nil {
			return err
		}
		if err := os.Rename(from, filepath.Join(in.Out, a.Name)); err != nil {
			return err
		}
		delete(dropped, a.Name)
	}
	for name := range dropped {
		if err := os.Remove(filepath.Join(in.Out, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	text, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	scratch := filepath.Join(temp, m.File())
	if err := os.WriteFile(scratch, append(text, '\n'), 0o644); err != nil {
		return err
	}
	return os.Rename(scratch, final)
}
