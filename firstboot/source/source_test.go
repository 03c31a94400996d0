package source

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	diskbackend "github.com/diskfs/go-diskfs/backend/file"
	"github.com/diskfs/go-diskfs/filesystem"
	"github.com/diskfs/go-diskfs/filesystem/fat32"
	"github.com/diskfs/go-diskfs/filesystem/iso9660"
	"github.com/google/go-cmp/cmp"
)

// seed is what every source of the suite holds.
func seed() map[string]string {
	return map[string]string{
		"user-data": "#trivet/v1\nname: ctl1\n", "meta-data": "instance-id: i-1\n", "network-config": "version: 2\n",
	}
}

// testEnv returns an environment without anything in it. Disks are files that
// go-diskfs reads in the kernel's place.
func testEnv(t *testing.T) Env {
	t.Helper()
	return Env{
		Root: t.TempDir(), ReadDisk: readImage, Client: NewClient(), Jitter: func() float64 { return 1 },
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

func readImage(device, fstype string, names []string, limit int64) (map[string][]byte, error) {
	f, err := os.Open(device)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	var fs filesystem.FileSystem
	if storage := diskbackend.New(f, true); fstype == "vfat" {
		fs, err = fat32.Read(storage, info.Size(), 0, 512)
	} else {
		fs, err = iso9660.Read(storage, info.Size(), 0, 2048)
	}
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{}
	for _, name := range names {
		data, err := fs.ReadFile(name)
		if err != nil {
			continue
		}
		if int64(len(data)) > limit {
			return nil, fmt.Errorf("%s is too long", name)
		}
		files[name] = data
	}
	return files, nil
}

// fatImage makes a FAT32 file system that holds files.
func fatImage(t *testing.T, label string, files map[string]string) string {
	t.Helper()
	const size = 40 << 20
	path := filepath.Join(t.TempDir(), "fat.img")
	b, err := diskbackend.CreateFromPath(path, size)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	fs, err := fat32.Create(b, size, 0, 512, label, true)
	if err != nil {
		t.Fatal(err)
	}
	writeFiles(t, fs, files)
	return path
}

// isoImage makes an ISO 9660 file system with Rock Ridge names.
func isoImage(t *testing.T, label string, files map[string]string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "seed.iso")
	b, err := diskbackend.CreateFromPath(path, 4<<20)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	fs, err := iso9660.Create(b, 4<<20, 0, 2048, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	writeFiles(t, fs, files)
	if err := fs.Finalize(iso9660.FinalizeOptions{RockRidge: true, VolumeIdentifier: label}); err != nil {
		t.Fatal(err)
	}
	return path
}

func writeFiles(t *testing.T, fs filesystem.FileSystem, files map[string]string) {
	t.Helper()
	for name, text := range files {
		f, err := fs.OpenFile(name, os.O_CREATE|os.O_RDWR)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func serial(t *testing.T, env Env, text string) {
	t.Helper()
	put(t, filepath.Join(env.Root, serialPath), []byte(text+"\n"))
}

// layouts are the ways in which one seed reaches a machine.
func layouts() map[string]func(t *testing.T, env Env, files map[string]string) {
	return map[string]func(t *testing.T, env Env, files map[string]string){
		"seed-dir": func(t *testing.T, env Env, files map[string]string) {
			for name, text := range files {
				put(t, filepath.Join(env.Root, "var/lib/cloud/seed/nocloud", name), []byte(text))
			}
		},
		"seed-dir-run": func(t *testing.T, env Env, files map[string]string) {
			for name, text := range files {
				put(t, filepath.Join(env.Root, "run/trivet/seed", name), []byte(text))
			}
		},
		"cidata-vfat": func(t *testing.T, env Env, files map[string]string) {
			plug(t, env, "vdb", fatImage(t, "CIDATA", files))
		},
		"cidata-iso": func(t *testing.T, env Env, files map[string]string) {
			plug(t, env, "sr0", isoImage(t, "cidata", files))
		},
		"smbios-serial": func(t *testing.T, env Env, files map[string]string) {
			s := httptest.NewServer(serveSeed(files))
			t.Cleanup(s.Close)
			serial(t, env, "ds=nocloud;s="+s.URL+"/seeds/ctl1")
		},
	}
}

func serveSeed(files map[string]string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text, ok := files[filepath.Base(r.URL.Path)]
		if !ok || !strings.HasPrefix(r.URL.Path, "/seeds/ctl1/") {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write([]byte(text))
	})
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

// TestConformance: every source gives the same content, with and without the
// optional file, and says what is missing.
func TestConformance(t *testing.T) {
	for name, lay := range layouts() {
		t.Run(name, func(t *testing.T) {
			env := testEnv(t)
			lay(t, env, seed())
			p, tried, err := read(t, env)
			if err != nil {
				t.Fatal(err)
			}
			got := map[string]string{"user-data": string(p.UserData.Data), "meta-data": string(p.MetaData.Data), "network-config": string(p.NetworkConfig.Data)}
			if d := cmp.Diff(seed(), got); d != "" {
				t.Error(d)
			}
			taken := 0
			for _, a := range tried {
				if a.State == "taken" {
					taken++
				} else if a.State != "absent" || a.Why == "" {
					t.Errorf("%s: %s without a reason: %+v", a.Source, a.State, a)
				}
			}
			if taken != 1 || len(tried) != len(All()) {
				t.Errorf("%d sources of %d taken: %+v", taken, len(tried), tried)
			}
		})
		t.Run(name+" without network-config", func(t *testing.T) {
			env := testEnv(t)
			files := seed()
			delete(files, "network-config")
			files["meta-data"] = ""
			lay(t, env, files)
			p, _, err := read(t, env)
			if err != nil {
				t.Fatal(err)
			}
			if p.NetworkConfig.Has || !p.MetaData.Has || len(p.MetaData.Data) > 0 {
				t.Errorf("an empty meta-data is there and a missing network-config is not: %+v", p)
			}
		})
	}
}

// TestIncomplete: a disk or server that is a seed but lacks a file is an error,
// not a reason to look elsewhere.
func TestIncomplete(t *testing.T) {
	for _, name := range []string{"cidata-vfat", "cidata-iso", "smbios-serial"} {
		t.Run(name, func(t *testing.T) {
			env := testEnv(t)
			files := seed()
			delete(files, "meta-data")
			layouts()[name](t, env, files)
			_, _, err := read(t, env)
			if err == nil || !strings.Contains(err.Error(), "meta-data") {
				t.Errorf("got %v", err)
			}
		})
	}
}

// TestOrder: the first source is taken, and the others are said to be there.
func TestOrder(t *testing.T) {
	env := testEnv(t)
	layouts()["cidata-iso"](t, env, seed())
	layouts()["seed-dir"](t, env, seed())
	layouts()["smbios-serial"](t, env, seed())
	c, tried, err := Look(env, All())
	if err != nil {
		t.Fatal(err)
	}
	if !c.Remote || !strings.Contains(c.Origin, "/seeds/ctl1/") {
		t.Errorf("taken: %+v", c)
	}
	var states []string
	for _, a := range tried {
		states = append(states, a.Source+" "+a.State)
	}
	if d := cmp.Diff([]string{"smbios-serial taken", "seed-dir passed over", "cidata passed over"}, states); d != "" {
		t.Error(d)
	}
}

// TestNothing: every source says why it is not there.
func TestNothing(t *testing.T) {
	env := testEnv(t)
	serial(t, env, "VMware-42")
	plug(t, env, "vda", fatImage(t, "DATA", nil))
	c, tried, err := Look(env, All())
	if c != nil || err != nil {
		t.Fatal(c, err)
	}
	var why []string
	for _, a := range tried {
		why = append(why, a.Why)
	}
	want := []string{"the serial number does not hold ds=nocloud", "no such folder has both user-data and meta-data", "no file system has the label; looked at /dev/vda"}
	if d := cmp.Diff(want, why); d != "" {
		t.Error(d)
	}
}

// TestTwoDisks: the same seed twice is one seed, two that differ are an error.
func TestTwoDisks(t *testing.T) {
	env := testEnv(t)
	plug(t, env, "sr0", isoImage(t, "cidata", seed()))
	plug(t, env, "vdb", fatImage(t, "CIDATA", seed()))
	if p, _, err := read(t, env); err != nil || p.UserData.Name != "/dev/sr0:/user-data" {
		t.Errorf("twice the same: %v from %s", err, p.UserData.Name)
	}
	other := seed()
	other["user-data"] = "#trivet/v1\nname: ctl2\n"
	plug(t, env, "vdc", fatImage(t, "cidata", other))
	_, _, err := read(t, env)
	if err == nil || err.Error() != "/dev/sr0 and /dev/vdc are both labelled cidata and differ; detach one" {
		t.Errorf("got %v", err)
	}
}

func TestParseSerial(t *testing.T) {
	for text, want := range map[string]string{
		"ds=nocloud;s=http://192.0.2.1:8000/":          "http://192.0.2.1:8000/",
		"ds=nocloud-net;h=x;seedfrom=https://h/a?n=%s": "https://h/a?n=%s",
		"ABC ds=nocloud;i=1;s=http://h/":               "http://h/",
		"DS=NoCloud;s=http://h/":                       "http://h/",
		"ds=nocloud":                                   "",
		"xds=nocloud;s=http://h/":                      "absent",
		"ds=nocloudy;s=http://h/":                      "absent",
		"":                                             "absent",
	} {
		from, found := parseSerial(text)
		if !found {
			from = "absent"
		}
		if from != want {
			t.Errorf("%q: %q, want %q", text, from, want)
		}
	}
}

func TestSeedURL(t *testing.T) {
	for from, want := range map[string]string{
		"http://h":             "http://h/user-data",
		"http://h/a":           "http://h/a/user-data",
		"http://h/a/":          "http://h/a/user-data",
		"https://h/a?file=":    "https://h/a?file=user-data",
		"http://h/%s.yaml?n=1": "http://h/user-data.yaml?n=1",
	} {
		u, err := seedURL(from)
		if err != nil {
			t.Errorf("%s: %v", from, err)
		} else if got := fileURL(u, "user-data"); got != want {
			t.Errorf("%s: %s, want %s", from, got, want)
		}
	}
	for _, bad := range []string{"/etc/seed", "file:///etc/seed", "ftp://h/", "http://", "http://u:p@h/", "http://h/__dmi.system-uuid__/", "http://[::1"} {
		if _, err := seedURL(bad); err == nil {
			t.Errorf("%s was taken", bad)
		}
	}
}
