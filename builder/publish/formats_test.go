package publish

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"

	"trivet/builder/host"
)

// piece is some bytes of an image, at an offset.
type piece struct {
	at   int64
	text string
}

// image makes a file of size bytes with the pieces; without holes it writes
// every zero.
func image(t *testing.T, size int64, holes bool, pieces ...piece) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk.raw")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if holes {
		err = f.Truncate(size)
	} else {
		_, err = io.CopyN(f, zeroReader{}, size)
	}
	for _, p := range pieces {
		_, werr := f.WriteAt([]byte(p.text), p.at)
		err = errors.Join(err, werr)
	}
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// noise is n bytes that cannot be compressed.
func noise(n int) string {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(b) // never fails
	return string(b)
}

type zeroReader struct{}

func (zeroReader) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestFormatsHoldTheImage(t *testing.T) {
	const big = 520<<20 + 512 // needs two level 2 tables and ends within a cluster
	for name, c := range map[string]struct {
		size   int64
		pieces []piece
	}{
		"empty":         {size: 1 << 20},
		"one byte":      {1 << 20, []piece{{1<<20 - 1, "x"}}},
		"odd end":       {3<<20 + 512, []piece{{3 << 20, "end"}, {70_000, strings.Repeat("abc", 100_000)}}},
		"far apart":     {big, []piece{{0, "first"}, {513 << 20, "second table"}, {big - 5, "last!"}}},
		"noise":         {2*chunk + 100_000, []piece{{17, noise(2*chunk - 4096)}, {2*chunk + 5000, noise(90_000)}}},
		"across chunks": {9 << 20, []piece{{chunk - 3, strings.Repeat("z", 300_000)}, {2*chunk - 1, "y"}}},
	} {
		t.Run(name, func(t *testing.T) {
			raw := image(t, c.size, true, c.pieces...)
			dir := filepath.Dir(raw)
			checkArtifact(t, compressed, raw, dir+"/a.zst")
			checkArtifact(t, qcow2, raw, dir+"/a.qcow2")
			checkZstd(t, raw, dir+"/a.zst")
			checkQcow(t, raw, dir+"/a.qcow2")
		})
	}
}

func compressed(ctx context.Context, from, out string) (Artifact, error) {
	return compress(ctx, from, out, 2)
}

// checkArtifact makes one and compares what it says with the file.
func checkArtifact(t *testing.T, make func(ctx context.Context, from, out string) (Artifact, error), from, out string) {
	t.Helper()
	got, err := make(t.Context(), from, out)
	if err != nil {
		t.Fatal(err)
	}
	want, err := measure(t.Context(), out)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s is not what was said of it (-file +said):\n%s", filepath.Base(out), diff)
	}
}

func checkZstd(t *testing.T, raw, packed string) {
	t.Helper()
	f, err := os.Open(packed)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := zstd.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	want, err := os.Open(raw)
	if err != nil {
		t.Fatal(err)
	}
	defer want.Close()
	a, b := make([]byte, 1<<20), make([]byte, 1<<20)
	for {
		n, err := io.ReadFull(want, a)
		m, zerr := io.ReadFull(z, b)
		if n != m || !bytes.Equal(a[:n], b[:m]) {
			t.Fatalf("the decompressed image differs (%v, %v)", err, zerr)
		}
		if err != nil {
			return
		}
	}
}

// checkQcow lets qemu-img check the file and compare it with the raw image.
func checkQcow(t *testing.T, raw, qcow string) {
	t.Helper()
	if _, err := host.Look("qemu-img"); err != nil {
		t.Skip("skipped: qemu-img is not installed")
	}
	for _, args := range [][]string{{"qemu-img", "check", "-f", "qcow2", qcow}, {"qemu-img", "compare", "-f", "raw", "-F", "qcow2", raw, qcow}} {
		var out bytes.Buffer
		if err := host.Exec(t.Context(), host.Command{Args: args, Stdout: &out}); err != nil {
			t.Errorf("%v\n%s", err, &out)
		}
	}
}

// TestFormatsDoNotDependOnHoles: where a file system keeps holes is chance.
func TestFormatsDoNotDependOnHoles(t *testing.T) {
	pieces := []piece{{70_000, strings.Repeat("abc", 100_000)}, {2*chunk - 1, "y"}}
	var zst, qcow []Artifact
	for _, holes := range []bool{true, false} {
		raw := image(t, 9<<20+512, holes, pieces...)
		a, err := compress(t.Context(), raw, raw+".zst", 2)
		b, berr := qcow2(t.Context(), raw, raw+".qcow2")
		if err := errors.Join(err, berr); err != nil {
			t.Fatal(err)
		}
		zst, qcow = append(zst, a), append(qcow, b)
	}
	if zst[0] != zst[1] || qcow[0] != qcow[1] {
		t.Errorf("with and without holes the formats differ: %v %v", zst, qcow)
	}
}

func TestPlaceLinksOnlyWhatIsLarge(t *testing.T) {
	small, large := image(t, 1<<20, true, piece{5, "x"}), image(t, linkSize, true, piece{5, "y"})
	for from, linked := range map[string]bool{small: false, large: true} {
		to := from + ".copy"
		got, err := place(t.Context(), from, to, "")
		if err != nil {
			t.Fatal(err)
		}
		want, err := measure(t.Context(), from)
		if err != nil {
			t.Fatal(err)
		}
		if want.Name += ".copy"; got != want {
			t.Errorf("%v was placed, want %v", got, want)
		}
		if got, err = place(t.Context(), from, to+"2", "known"); err != nil || (got.SHA256 == "known") != linked {
			t.Errorf("%v (%v): what is copied must be hashed, what is linked not", got, err)
		}
		a, aerr := os.Stat(from)
		b, berr := os.Stat(to)
		if err := errors.Join(aerr, berr); err != nil {
			t.Fatal(err)
		}
		if os.SameFile(a, b) != linked {
			t.Errorf("%d bytes: one file with two names is %v, want %v (a reflink is fine too)", got.Size, !linked, linked)
		}
	}
}

func TestCancelledWriteLeavesNothing(t *testing.T) {
	in := testInputs(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Write(ctx, in); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want the context's", err)
	}
	if got := names(t, in.Out); got != "" {
		t.Errorf("left behind: %s", got)
	}
}
