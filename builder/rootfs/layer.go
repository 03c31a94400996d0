package rootfs

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// layerVersion is part of every layer's key. It changes whenever the same
// packages would give another layer.
const layerVersion = "2"

// inside holds what runs inside the sandbox.
//
//go:embed inside
var inside embed.FS

// Install makes the layer of the packages l on the layers below (results of
// Install, lowest first; none for the base layer), or finds it in the cache.
// The result is a directory that an overlay takes as it is: packages unpacked
// and configured, their Python compiled, every time fixed. Nothing may write
// to it: its files are shared with the store.
func Install(ctx context.Context, in Inputs, below []string, l Layer) (string, error) {
	dir, err := install(ctx, in, below, l)
	if err != nil {
		return "", fmt.Errorf("install layer %s: %w", l.Name, err)
	}
	return dir, nil
}

func install(ctx context.Context, in Inputs, below []string, l Layer) (string, error) {
	in.Log = &lockedWriter{w: in.log()}
	key, err := layerKey(in, below, l)
	if err != nil {
		return "", err
	}
	return cached(ctx, in, key, func(t *temp) (string, error) {
		if err := Prepare(ctx, in, l.Debs); err != nil {
			return "", err
		}
		b := build{in: in, below: below, layer: l, tmp: t}
		return b.run(ctx)
	})
}

// InstallAll is Install for all layers of an image, lowest first. It
// decompresses the packages of the next layers while scripts of one run, which
// use no more than one CPU.
func InstallAll(ctx context.Context, in Inputs, layers []Layer) ([]string, error) {
	if err := trustCache(in.Cache); err != nil {
		return nil, err
	}
	ready := make([]chan struct{}, len(layers))
	var dirs []string
	var todo []int
	for i, l := range layers {
		ready[i] = make(chan struct{})
		key, err := layerKey(in, dirs, l)
		if err != nil {
			return nil, err
		}
		dirs = append(dirs, filepath.Join(in.Cache, "layers", key))
		if touch(dirs[i]) {
			close(ready[i])
		} else {
			todo = append(todo, i)
		}
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		for _, i := range todo {
			if err := Prepare(ctx, in, layers[i].Debs); err != nil {
				return fmt.Errorf("install layer %s: %w", layers[i].Name, err)
			}
			close(ready[i])
		}
		return nil
	})
	g.Go(func() error {
		for i, l := range layers {
			select {
			case <-ready[i]:
			case <-ctx.Done():
				return ctx.Err()
			}
			if _, err := Install(ctx, in, dirs[:i], l); err != nil {
				return err
			}
		}
		return nil
	})
	return dirs, g.Wait()
}

// cached returns the finished directory of key, made by make if there is none.
// Two builds that want the same one do not make it twice.
func cached(ctx context.Context, in Inputs, key string, make func(t *temp) (string, error)) (string, error) {
	if err := trustCache(in.Cache); err != nil {
		return "", err
	}
	dir := filepath.Join(in.Cache, "layers", key)
	if touch(dir) {
		return dir, nil
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return "", fmt.Errorf("make the cache of layers: %w", err)
	}
	lock, err := waitLock(ctx, dir+".lock")
	if err != nil {
		return "", err
	}
	defer lock.Close()
	if touch(dir) {
		return dir, nil
	}
	if err := markUnsynced(in.Cache); err != nil {
		return "", err
	}
	t, err := newTemp(in.Cache, "layer")
	if err != nil {
		return "", err
	}
	if os.Getenv("KEEP") == "" {
		defer t.remove()
	}
	made, err := make(t)
	if err != nil {
		return "", err
	}
	if err := os.Rename(made, dir); err != nil {
		return "", fmt.Errorf("keep the layer: %w", err)
	}
	return dir, nil
}

// touch says whether the layer is there, and marks it as used now. A
// directory's own time is the epoch and part of the layer; the time of its
// last change of status (ctime) is not, and a change of mode to what it is
// sets that.
func touch(dir string) bool {
	info, err := os.Stat(dir)
	if err != nil {
		return false
	}
	_ = os.Chmod(dir, info.Mode())
	return true
}

// waitLock is lockFile that ends with ctx.
func waitLock(ctx context.Context, path string) (*os.File, error) {
	for {
		f, err := tryLock(path)
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return f, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// layerKey is the digest of all that a layer depends on.
func layerKey(in Inputs, below []string, l Layer) (string, error) {
	lines, err := belowLines(in, below)
	if err != nil {
		return "", err
	}
	for _, d := range l.Debs {
		lines = append(lines, "deb "+d.SHA256)
	}
	return keyOf(in, "layer", lines)
}

// belowLines are the lines of a key for the layers below.
func belowLines(in Inputs, below []string) ([]string, error) {
	lines := []string{"pinned " + digest(in.Pinned)}
	for i, d := range below {
		if filepath.Dir(d) != filepath.Join(in.Cache, "layers") {
			return nil, fmt.Errorf("the layer %s below is not of the cache %s", d, in.Cache)
		}
		lines = append(lines, fmt.Sprintf("below %03d %s", i, filepath.Base(d)))
	}
	return lines, nil
}

// keyOf makes a key of sorted lines and of what every key depends on.
func keyOf(in Inputs, kind string, lines []string) (string, error) {
	lines = append(lines, "version "+kind+" "+layerVersion+" "+storeVersion, fmt.Sprint("epoch ", in.Epoch.Unix()), "exclude "+DpkgConfig())
	lines = append(lines, fmt.Sprintf("tables %q %q %q %q", standIns(), lateCommands(), volatilePaths(), notInFactory()))
	files, err := inside.ReadDir("inside")
	if err != nil {
		return "", err
	}
	for _, f := range files {
		body, err := inside.ReadFile("inside/" + f.Name())
		if err != nil {
			return "", err
		}
		lines = append(lines, "inside "+f.Name()+" "+digest(body))
	}
	sort.Strings(lines)
	h := sha256.New()
	for _, line := range lines {
		fmt.Fprintf(h, "%d %s\n", len(line), line)
	}
	return hex.EncodeToString(h.Sum(nil))[:40], nil
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
