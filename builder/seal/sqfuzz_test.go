package seal

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"
)

// tinyImage is an image without data, made by this package's writer.
func tinyImage(t testing.TB) []byte {
	t.Helper()
	w, err := newSQWriter()
	if err != nil {
		t.Fatal(err)
	}
	hard := &sqNode{kind: sqFile, mode: 0o644, data: sqData{frag: sqNoIndex}}
	dir := &sqNode{kind: sqDir, mode: 0o755, children: map[string]*sqNode{
		"dev": {kind: sqChar, mode: 0o600, rdev: 0x103, xattrs: []sqXattr{{sqXattrUser, "foo", "bar"}}}, "hard": hard, "pipe": {kind: sqFifo},
	}}
	root := &sqNode{kind: sqDir, mode: 0o755, uid: 7, children: map[string]*sqNode{
		"dir": dir, "link": {kind: sqSymlink, target: "dir/hard"}, "hard": hard, "sock": {kind: sqSocket},
		"frag": {kind: sqFile, data: sqData{size: 5, frag: 0}},
	}}
	w.prepare(root)
	w.count++
	root.number = w.count
	w.tree(root, w.count+1)
	s := sqSuper{Magic: sqMagic, Compressor: sqZstd, BlockSize: squashBlock, BlockLog: 18, Major: 4, Root: root.ref}
	body := bytes.NewBufferString("hello")
	if err := w.finish(body, sqSuperSize+5, &s, []sqFrag{{sqSuperSize, 5 | sqDataPlain}}); err != nil {
		t.Fatal(err)
	}
	head, err := binary.Append(nil, binary.LittleEndian, &s)
	if err != nil {
		t.Fatal(err)
	}
	return append(head, body.Bytes()...)
}

func TestTinyImageReadsBack(t *testing.T) {
	raw := tinyImage(t)
	img, err := loadSquashfs(bytes.NewReader(raw), int64(len(raw)), 0)
	if err != nil {
		t.Fatal(err)
	}
	sub := img.root.children["dir"]
	if img.root.children["hard"] != sub.children["hard"] {
		t.Error("a hard link became two files")
	}
	if got := sub.children["dev"].xattrs; len(got) != 1 || got[0].value != "bar" {
		t.Errorf("xattrs are %v", got)
	}
	if got := img.root.children["link"].target; got != "dir/hard" {
		t.Errorf("the link leads to %q", got)
	}
	if len(img.frags) != 1 || img.root.uid != 7 {
		t.Errorf("fragments %v, owner %d", img.frags, img.root.uid)
	}
	path := filepath.Join(t.TempDir(), "tiny")
	if err := os.WriteFile(path, raw, 0o644); err != nil {
		t.Fatal(err)
	}
	needTool(t, "unsquashfs")
	output(t, filepath.Dir(path), "unsquashfs", "-lln", inDir+"/tiny")
}

// FuzzSquashfs reads any bytes as an image: an error or a tree, never a crash.
func FuzzSquashfs(f *testing.F) {
	raw := tinyImage(f)
	f.Add(raw)
	f.Add(raw[:sqSuperSize])
	f.Fuzz(func(t *testing.T, raw []byte) {
		img, err := loadSquashfs(bytes.NewReader(raw), int64(len(raw)), 0)
		if err == nil && img.root.kind != sqDir {
			t.Error("the root of an image that was read is no directory")
		}
	})
}
