package publish

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	cdx "github.com/CycloneDX/cyclonedx-go"
	"github.com/klauspost/compress/zstd"
	spdxjson "github.com/spdx/tools-golang/json"
)

func testInputs(t *testing.T) Inputs {
	t.Helper()
	out := t.TempDir()
	raw, part := filepath.Join(out, ".raw.tmp"), filepath.Join(t.TempDir(), "kernel")
	for path, text := range map[string][]byte{raw: bytes.Repeat([]byte("image "), 2_000_000), part: []byte("kernel")} {
		if err := os.WriteFile(path, text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return Inputs{
		Out: out, Base: "web", Raw: raw, Parts: map[string]string{".vmlinuz": part}, Texts: map[string]string{".lock": "lock\n"}, Jobs: 3,
		Manifest: Manifest{
			Role: "web", Version: "1", Tool: "t", Date: time.Unix(1_700_000_000, 0).UTC(), RootHash: "ab", Inputs: "key",
			Packages: []Package{{Set: "base", Name: "libc6", Version: "2.41-12+deb13u1", Arch: "amd64", Source: "glibc", SHA256: strings.Repeat("0", 64)}},
		},
	}
}

func names(t *testing.T, dir string) string {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var s []string
	for _, e := range list {
		s = append(s, e.Name())
	}
	return strings.Join(s, " ")
}

func TestWriteAndVerify(t *testing.T) {
	in := testInputs(t)
	m, err := Write(context.Background(), in)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := names(t, in.Out), "web.cdx.json web.lock web.manifest.json web.qcow2 web.raw web.raw.zst web.spdx.json web.vmlinuz"; got != want {
		t.Errorf("artifacts = %s; want %s", got, want)
	}
	if _, ok := Current(in.Out, "web", "key"); !ok {
		t.Error("Current does not know what was just written")
	}
	if _, ok := Current(in.Out, "web", "other key"); ok {
		t.Error("Current takes artifacts of other inputs")
	}
	path := filepath.Join(in.Out, "web.vmlinuz")
	if err := os.WriteFile(path, []byte("kernal"), 0o644); err != nil {
		t.Fatal(err)
	}
	checks, err := Verify(context.Background(), in.Out, m)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range checks {
		if c.OK == (c.Name == "digest of web.vmlinuz") {
			t.Errorf("%s: %s %s", c.Name, c.Verdict(), c.Why)
		}
	}
}

// TestWriteDropsWhatTheLastBuildHad: an artifact that is made no more must not
// stay beside the new ones.
func TestWriteDropsWhatTheLastBuildHad(t *testing.T) {
	in := testInputs(t)
	in.Texts[".old"] = "x"
	if _, err := Write(context.Background(), in); err != nil {
		t.Fatal(err)
	}
	delete(in.Texts, ".old")
	if err := os.WriteFile(in.Raw, []byte("image"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Write(context.Background(), in); err != nil {
		t.Fatal(err)
	}
	if got := names(t, in.Out); strings.Contains(got, "web.old") {
		t.Errorf("artifacts = %s; want no web.old", got)
	}
}

func TestCompressedImageIsTheImageWhateverTheJobs(t *testing.T) {
	in := testInputs(t)
	var texts [][]byte
	for _, jobs := range []int{1, 3} {
		out := filepath.Join(t.TempDir(), "x.zst")
		if _, err := compress(context.Background(), in.Raw, out, jobs); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		texts = append(texts, text)
	}
	if !bytes.Equal(texts[0], texts[1]) {
		t.Error("one worker and three make different files")
	}
	dec, err := zstd.NewReader(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer dec.Close()
	got, err := dec.DecodeAll(texts[0], nil)
	want, rerr := os.ReadFile(in.Raw)
	if err != nil || rerr != nil || !bytes.Equal(got, want) {
		t.Errorf("decompressed image differs (%v, %v)", err, rerr)
	}
}

func TestWriteLeavesNothingHalfWritten(t *testing.T) {
	in := testInputs(t)
	in.Parts[".efi"] = filepath.Join(in.Out, "missing")
	if _, err := Write(context.Background(), in); err == nil || !strings.Contains(err.Error(), "web.efi") {
		t.Errorf("error = %v; want one that names the artifact", err)
	}
	if got := names(t, in.Out); got != "" {
		t.Errorf("left behind: %s", got)
	}
}

func TestBillsListEveryPackage(t *testing.T) {
	in := testInputs(t)
	if _, err := Write(context.Background(), in); err != nil {
		t.Fatal(err)
	}
	const want = "pkg:deb/debian/libc6@2.41-12%2Bdeb13u1?arch=amd64"
	f, err := os.Open(filepath.Join(in.Out, "web.spdx.json"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	doc, err := spdxjson.Read(f)
	if err != nil || len(doc.Packages) != 2 || doc.Packages[1].PackageExternalReferences[0].Locator != want {
		t.Errorf("SPDX: %v, %+v; want %s", err, doc, want)
	}
	text, err := os.ReadFile(filepath.Join(in.Out, "web.cdx.json"))
	if err != nil {
		t.Fatal(err)
	}
	var bom cdx.BOM
	if err := cdx.NewBOMDecoder(bytes.NewReader(text), cdx.BOMFileFormatJSON).Decode(&bom); err != nil || (*bom.Components)[0].PackageURL != want {
		t.Errorf("CycloneDX: %v, %+v; want %s", err, bom.Components, want)
	}
}

func FuzzManifest(f *testing.F) {
	text, err := json.Marshal(Manifest{Format: manifestFormat, Artifacts: []Artifact{{Name: "a"}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := parse(text)
		if err != nil {
			return
		}
		for _, a := range m.Artifacts {
			if filepath.Base(a.Name) != a.Name {
				t.Errorf("%q is no plain name", a.Name)
			}
		}
	})
}
