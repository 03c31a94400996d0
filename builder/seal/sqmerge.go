package seal

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
)

// MergeSquashfs makes one squashfs image of images that PackLayer made of an
// overlay's directories, lowest first: the same tree as the overlay shows. The
// compressed contents are copied as they are, without those that no file of the
// merged tree has any more; only names and attributes are written anew. The
// same images give the same bytes.
func MergeSquashfs(ctx context.Context, images []string, out string, epoch time.Time) error {
	if err := mergeSquashfs(ctx, images, out, epoch); err != nil {
		return fmt.Errorf("merge %d squashfs layers into %s: %w", len(images), filepath.Base(out), err)
	}
	return nil
}

// sqLayer is one of the images being merged.
type sqLayer struct {
	file  *os.File
	img   *sqImage
	frags map[uint32]uint32 // old number of a live fragment → new number
	moves []sqMove
}

// sqMove is a range of compressed data that is kept: from where to where.
type sqMove struct {
	from, size, to uint64
}

func mergeSquashfs(ctx context.Context, images []string, out string, epoch time.Time) error {
	if len(images) == 0 {
		return errors.New("no layers")
	}
	layers := make([]*sqLayer, len(images))
	for i, path := range images {
		l, err := openLayer(path, i)
		if err != nil {
			return err
		}
		defer l.file.Close()
		layers[i] = l
		if l.img.super.BlockSize != layers[0].img.super.BlockSize {
			return fmt.Errorf("%s has blocks of %d bytes, the layers below of %d: pack it again", filepath.Base(path), l.img.super.BlockSize, layers[0].img.super.BlockSize)
		}
	}
	root := layers[0].img.root
	for _, l := range layers[1:] {
		root = mergeNode(root, l.img.root)
	}
	dropWhiteouts(root)
	return replace(out, func(tmp string) error {
		f, err := os.Create(tmp)
		if err != nil {
			return fmt.Errorf("make the merged image: %w", err)
		}
		defer f.Close()
		if err := writeMerged(ctx, f, layers, root, epoch); err != nil {
			return err
		}
		return f.Close()
	})
}

func openLayer(path string, number int) (*sqLayer, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open a squashfs layer: %w", err)
	}
	info, err := f.Stat()
	if err == nil {
		var img *sqImage
		if img, err = loadSquashfs(f, info.Size(), number); err == nil {
			return &sqLayer{file: f, img: img, frags: map[uint32]uint32{}}, nil
		}
	}
	f.Close()
	return nil, fmt.Errorf("read layer %s: %w", filepath.Base(path), err)
}

// mergeNode lays upper over lower as overlayfs does: directories merge and take
// the upper's attributes, anything else replaces.
func mergeNode(lower, upper *sqNode) *sqNode {
	if lower == nil || lower.kind != sqDir || upper.kind != sqDir || upper.opaque {
		return upper
	}
	for name, low := range lower.children {
		up := upper.children[name]
		if up == nil {
			upper.children[name] = low
		} else {
			upper.children[name] = mergeNode(low, up)
		}
	}
	return upper
}

// dropWhiteouts takes the marks of deleted names out of the tree: character
// devices 0:0.
func dropWhiteouts(n *sqNode) {
	for name, c := range n.children {
		switch {
		case c.kind == sqChar && c.rdev == 0:
			delete(n.children, name)
		case c.kind == sqDir:
			dropWhiteouts(c)
		}
	}
}

// writeMerged writes the image: superblock, the layers' live data, tables. The
// data are copied while the tables are built.
func writeMerged(ctx context.Context, f *os.File, layers []*sqLayer, root *sqNode, epoch time.Time) error {
	frags, end := plan(layers, root)
	w, err := newSQWriter()
	if err != nil {
		return err
	}
	defer w.enc.Close()
	var g errgroup.Group
	g.Go(func() error { return copyData(ctx, f, layers) })
	w.prepare(root)
	w.count++
	root.number = w.count
	w.tree(root, w.count+1) // as mksquashfs: the root's parent is one past the last inode
	if err := g.Wait(); err != nil {
		return err
	}
	s := layers[0].img.super
	s.MkfsTime, s.Flags, s.Root = uint32(epoch.Unix()), sqFlagDedupe, root.ref
	if err := w.finish(f, end, &s, frags); err != nil {
		return err
	}
	head, err := binary.Append(nil, binary.LittleEndian, &s)
	if err != nil {
		return fmt.Errorf("encode the superblock: %w", err)
	}
	if _, err := f.WriteAt(head, 0); err != nil {
		return fmt.Errorf("write the superblock: %w", err)
	}
	return nil
}

// copyData copies the layers' live data to their places, which follow each
// other, and leaves f at their end.
func copyData(ctx context.Context, f *os.File, layers []*sqLayer) error {
	if _, err := f.Seek(sqSuperSize, io.SeekStart); err != nil {
		return fmt.Errorf("write the merged image: %w", err)
	}
	for _, l := range layers {
		for _, m := range l.moves {
			if err := ctx.Err(); err != nil {
				return err
			}
			if _, err := l.file.Seek(int64(m.from), io.SeekStart); err != nil {
				return fmt.Errorf("read %s: %w", filepath.Base(l.file.Name()), err)
			}
			if _, err := io.CopyN(f, l.file, int64(m.size)); err != nil {
				return fmt.Errorf("copy data of %s: %w", filepath.Base(l.file.Name()), err)
			}
		}
	}
	return nil
}

// plan decides which data go where: it fills the layers' moves, points the
// files to the new places, and returns the new fragment table and the position
// after the data.
func plan(layers []*sqLayer, root *sqNode) (frags []sqFrag, end uint64) {
	files := liveFiles(root)
	live := make([][]sqMove, len(layers))
	used := make([]map[uint32]bool, len(layers))
	for i := range used {
		used[i] = map[uint32]bool{}
	}
	for _, n := range files {
		d := n.data
		var size uint64
		for _, b := range d.blocks {
			size += uint64(b &^ sqDataPlain)
		}
		if size > 0 {
			live[d.layer] = append(live[d.layer], sqMove{from: d.start, size: size})
		}
		if d.frag != sqNoIndex && !used[d.layer][d.frag] {
			used[d.layer][d.frag] = true
			f := layers[d.layer].img.frags[d.frag]
			live[d.layer] = append(live[d.layer], sqMove{from: f.start, size: uint64(f.size &^ sqDataPlain)})
		}
	}
	end = sqSuperSize
	for i, l := range layers {
		l.moves = joinMoves(live[i])
		for k := range l.moves {
			l.moves[k].to = end
			end += l.moves[k].size
		}
		for old, f := range l.img.frags {
			if used[i][uint32(old)] {
				l.frags[uint32(old)] = uint32(len(frags))
				frags = append(frags, sqFrag{l.moved(f.start), f.size})
			}
		}
	}
	for _, n := range files {
		l := layers[n.data.layer]
		if len(n.data.blocks) > 0 {
			n.data.start = l.moved(n.data.start)
		} else {
			n.data.start = 0
		}
		if n.data.frag != sqNoIndex {
			n.data.frag = l.frags[n.data.frag]
		}
	}
	return frags, end
}

// liveFiles lists the files of the tree, each once.
func liveFiles(root *sqNode) []*sqNode {
	var out []*sqNode
	seen := map[*sqNode]bool{}
	var walk func(*sqNode)
	walk = func(n *sqNode) {
		for _, name := range sortedNames(n) {
			c := n.children[name]
			switch {
			case c.kind == sqDir:
				walk(c)
			case c.kind == sqFile && !seen[c]:
				seen[c] = true
				out = append(out, c)
			}
		}
	}
	walk(root)
	return out
}

// joinMoves sorts ranges and makes one of those that touch or overlap: files
// with the same contents share theirs.
func joinMoves(in []sqMove) []sqMove {
	slices.SortFunc(in, func(a, b sqMove) int {
		if a.from != b.from {
			return cmp.Compare(a.from, b.from)
		}
		return cmp.Compare(a.size, b.size)
	})
	var out []sqMove
	for _, m := range in {
		if n := len(out); n > 0 && m.from <= out[n-1].from+out[n-1].size {
			last := &out[n-1]
			last.size = max(last.size, m.from+m.size-last.from)
			continue
		}
		out = append(out, m)
	}
	return out
}

// moved is the new place of the byte at from. A place in no range belongs to a
// file of holes only, and any place does.
func (l *sqLayer) moved(from uint64) uint64 {
	i, found := slices.BinarySearchFunc(l.moves, from, func(m sqMove, at uint64) int {
		switch {
		case at < m.from:
			return 1
		case at >= m.from+m.size:
			return -1
		}
		return 0
	})
	if !found {
		return 0
	}
	return l.moves[i].to + from - l.moves[i].from
}
