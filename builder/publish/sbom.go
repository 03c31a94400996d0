package publish

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	cdx "github.com/CycloneDX/cyclonedx-go"
	packageurl "github.com/package-url/packageurl-go"
	spdxjson "github.com/spdx/tools-golang/json"
	"github.com/spdx/tools-golang/spdx"
	"github.com/spdx/tools-golang/spdx/v2/common"
)

// purl is the package URL of a Debian package (purl-spec, type deb).
func purl(p Package) string {
	return packageurl.NewPackageURL(packageurl.TypeDebian, "debian", p.Name, p.Version,
		packageurl.Qualifiers{{Key: "arch", Value: p.Arch}}, "").ToString()
}

// serial is an identity made of the manifest's own digests, so that the same
// image has the same bills: a UUID of version 8 (RFC 9562 §5.8).
func serial(m Manifest, what string) string {
	sum := sha256.Sum256([]byte(what + m.Inputs + m.RootHash))
	sum[6] = sum[6]&0x0f | 0x80
	sum[8] = sum[8]&0x3f | 0x80
	h := hex.EncodeToString(sum[:16])
	return strings.Join([]string{h[:8], h[8:12], h[12:16], h[16:20], h[20:]}, "-")
}

// writeSPDX writes an SPDX 2.3 document.
func writeSPDX(m Manifest, path string) (err error) {
	doc := &spdx.Document{
		SPDXVersion: spdx.Version, DataLicense: spdx.DataLicense, SPDXIdentifier: "DOCUMENT", DocumentName: "trivet-" + m.Base,
		DocumentNamespace: "urn:uuid:" + serial(m, "spdx"),
		CreationInfo: &spdx.CreationInfo{
			Created: m.Date.UTC().Format(time.RFC3339), Creators: []common.Creator{{CreatorType: "Tool", Creator: "trivet-" + m.Tool}},
		},
	}
	image := &spdx.Package{PackageName: "trivet-" + m.Base, PackageSPDXIdentifier: "image", PackageVersion: m.Version, PackageDownloadLocation: "NOASSERTION"}
	doc.Packages = append(doc.Packages, image)
	doc.Relationships = append(doc.Relationships, relation("DOCUMENT", "DESCRIBES", "image"))
	for i, p := range m.Packages {
		id := fmt.Sprintf("package-%d", i)
		doc.Packages = append(doc.Packages, &spdx.Package{
			PackageName: p.Name, PackageSPDXIdentifier: common.ElementID(id), PackageVersion: p.Version, PackageDownloadLocation: "NOASSERTION",
			PackageSourceInfo: "built from Debian source package " + p.Source, PackageChecksums: []common.Checksum{{Algorithm: common.SHA256, Value: p.SHA256}},
			PackageExternalReferences: []*spdx.PackageExternalReference{{Category: common.CategoryPackageManager, RefType: common.TypePackageManagerPURL, Locator: purl(p)}},
		})
		doc.Relationships = append(doc.Relationships, relation("image", "CONTAINS", id))
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return spdxjson.Write(doc, f, spdxjson.Indent(" "))
}

func relation(a, how, b string) *spdx.Relationship {
	return &spdx.Relationship{RefA: common.MakeDocElementID("", a), RefB: common.MakeDocElementID("", b), Relationship: how}
}

// writeCycloneDX writes a CycloneDX document.
func writeCycloneDX(m Manifest, path string) (err error) {
	bom := cdx.NewBOM()
	bom.SerialNumber = "urn:uuid:" + serial(m, "cyclonedx")
	bom.Metadata = &cdx.Metadata{
		Timestamp: m.Date.UTC().Format(time.RFC3339),
		Component: &cdx.Component{BOMRef: "image", Type: cdx.ComponentTypeOS, Name: "trivet-" + m.Base, Version: m.Version},
		Tools:     &cdx.ToolsChoice{Components: &[]cdx.Component{{Type: cdx.ComponentTypeApplication, Name: "trivet", Version: m.Tool}}},
	}
	components := make([]cdx.Component, 0, len(m.Packages))
	for _, p := range m.Packages {
		components = append(components, cdx.Component{
			BOMRef: purl(p), Type: cdx.ComponentTypeLibrary, Name: p.Name, Version: p.Version, PackageURL: purl(p),
			Hashes: &[]cdx.Hash{{Algorithm: cdx.HashAlgoSHA256, Value: p.SHA256}},
		})
	}
	bom.Components = &components
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return cdx.NewBOMEncoder(f, cdx.BOMFileFormatJSON).SetPretty(true).Encode(bom)
}
