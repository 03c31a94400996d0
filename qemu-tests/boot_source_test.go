package qemutests

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"trivet/qemu-tests/cluster"
)

// siteIP is where a machine finds the tester's web server.
const siteIP = "10.0.2.80"

// A world is how one of the many ways by which a machine learns who it is looks
// from the machine.
type world func(t *testing.T, s cluster.Seed, o *cluster.NodeOptions)

// worlds are the ways, with what the node says of the source that it took.
func worlds() []struct {
	name, origin string
	make         world
} {
	return []struct {
		name, origin string
		make         world
	}{
		{"cidata ISO", "iso9660, label cidata", cidataISO},
		{"FAT CIDATA", "vfat, label CIDATA", func(_ *testing.T, s cluster.Seed, o *cluster.NodeOptions) { o.Seed = s }},
		{"config-2 ISO", "iso9660, label config-2", configISO},
		{"FAT32 CONFIG-2, 4Kn", "vfat, label CONFIG-2", configFAT32},
		{"SMBIOS serial", "SMBIOS", serialSeed},
		{"command line URL with hash", "kernel command line", commandLineURL},
		{"SMBIOS credential", "credential trivet.userdata", credentialSeed},
		{"OpenStack metadata service", "OpenStack's metadata service", metadataService},
	}
}

// TestBootFromEverySource boots one image of a controller from each source, to
// ready.
func TestBootFromEverySource(t *testing.T) { bootFromSources(t, "controller") }

// TestBootStorageFromEverySource does the same with the role that is ready
// soonest, so that CI can do it.
func TestBootStorageFromEverySource(t *testing.T) { bootFromSources(t, "storage") }

func bootFromSources(t *testing.T, role string) {
	wantsQEMU(t)
	for _, w := range worlds() {
		t.Run(w.name, func(t *testing.T) {
			c, l := machines(t, role), newLab(t)
			o := l.options(c, role, cluster.Virtio)
			seed := o.Seed
			o.Seed = cluster.Seed{}
			w.make(t, seed, &o)
			n := c.AddNode(role, o)
			n.Start()
			n.WaitReady(readyTime)
			taken := slices.ContainsFunc(n.Records(), func(r cluster.Record) bool {
				return r.Step == "describe" && r.State == "done" && strings.Contains(r.Message, w.origin)
			})
			if !taken {
				t.Errorf("no record that the node describes itself from %q:\n%s", w.origin, n.Run(shellTime, "trivet-agent explain"))
			}
			if shown := n.Run(shellTime, "journalctl --boot --no-pager; cat /run/trivet/status.json /proc/cmdline"); l.shows(shown) {
				t.Error("a secret of the seed shows in the journal, the status or the kernel command line")
			}
			n.Stop(stopTime)
		})
	}
}

// shows answers whether a text holds any of the lab's secrets.
func (l lab) shows(text string) bool {
	for _, s := range l.secrets {
		if strings.Contains(text, s) {
			return true
		}
	}
	return false
}

// folder writes files below a new directory.
func folder(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// iso makes an image as cloud-localds, Nova and Ironic do.
func iso(t *testing.T, label string, files map[string]string) cluster.Medium {
	t.Helper()
	out := filepath.Join(t.TempDir(), "image.iso")
	oracle(t, "genisoimage", "-quiet", "-J", "-r", "-V", label, "-o", out, folder(t, files))
	return cluster.Medium{Image: readFile(t, out), CDROM: true}
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func seedFiles(s cluster.Seed) map[string]string {
	return map[string]string{"user-data": s.UserData, "meta-data": s.MetaData, "network-config": s.NetworkConfig}
}

func cidataISO(t *testing.T, s cluster.Seed, o *cluster.NodeOptions) {
	o.Media = []cluster.Medium{iso(t, "cidata", seedFiles(s))}
}

// openStackFiles are a seed as Nova and Ironic put it on a config drive.
func openStackFiles(s cluster.Seed, mac string) map[string]string {
	files := map[string]string{}
	for _, version := range []string{"latest", "2018-08-27"} {
		files["openstack/"+version+"/meta_data.json"] = `{"uuid": "6a2f4d1e-0b57-4f1c-9c55-0d5c2f6f0a11", "hostname": "named-by-openstack", "name": "named-by-openstack"}`
		files["openstack/"+version+"/user_data"] = s.UserData
		files["openstack/"+version+"/network_data.json"] = `{"links": [{"id": "lan", "type": "phy", "ethernet_mac_address": "` + mac + `", "mtu": 1500}],
			"networks": [{"id": "net0", "link": "lan", "type": "ipv4", "ip_address": "` + ownIP + `", "netmask": "255.255.255.0",
				"routes": [{"network": "0.0.0.0", "netmask": "0.0.0.0", "gateway": "10.0.2.2"}]}], "services": []}`
	}
	return files
}

func configISO(t *testing.T, s cluster.Seed, o *cluster.NodeOptions) {
	o.Media = []cluster.Medium{iso(t, "config-2", openStackFiles(s, cluster.FirstMAC))}
}

// configFAT32 is what Ironic makes where an ISO cannot be mounted: on disks of
// 4096-byte sectors.
func configFAT32(t *testing.T, s cluster.Seed, o *cluster.NodeOptions) {
	path := filepath.Join(t.TempDir(), "config.img")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, 512<<20); err != nil { // FAT32 needs 65525 clusters
		t.Fatal(err)
	}
	oracle(t, "mkfs.vfat", "-F", "32", "-S", "4096", "-s", "1", "-n", "CONFIG-2", path)
	oracle(t, "mcopy", "-s", "-i", path, filepath.Join(folder(t, openStackFiles(s, cluster.FirstMAC)), "openstack"), "::")
	o.Media = []cluster.Medium{{Image: readFile(t, path), Sector: 4096, Writable: true}}
}

// site serves the seed's files, and nothing else, in the folder /seed/.
func site(s cluster.Seed) http.Handler {
	mux := http.NewServeMux()
	for name, text := range seedFiles(s) {
		mux.HandleFunc("GET /seed/"+name, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(text)) })
	}
	return mux
}

func serialSeed(_ *testing.T, s cluster.Seed, o *cluster.NodeOptions) {
	o.Serial = "ds=nocloud;s=http://" + siteIP + "/seed/"
	o.Sites = []cluster.Site{{Address: siteIP, Handler: site(s)}}
}

// commandLineURL adds to the sealed kernel command line what systemd-stub(7)
// takes from SMBIOS while Secure Boot is off.
func commandLineURL(_ *testing.T, s cluster.Seed, o *cluster.NodeOptions) {
	sum := sha256.Sum256([]byte(s.UserData))
	o.OEMStrings = []string{"io.systemd.stub.kernel-cmdline-extra=trivet.url=http://" + siteIP + "/seed/user-data trivet.sha256=" + hex.EncodeToString(sum[:])}
	o.Sites = []cluster.Site{{Address: siteIP, Handler: site(s)}}
}

func credentialSeed(_ *testing.T, s cluster.Seed, o *cluster.NodeOptions) {
	for name, text := range map[string]string{"userdata": s.UserData, "metadata": s.MetaData, "network-config": s.NetworkConfig} {
		o.OEMStrings = append(o.OEMStrings, "io.systemd.credential.binary:trivet."+name+"="+base64.StdEncoding.EncodeToString([]byte(text)))
	}
}

// metadataService is the link-local service of a machine of Nova.
func metadataService(_ *testing.T, s cluster.Seed, o *cluster.NodeOptions) {
	mux := http.NewServeMux()
	for name, text := range openStackFiles(s, cluster.FirstMAC) {
		mux.HandleFunc("GET /"+name, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(text)) })
	}
	mux.HandleFunc("GET /openstack", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("2018-08-27\nlatest\n")) })
	o.Product = "OpenStack Nova"
	o.Sites = []cluster.Site{{Address: "169.254.169.254", Handler: mux}}
}
