package source

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestLayouts reads seeds as the usual tools write them.
func TestLayouts(t *testing.T) {
	type layout struct {
		tree   string
		image  func(*testing.T, string, map[string]string) string
		label  string
		device string
		serial string
		source string
		// files of the tree
		user, meta, config, data string
		ignored                  []string
	}
	for name, l := range map[string]layout{
		"Nova, a drive of its own": {
			tree: "nova", image: isoImage, label: "config-2", device: "sr0", source: "config-2",
			user: "openstack/latest/user_data", meta: "openstack/latest/meta_data.json", data: "openstack/latest/network_data.json",
			ignored: []string{"openstack/latest/vendor_data2.json"},
		},
		"Nova, vfat": {
			tree: "nova", image: fatImage, label: "config-2", device: "vdb", source: "config-2",
			user: "openstack/latest/user_data", meta: "openstack/latest/meta_data.json", data: "openstack/latest/network_data.json",
			ignored: []string{"openstack/latest/vendor_data2.json"},
		},
		"Ironic, an ISO on a partition": {
			tree: "ironic", image: isoImage, label: "config-2", device: "sda4", source: "config-2",
			user: "openstack/latest/user_data", meta: "openstack/latest/meta_data.json", data: "openstack/latest/network_data.json",
		},
		"Ironic, a FAT on sectors of 4096 bytes": {
			tree: "ironic", image: fat4kImage, label: "CONFIG-2", device: "nvme0n1p4", source: "config-2",
			user: "openstack/latest/user_data", meta: "openstack/latest/meta_data.json", data: "openstack/latest/network_data.json",
		},
		"Proxmox, nocloud": {
			tree: "proxmox-nocloud", image: isoImage, label: "cidata", device: "sr1", source: "cidata",
			user: "user-data", meta: "meta-data", config: "network-config",
		},
		"Proxmox, configdrive2": {
			tree: "proxmox-configdrive2", image: isoImage, label: "config-2", device: "sr1", source: "config-2",
			user: "openstack/latest/user_data", meta: "openstack/latest/meta_data.json", ignored: []string{"openstack/content/0000"},
		},
		"virt-install": {
			tree: "virt-install", image: isoImage, label: "cidata", device: "sda", serial: "ds=nocloud", source: "cidata",
			user: "user-data", meta: "meta-data",
		},
		"cloud-localds": {
			tree: "cloud-localds", image: isoImage, label: "cidata", device: "vdb", source: "cidata", user: "user-data", meta: "meta-data",
		},
		"cloud-localds, vfat": {
			tree: "cloud-localds", image: fatImage, label: "CIDATA", device: "vdb", source: "cidata", user: "user-data", meta: "meta-data",
		},
	} {
		t.Run(name, func(t *testing.T) {
			env := testEnv(t)
			files := tree(t, l.tree)
			plug(t, env, l.device, l.image(t, l.label, files))
			if l.serial != "" {
				serial(t, env, l.serial)
			}
			at := "/dev/" + l.device + ":/"
			want := Payload{UserData: Part{at + l.user, []byte(files[l.user]), true}, MetaData: Part{at + l.meta, []byte(files[l.meta]), true}}
			if l.config != "" {
				want.NetworkConfig = Part{at + l.config, []byte(files[l.config]), true}
			}
			if l.data != "" {
				want.NetworkData = Part{at + l.data, []byte(files[l.data]), true}
			}
			for _, i := range l.ignored {
				want.Ignored = append(want.Ignored, at+i)
			}
			got, tried, err := read(t, env)
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range []*Part{&got.NetworkConfig, &got.NetworkData} {
				if !p.Has {
					*p = Part{} // its name is only for people
				}
			}
			if d := cmp.Diff(want, got, cmp.Transformer("text", func(b []byte) string { return string(b) })); d != "" {
				t.Error(d)
			}
			if s, others := taken(tried); s != l.source {
				t.Errorf("%s was taken: %v", s, others)
			}
		})
	}
}

// TestImages reads whole images that genisoimage 1.1.11 made with the arguments
// of openstacksdk and of cloud-localds, and wipes them as a partition.
func TestImages(t *testing.T) {
	for name, c := range map[string]struct{ source, user, tree string }{
		"ironic":        {"config-2", "openstack/latest/user_data", "ironic"},
		"cloud-localds": {"cidata", "user-data", "cloud-localds"},
	} {
		t.Run(name, func(t *testing.T) {
			packed, err := os.ReadFile("testdata/images/" + name + ".iso.gz")
			if err != nil {
				t.Fatal(err)
			}
			image, err := gunzip(packed, 4<<20)
			if err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(t.TempDir(), "iso")
			put(t, path, image)
			env := testEnv(t)
			plug(t, env, "sda4", path)
			attribute(t, env, "sda4", "partition", "4")
			p, tried, err := read(t, env)
			if err != nil || string(p.UserData.Data) != tree(t, c.tree)[c.user] {
				t.Fatalf("%v: %s", err, p.UserData.Data)
			}
			if got, _ := taken(tried); got != c.source {
				t.Errorf("%s was taken", got)
			}
			candidate, _, _ := Look(env, All())
			done, attached, err := Wipe(env, candidate)
			after, _ := os.ReadFile(path)
			if len(done) == 0 || attached || err != nil || bytes.Contains(after, []byte("cluster: lab")) || len(after) != len(image) {
				t.Errorf("wiped %v, attached %t, %v", done, attached, err)
			}
		})
	}
}

// TestVersions: latest comes before the newest of the dated folders that are
// known, and a version that is not known is not read.
func TestVersions(t *testing.T) {
	nova := tree(t, "nova")
	drop := func(versions ...string) map[string]string {
		files := map[string]string{"openstack/2031-01-01/meta_data.json": `{"uuid": "new"}`}
		for name, text := range nova {
			files[name] = text
		}
		for _, v := range versions {
			for _, f := range []string{"meta_data.json", "user_data", "network_data.json", "vendor_data.json", "vendor_data2.json"} {
				delete(files, "openstack/"+v+"/"+f)
			}
		}
		return files
	}
	for want, files := range map[string]map[string]string{
		"latest": drop(), "2018-08-27": drop("latest"), "2013-10-17": drop("latest", "2018-08-27", "2017-02-22", "2016-10-06", "2016-06-30", "2015-10-15"),
	} {
		env := testEnv(t)
		plug(t, env, "sr0", isoImage(t, "config-2", files))
		p, _, err := read(t, env)
		if err != nil || p.UserData.Name != "/dev/sr0:/openstack/"+want+"/user_data" {
			t.Errorf("%s: %s (%v)", want, p.UserData.Name, err)
		}
	}
}

// TestConfigDrives: which drive is taken of several, and what is broken.
func TestConfigDrives(t *testing.T) {
	drive := func(uuid, user string) map[string]string {
		return map[string]string{"openstack/latest/meta_data.json": `{"uuid": "` + uuid + `"}`, "openstack/latest/user_data": user}
	}
	for name, c := range map[string]struct {
		lay   func(env Env)
		from  string
		fails string
	}{
		"one uuid twice: the removable one": {func(env Env) {
			plug(t, env, "sda2", isoImage(t, "config-2", drive("u", "x")))
			plug(t, env, "sdb", isoImage(t, "config-2", drive("u", "x")))
			plug(t, env, "vdz", isoImage(t, "config-2", drive("u", "x")))
			attribute(t, env, "sdb", "removable", "1")
		}, "/dev/sdb", ""},
		"one uuid twice: the last name": {func(env Env) {
			plug(t, env, "vdb", isoImage(t, "config-2", drive("u", "x")))
			plug(t, env, "vdc", fatImage(t, "CONFIG-2", drive("u", "x")))
		}, "/dev/vdc", ""},
		"one uuid twice: the root's disk": {func(env Env) {
			plug(t, env, "vda", isoImage(t, "config-2", drive("u", "x")))
			plug(t, env, "vdc", isoImage(t, "config-2", drive("u", "x")))
			put(t, env.path("/sys/class/block/dm-0/slaves/vda/size"), nil)
		}, "/dev/vda", ""},
		"two machines": {func(env Env) {
			plug(t, env, "vdb", isoImage(t, "config-2", drive("u1", "x")))
			plug(t, env, "vdc", isoImage(t, "config-2", drive("u2", "x")))
		}, "", "/dev/vdc and /dev/vdb are both labelled config-2 and are of different machines (uuid u2 and u1); detach one"},
		"no meta_data.json": {func(env Env) {
			plug(t, env, "sr0", isoImage(t, "config-2", map[string]string{"openstack/latest/user_data": "x"}))
		}, "", "/dev/sr0:/openstack/latest/meta_data.json is missing"},
		"no uuid": {func(env Env) {
			plug(t, env, "sr0", isoImage(t, "config-2", map[string]string{"openstack/latest/meta_data.json": `{"name": "x"}`}))
		}, "", "/dev/sr0:/openstack/latest/meta_data.json has no uuid"},
		"wrong JSON": {func(env Env) {
			plug(t, env, "sr0", isoImage(t, "config-2", map[string]string{"openstack/latest/meta_data.json": "{\n \"uuid\": u}"}))
		}, "", "/dev/sr0:/openstack/latest/meta_data.json:2:10: invalid character 'u'"},
		"empty, as an image ships it": {func(env Env) {
			plug(t, env, "vda3", fatImage(t, "CONFIG-2", map[string]string{"README": "x"}))
		}, "", "no source"},
		"empty, and a whole one": {func(env Env) {
			plug(t, env, "vda3", fatImage(t, "CONFIG-2", nil))
			plug(t, env, "sr0", isoImage(t, "config-2", drive("u", "x")))
		}, "/dev/sr0", ""},
	} {
		t.Run(name, func(t *testing.T) {
			env := testEnv(t)
			c.lay(env)
			p, _, err := read(t, env)
			wantError(t, err, c.fails)
			if want := c.from + ":/openstack/latest/user_data"; c.from != "" && p.UserData.Name != want {
				t.Errorf("%s, want %s", p.UserData.Name, want)
			}
		})
	}
}
