package seal

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// verityFile writes blocks blocks of noise and their tree.
func verityFile(t *testing.T, dir string, blocks int) Verity {
	t.Helper()
	write(t, filepath.Join(dir, "data"), noise(uint64(blocks), 100)+strings.Repeat("x", blocks*verityBlock-101)+"\n")
	v, err := FormatVerity(t.Context(), filepath.Join(dir, "data"), filepath.Join(dir, "tree"))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestVerityIsByteIdenticalToVeritysetup(t *testing.T) {
	needTool(t, "veritysetup")
	for _, blocks := range []int{1, 2, 127, 128, 129, 16384, 16385} {
		t.Run(fmt.Sprint(blocks), func(t *testing.T) {
			dir := t.TempDir()
			v := verityFile(t, dir, blocks)
			out := output(t, dir, "veritysetup", "format", "--hash=sha256", "--data-block-size=4096", "--hash-block-size=4096",
				"--salt="+v.Salt, "--uuid="+v.UUID, inDir+"/data", inDir+"/oracle")
			m := regexp.MustCompile(`Root hash:\s+(\w+)`).FindStringSubmatch(out)
			if m == nil || m[1] != v.RootHash {
				t.Errorf("root hash %s, veritysetup says:\n%s", v.RootHash, out)
			}
			if !bytes.Equal(read(t, dir+"/tree"), read(t, dir+"/oracle")) {
				t.Error("the tree differs from veritysetup's")
			}
			if v.DataBlocks != int64(blocks) {
				t.Errorf("%d data blocks, want %d", v.DataBlocks, blocks)
			}
			output(t, dir, "veritysetup", "verify", inDir+"/data", inDir+"/tree", v.RootHash)
		})
	}
}

func TestVerityDependsOnDataAlone(t *testing.T) {
	a, b := verityFile(t, t.TempDir(), 300), verityFile(t, t.TempDir(), 300)
	if a != b {
		t.Errorf("the same data gave %v and %v", a, b)
	}
	if c := verityFile(t, t.TempDir(), 301); c.Salt == a.Salt || c.UUID == a.UUID {
		t.Error("other data gave the same salt or UUID")
	}
}

func TestFormatVerityRefusesOddSizes(t *testing.T) {
	dir := t.TempDir()
	for _, size := range []int{0, 4095} {
		write(t, dir+"/data", strings.Repeat("x", size))
		if _, err := FormatVerity(t.Context(), dir+"/data", dir+"/tree"); err == nil || !strings.Contains(err.Error(), fmt.Sprint(size)) {
			t.Errorf("%d bytes: error %v", size, err)
		}
	}
	noLeftovers(t, dir, "data")
}

func TestCheckVerityNamesTheFirstBadBlock(t *testing.T) {
	const blocks = 128*128 + 5
	dir := t.TempDir()
	v := verityFile(t, dir, blocks)
	data, tree := read(t, dir+"/data"), read(t, dir+"/tree")
	room := bytes.Repeat([]byte{0xff}, 3*verityBlock) // a partition's free room
	check := func(data, tree []byte, root string) error {
		return CheckVerity(t.Context(), bytes.NewReader(append(bytes.Clone(data), room...)), bytes.NewReader(append(bytes.Clone(tree), room...)), root)
	}
	if err := check(data, tree, v.RootHash); err != nil {
		t.Fatal(err)
	}
	flip := func(b []byte, at int) []byte {
		c := bytes.Clone(b)
		c[at] ^= 1
		return c
	}
	// The tree: block 0 superblock, 1 the root, 2-3 the middle, then the leaves.
	for _, c := range []struct {
		name string
		err  error
		want VerityError
	}{
		{"data", check(flip(data, 777*verityBlock+5), tree, v.RootHash), VerityError{"data", 777}},
		{"last data block", check(flip(data, blocks*verityBlock-1), tree, v.RootHash), VerityError{"data", blocks - 1}},
		{"leaf", check(data, flip(tree, 9*verityBlock), v.RootHash), VerityError{"hash tree", 9}},
		{"middle", check(data, flip(tree, 3*verityBlock), v.RootHash), VerityError{"hash tree", 3}},
		{"top", check(data, flip(tree, verityBlock), v.RootHash), VerityError{Part: "root hash"}},
		{"salt", check(data, flip(tree, 90), v.RootHash), VerityError{Part: "root hash"}},
		{"root hash", check(data, tree, strings.Repeat("00", 32)), VerityError{Part: "root hash"}},
	} {
		var bad *VerityError
		if !errors.As(c.err, &bad) || *bad != c.want {
			t.Errorf("%s flipped: %v, want %+v", c.name, c.err, c.want)
		}
	}
	if err := CheckVerity(t.Context(), bytes.NewReader(data[:len(data)/2]), bytes.NewReader(tree), v.RootHash); err == nil {
		t.Error("half of the data passed")
	}
}

// FuzzCheckVerity reads any bytes as a hash tree.
func FuzzCheckVerity(f *testing.F) {
	dir := f.TempDir()
	if err := os.WriteFile(dir+"/data", bytes.Repeat([]byte("a"), 3*verityBlock), 0o644); err != nil {
		f.Fatal(err)
	}
	v, err := FormatVerity(f.Context(), dir+"/data", dir+"/tree")
	if err != nil {
		f.Fatal(err)
	}
	tree, err := os.ReadFile(dir + "/tree")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(tree)
	data := bytes.Repeat([]byte("b"), 3*verityBlock)
	f.Fuzz(func(t *testing.T, tree []byte) {
		if CheckVerity(t.Context(), bytes.NewReader(data), bytes.NewReader(tree), v.RootHash) == nil {
			t.Error("wrong data passed")
		}
	})
}
