package source

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	diskbackend "github.com/diskfs/go-diskfs/backend/file"
	"github.com/diskfs/go-diskfs/filesystem"
	"github.com/diskfs/go-diskfs/filesystem/fat32"
	"github.com/diskfs/go-diskfs/filesystem/iso9660"
)

// testEnv returns an environment without anything in it. Disks are files that
// go-diskfs reads and writes in the kernel's place. Nothing waits.
func testEnv(t *testing.T) Env {
	t.Helper()
	return Env{
		Root: t.TempDir(), ReadDisk: readImage, WriteDisk: writeImage, Client: NewClient(), Jitter: func() float64 { return 1 },
		IMDS:  []string{"http://127.0.0.1:1"}, // never the real one
		Sleep: func(ctx context.Context, _ time.Duration) error { return ctx.Err() },
	}
}

func put(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func dmi(t *testing.T, env Env, file, text string) {
	t.Helper()
	put(t, filepath.Join(env.Root, dmiFolder, file), []byte(text+"\n"))
}

func serial(t *testing.T, env Env, text string) {
	t.Helper()
	dmi(t, env, serialFile, text)
}

func commandLine(t *testing.T, env Env, text string) {
	t.Helper()
	put(t, filepath.Join(env.Root, "proc/cmdline"), []byte("BOOT_IMAGE=/linux ro "+text+" quiet\n"))
}

func credential(t *testing.T, env Env, name, text string) {
	t.Helper()
	put(t, filepath.Join(env.Root, unitCredentials, name), []byte(text))
}

// plug adds an image as a block device.
func plug(t *testing.T, env Env, name, image string) {
	t.Helper()
	put(t, filepath.Join(env.Root, "sys/class/block", name, "size"), nil)
	if err := os.MkdirAll(filepath.Join(env.Root, "dev"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(image, filepath.Join(env.Root, "dev", name)); err != nil {
		t.Fatal(err)
	}
}

// attribute sets what sysfs says of a block device.
func attribute(t *testing.T, env Env, device, name, value string) {
	t.Helper()
	put(t, filepath.Join(env.Root, "sys/class/block", device, name), []byte(value+"\n"))
}

// openImage opens the file system of an image as go-diskfs knows it. The sectors
// of a FAT are as long as its boot sector says.
func openImage(device, fstype string, readOnly bool) (*os.File, filesystem.FileSystem, error) {
	mode := os.O_RDWR
	if readOnly {
		mode = os.O_RDONLY
	}
	f, err := os.OpenFile(device, mode, 0)
	if err != nil {
		return nil, nil, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, nil, err
	}
	var system filesystem.FileSystem
	if storage := diskbackend.New(f, readOnly); fstype == "vfat" {
		boot := make([]byte, 13)
		if _, err := f.ReadAt(boot, 0); err != nil {
			return nil, nil, err
		}
		system, err = fat32.Read(storage, info.Size(), 0, int64(binary.LittleEndian.Uint16(boot[11:])))
	} else {
		system, err = iso9660.Read(storage, info.Size(), 0, 2048)
	}
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return f, system, nil
}

func readImage(device, fstype string, names []string, limit int64) (map[string][]byte, error) {
	f, system, err := openImage(device, fstype, true)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	files := map[string][]byte{}
	for _, name := range names {
		data, err := system.ReadFile(name)
		if err != nil {
			continue
		}
		if int64(len(data)) > limit {
			return nil, fmt.Errorf("%s has more than %d bytes", name, limit)
		}
		files[name] = data
	}
	return files, nil
}

func writeImage(device, fstype string, files map[string][]byte) error {
	f, system, err := openImage(device, fstype, false)
	if err != nil {
		return err
	}
	defer f.Close()
	for name, data := range files {
		if err := writeFile(system, name, data); err != nil {
			return err
		}
	}
	return nil
}

// fatImage makes a FAT32 file system that holds files.
func fatImage(t *testing.T, label string, files map[string]string) string {
	t.Helper()
	return fatOf(t, label, 512, files)
}

// fat4kImage makes one for sectors of 4096 bytes.
func fat4kImage(t *testing.T, label string, files map[string]string) string {
	t.Helper()
	return fatOf(t, label, 4096, files)
}

func fatOf(t *testing.T, label string, sector int64, files map[string]string) string {
	t.Helper()
	const size = 64 << 20
	name := filepath.Join(t.TempDir(), "fat.img")
	b, err := diskbackend.CreateFromPath(name, size)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	system, err := fat32.Create(b, size, 0, sector, label, true)
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range slices.Sorted(maps.Keys(files)) {
		if dir := path.Dir(file); dir != "." {
			if err := system.Mkdir(dir); err != nil {
				t.Fatal(err)
			}
		}
		if err := writeFile(system, file, []byte(files[file])); err != nil {
			t.Fatal(err)
		}
	}
	return name
}

func writeFile(system filesystem.FileSystem, name string, data []byte) error {
	f, err := system.OpenFile(name, os.O_CREATE|os.O_RDWR)
	if err != nil {
		return fmt.Errorf("open %s: %w", name, err)
	}
	if len(data) > 0 {
		if _, err := f.Write(data); err != nil {
			return fmt.Errorf("write %s: %w", name, err)
		}
	}
	return f.Close()
}

// isoImage makes an ISO 9660 file system with Rock Ridge names.
func isoImage(t *testing.T, label string, files map[string]string) string {
	t.Helper()
	work := t.TempDir()
	for name, text := range files {
		put(t, filepath.Join(work, name), []byte(text))
	}
	image := filepath.Join(t.TempDir(), "seed.iso")
	b, err := diskbackend.CreateFromPath(image, 8<<20)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	system, err := iso9660.Create(b, 8<<20, 0, 2048, work)
	if err != nil {
		t.Fatal(err)
	}
	if err := system.Finalize(iso9660.FinalizeOptions{RockRidge: true, VolumeIdentifier: label}); err != nil {
		t.Fatal(err)
	}
	return image
}

// tree reads a folder of testdata/layouts.
func tree(t *testing.T, name string) map[string]string {
	t.Helper()
	files := map[string]string{}
	root := os.DirFS(filepath.Join("testdata/layouts", name))
	err := fs.WalkDir(root, ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := fs.ReadFile(root, p)
		files[p] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// read looks at all sources and reads the one that is taken.
func read(t *testing.T, env Env) (Payload, []Attempt, error) {
	t.Helper()
	c, tried, err := Look(env, All())
	if err != nil {
		return Payload{}, tried, err
	}
	if c == nil {
		return Payload{}, tried, errors.New("no source")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	p, err := c.Read(ctx)
	return p, tried, err
}

// taken returns the name of the source that was taken, and the texts of others.
func taken(tried []Attempt) (name string, others map[string]string) {
	others = map[string]string{}
	for _, a := range tried {
		if a.State == "taken" {
			name = a.Source
		} else {
			others[a.Source] = a.State + ": " + a.Why
		}
	}
	return name, others
}

// wantError answers whether an error is as wanted; want is a part of it.
func wantError(t *testing.T, err error, want string) {
	t.Helper()
	switch {
	case want == "" && err != nil:
		t.Errorf("got %v", err)
	case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
		t.Errorf("got %v, want %s", err, want)
	}
}
