package qemutests

import (
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	cdx "github.com/CycloneDX/cyclonedx-go"
	"github.com/google/go-cmp/cmp"
	spdxjson "github.com/spdx/tools-golang/json"
)

// packages are the manifest's, as "name version".
func (i image) packages() []string {
	names := map[string]bool{}
	for _, p := range i.Packages {
		names[p.Name+" "+p.Version] = true
	}
	return slices.Sorted(maps.Keys(names))
}

// TestImageBillsOfMaterialsNameEveryPackage reads both SBOMs with the
// libraries of their standards.
func TestImageBillsOfMaterialsNameEveryPackage(t *testing.T) {
	eachImage(t, func(t *testing.T, i image) {
		want := i.packages()
		if len(want) < 100 {
			t.Errorf("the manifest names %d packages, want some hundred", len(want))
		}
		t.Run("SPDX", func(t *testing.T) {
			if diff := cmp.Diff(want, spdxPackages(t, i)); diff != "" {
				t.Errorf("packages (-manifest +SPDX):\n%s", diff)
			}
		})
		t.Run("CycloneDX", func(t *testing.T) {
			if diff := cmp.Diff(want, cdxPackages(t, i)); diff != "" {
				t.Errorf("packages (-manifest +CycloneDX):\n%s", diff)
			}
		})
	})
}

func spdxPackages(t *testing.T, i image) []string {
	t.Helper()
	f, err := os.Open(i.file(".spdx.json"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	doc, err := spdxjson.Read(f)
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, p := range doc.Packages {
		if len(p.PackageExternalReferences) == 0 {
			continue // the image itself
		}
		names[p.PackageName+" "+p.PackageVersion] = true
		if url := p.PackageExternalReferences[0].Locator; !strings.HasPrefix(url, "pkg:deb/debian/") {
			t.Errorf("package %s has the URL %q, want pkg:deb/debian/…", p.PackageName, url)
		}
	}
	return slices.Sorted(maps.Keys(names))
}

func cdxPackages(t *testing.T, i image) []string {
	t.Helper()
	f, err := os.Open(i.file(".cdx.json"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var bom cdx.BOM
	if err := cdx.NewBOMDecoder(f, cdx.BOMFileFormatJSON).Decode(&bom); err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	if bom.Components != nil {
		for _, c := range *bom.Components {
			names[c.Name+" "+c.Version] = true
		}
	}
	return slices.Sorted(maps.Keys(names))
}
