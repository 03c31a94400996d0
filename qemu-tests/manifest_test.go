package qemutests

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A manifest is what the tests read of ROLE.manifest.json: the names that
// scripts rely on, not the builder's own type.
type manifest struct {
	Role      string `json:"role"`
	Base      string `json:"base"`
	Kernel    string `json:"kernel"`
	RootHash  string `json:"root_hash"`
	Cmdline   string `json:"cmdline"`
	Artifacts []struct {
		Name   string `json:"name"`
		Size   int64  `json:"size"`
		SHA256 string `json:"sha256"`
	} `json:"artifacts"`
	Packages []struct {
		Name    string `json:"name"`
		Version string `json:"version"`
		Arch    string `json:"arch"`
	} `json:"packages"`
	Units []struct {
		Name    string `json:"name"`
		Service string `json:"service"`
		Boot    bool   `json:"boot"`
	} `json:"units"`
}

// An image is the artifacts of one build in OUT.
type image struct {
	manifest
	dir string
}

// file is the path of an artifact, such as ".raw".
func (i image) file(ending string) string { return filepath.Join(i.dir, i.Base+ending) }

// verity is the path of the root's hash tree: the artifact whose name ends so.
func (i image) verity(t testing.TB) string {
	t.Helper()
	for _, a := range i.Artifacts {
		if strings.HasSuffix(a.Name, ".verity") {
			return filepath.Join(i.dir, a.Name)
		}
	}
	t.Fatalf("the manifest of %s names no hash tree", i.Base)
	return ""
}

// sectorSize is that of the image's disk, in bytes, as a flag has it.
func (i image) sectorSize() string {
	if strings.HasSuffix(i.Base, ".4k") {
		return "4096"
	}
	return "512"
}

// eachImage runs test for every manifest in OUT, or skips without -images. No
// image at all is a failure: then -images names the wrong place.
func eachImage(t *testing.T, test func(*testing.T, image)) {
	t.Helper()
	dir := images(t)
	found, err := filepath.Glob(filepath.Join(dir, "*.manifest.json"))
	if err != nil {
		t.Fatal(err)
	}
	if len(found) == 0 {
		t.Fatalf("find images: no ROLE.manifest.json in %s", dir)
	}
	for _, path := range found {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		i := image{dir: dir}
		if err := json.Unmarshal(text, &i.manifest); err != nil {
			t.Fatalf("read %s: %v", path, err)
		}
		t.Run(i.Base, func(t *testing.T) { test(t, i) })
	}
}

// digest returns the SHA-256 of all of r, in hex.
func digest(t testing.TB, r io.Reader) string {
	t.Helper()
	h := sha256.New()
	if _, err := io.CopyBuffer(h, r, make([]byte, 1<<20)); err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(h.Sum(nil))
}

func fileDigest(t testing.TB, path string) string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	return digest(t, f)
}

// sectionDigest is the digest of a part of a file.
func sectionDigest(t testing.TB, path string, offset, size int64) string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	return digest(t, io.NewSectionReader(f, offset, size))
}
