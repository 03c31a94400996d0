package qemutests

import (
	"os"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// TestImageArtifactsAreThoseOfTheManifest reads every artifact.
func TestImageArtifactsAreThoseOfTheManifest(t *testing.T) {
	eachImage(t, func(t *testing.T, i image) {
		endings := map[string]bool{}
		for _, a := range i.Artifacts {
			endings[strings.TrimPrefix(a.Name, i.Base)] = true
			path := i.file(strings.TrimPrefix(a.Name, i.Base))
			st, err := os.Stat(path)
			if err != nil {
				t.Error(err)
				continue
			}
			if got := fileDigest(t, path); st.Size() != a.Size || got != a.SHA256 {
				t.Errorf("%s has %d bytes, SHA-256 %s; the manifest says %d, %s", a.Name, st.Size(), got, a.Size, a.SHA256)
			}
		}
		for _, want := range []string{".raw", ".raw.zst", ".qcow2", ".efi", ".vmlinuz", ".initrd", ".root", ".spdx.json", ".cdx.json", ".lock"} {
			if !endings[want] {
				t.Errorf("the manifest names no %s%s", i.Base, want)
			}
		}
	})
}

// TestImageFormatsHoldTheSameDisk compares the compressed and the qcow2 disk
// with the raw one.
func TestImageFormatsHoldTheSameDisk(t *testing.T) {
	eachImage(t, func(t *testing.T, i image) {
		t.Run("raw.zst", func(t *testing.T) {
			f, err := os.Open(i.file(".raw.zst"))
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			d, err := zstd.NewReader(f)
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close()
			if got, want := digest(t, d), fileDigest(t, i.file(".raw")); got != want {
				t.Errorf("the compressed disk has SHA-256 %s, the raw one %s", got, want)
			}
		})
		t.Run("qcow2", func(t *testing.T) {
			oracle(t, "qemu-img", "check", "-q", "-f", "qcow2", i.file(".qcow2"))
			oracle(t, "qemu-img", "compare", "-q", "-f", "raw", "-F", "qcow2", i.file(".raw"), i.file(".qcow2"))
		})
		t.Run("sparse", func(t *testing.T) {
			if used, size := usedSpace(t, i.file(".raw")); used > size*9/10 {
				t.Errorf("the raw disk uses %d of its %d bytes, want its holes kept", used, size)
			}
		})
	})
}
