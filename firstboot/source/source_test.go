package source

import (
	"bytes"
	"compress/gzip"
	"context"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// A sample is what every source of the suite holds.
type sample struct {
	user    string
	noUser  bool // the source lacks user-data
	noMeta  bool // and meta-data
	network bool
}

const goodUser = "#trivet/v1\nname: ctl1\n"

func whole() sample { return sample{user: goodUser, network: true} }

// nocloud is the sample in the form of NoCloud.
func (s sample) nocloud() map[string]string {
	files := map[string]string{"user-data": s.user, "meta-data": "instance-id: i-1\n"}
	if s.network {
		files["network-config"] = "version: 2\n"
	}
	if s.noUser {
		delete(files, "user-data")
	}
	if s.noMeta {
		delete(files, "meta-data")
	}
	return files
}

// openstack is the sample in the form of OpenStack.
func (s sample) openstack() map[string]string {
	const at = "openstack/latest/"
	files := map[string]string{at + "user_data": s.user, at + "meta_data.json": `{"uuid": "i-1"}`, at + "vendor_data.json": "{}"}
	if s.network {
		files[at+"network_data.json"] = `{"links": [{}]}`
	}
	if s.noUser {
		delete(files, at+"user_data")
	}
	if s.noMeta {
		delete(files, at+"meta_data.json")
	}
	return files
}

// seed is the whole sample in the form of NoCloud.
func seed() map[string]string { return whole().nocloud() }

// A kind is a source of the suite: how a sample is laid there.
type kind struct {
	source string // the source that is taken
	lay    func(t *testing.T, env *Env, s sample)
	meta   string // what MetaData holds: nocloud, openstack, ec2 or none
	// lacks is what the error says where user-data is missing.
	lacks     string
	noNetwork bool // it cannot describe a network
}

func lines(s ...string) string { return strings.Join(s, " ") }

// kinds are all ways in which a sample reaches a machine.
func kinds() map[string]kind {
	folder := func(dir string) func(*testing.T, *Env, sample) {
		return func(t *testing.T, env *Env, s sample) {
			for name, text := range s.nocloud() {
				put(t, env.path(dir+"/"+name), []byte(text))
			}
		}
	}
	url := func(t *testing.T, env *Env, s sample) {
		files := map[string]string{"/ctl1.yaml": s.user}
		if s.noUser {
			files = nil
		}
		commandLine(t, *env, lines("trivet.url="+serve(t, files)+"/ctl1.yaml", "trivet.insecure=1"))
	}
	return map[string]kind{
		"trivet.url=http":   {"cmdline-url", url, "none", "404 Not Found (attempt 1)", true},
		"trivet.url=file":   {"cmdline-url", layFile, "none", "is missing", true},
		"trivet.url=device": {"cmdline-url", layDevice, "none", "is missing", true},
		"credential":        {"credential", layCredential, "nocloud", "trivet.metadata is there, but trivet.userdata is not", false},
		"ds=nocloud, URL": {"cmdline-ds", func(t *testing.T, env *Env, s sample) {
			commandLine(t, *env, "ds=nocloud;s="+serve(t, prefixed("/seeds/ctl1/", s.nocloud()))+"/seeds/ctl1")
		}, "nocloud", "user-data: the server answers 404 Not Found (attempt 1)", false},
		"ds=nocloud, folder": {"cmdline-ds", func(t *testing.T, env *Env, s sample) {
			folder("/srv/seed")(t, env, s)
			commandLine(t, *env, "ds=nocloud;s=file:///srv/seed/")
		}, "nocloud", "user-data is missing", false},
		"ds=nocloud": {"cmdline-ds", func(t *testing.T, env *Env, s sample) {
			plug(t, *env, "vdb", fatImage(t, "cidata", s.nocloud()))
			commandLine(t, *env, "ds=nocloud")
		}, "nocloud", "user-data is missing", false},
		"ds=ConfigDrive": {"cmdline-ds", func(t *testing.T, env *Env, s sample) {
			plug(t, *env, "vdb", isoImage(t, "config-2", s.openstack()))
			commandLine(t, *env, "ds=ConfigDrive")
		}, "openstack", "/user_data is missing", false},
		"ds=openstack": {"cmdline-ds", func(t *testing.T, env *Env, s sample) {
			env.IMDS = []string{serveOpenStack(t, s)}
			commandLine(t, *env, "ds=openstack")
		}, "openstack", "/user_data is missing", false},
		"ds=ec2, version 1": {"cmdline-ds", func(t *testing.T, env *Env, s sample) {
			env.IMDS = []string{serveEC2(t, s, false)}
			commandLine(t, *env, "ds=ec2")
		}, "ec2", "/user-data is missing", true},
		"smbios-serial": {"smbios-serial", func(t *testing.T, env *Env, s sample) {
			serial(t, *env, "ds=nocloud;s="+serve(t, prefixed("/seeds/ctl1/", s.nocloud()))+"/seeds/ctl1")
		}, "nocloud", "user-data: the server answers 404 Not Found (attempt 1)", false},
		"seed-dir":      {"seed-dir", folder("/var/lib/cloud/seed/nocloud"), "nocloud", "no source", false},
		"seed-dir net":  {"seed-dir", folder("/var/lib/cloud/seed/nocloud-net"), "nocloud", "no source", false},
		"seed-dir run":  {"seed-dir", folder(initrdSeed), "nocloud", "no source", false},
		"config-2 iso":  {"config-2", disk("config-2", isoImage, sample.openstack), "openstack", "/user_data is missing", false},
		"config-2 vfat": {"config-2", disk("CONFIG-2", fatImage, sample.openstack), "openstack", "/user_data is missing", false},
		"config-2 4k":   {"config-2", disk("CONFIG-2", fat4kImage, sample.openstack), "openstack", "/user_data is missing", false},
		"cidata vfat":   {"cidata", disk("CIDATA", fatImage, sample.nocloud), "nocloud", "user-data is missing", false},
		"cidata iso":    {"cidata", disk("cidata", isoImage, sample.nocloud), "nocloud", "user-data is missing", false},
		"openstack-imds": {"openstack-imds", func(t *testing.T, env *Env, s sample) {
			env.IMDS = []string{serveOpenStack(t, s)}
			dmi(t, *env, "product_name", "OpenStack Nova")
		}, "openstack", "/user_data is missing", false},
		"ec2": {"ec2", func(t *testing.T, env *Env, s sample) {
			env.IMDS = []string{serveEC2(t, s, true)}
			dmi(t, *env, "product_uuid", "ec2f1a2b-3c4d-5e6f-7081-92a3b4c5d6e7")
		}, "ec2", "/user-data is missing", true},
	}
}

func disk(label string, image func(*testing.T, string, map[string]string) string, form func(sample) map[string]string) func(*testing.T, *Env, sample) {
	return func(t *testing.T, env *Env, s sample) { plug(t, *env, "vdb", image(t, label, form(s))) }
}

func layFile(t *testing.T, env *Env, s sample) {
	if !s.noUser {
		put(t, env.path("/srv/ctl1.yaml"), []byte(s.user))
	}
	commandLine(t, *env, "trivet.url=file:///srv/ctl1.yaml")
}

func layDevice(t *testing.T, env *Env, s sample) {
	files := map[string]string{"nodes/ctl1.yaml": s.user}
	if s.noUser {
		files = nil
	}
	plug(t, *env, "sdb", fatImage(t, "SEEDS", files))
	commandLine(t, *env, "trivet.url=device=seeds:/nodes/ctl1.yaml")
}

func layCredential(t *testing.T, env *Env, s sample) {
	for name, text := range s.nocloud() {
		credential(t, *env, map[string]string{"user-data": credentialUser, "meta-data": credentialMeta, "network-config": credentialNetwork}[name], text)
	}
}

func prefixed(prefix string, files map[string]string) map[string]string {
	out := map[string]string{}
	for name, text := range files {
		out[prefix+name] = text
	}
	return out
}

// serve starts a server of files and returns its address.
func serve(t *testing.T, files map[string]string) string {
	t.Helper()
	s := httptest.NewServer(handler(files))
	t.Cleanup(s.Close)
	return s.URL
}

func handler(files map[string]string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text, ok := files[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write([]byte(text))
	})
}

func openStackFiles(s sample) map[string]string {
	files := prefixed("/", s.openstack())
	files["/openstack"] = "2012-08-10\n2018-08-27\nlatest\n"
	files["/openstack/latest/"] = "meta_data.json\nuser_data\npassword\nvendor_data.json\nnetwork_data.json\n"
	return files
}

func serveOpenStack(t *testing.T, s sample) string { return serve(t, openStackFiles(s)) }

// ec2Handler is EC2's service; with tokens, it is IMDSv2 and nothing else. A
// token is good for a number of requests.
func ec2Handler(s sample, tokens bool) http.Handler {
	files := map[string]string{
		"/": "1.0\n2009-04-04\n2016-09-02\nlatest\n", "/2016-09-02/meta-data/instance-id": "i-1", "/2016-09-02/meta-data/local-hostname": "ip-192-0-2-1.example.org",
	}
	if !s.noUser {
		files["/2016-09-02/user-data"] = s.user
	}
	if s.noMeta {
		delete(files, "/2016-09-02/meta-data/instance-id")
	}
	given := ""
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case tokens && r.Method == http.MethodPut && r.URL.Path == "/latest/api/token" && r.Header.Get(headerTTL) == "21600":
			given += "A"
			_, _ = w.Write([]byte(given))
		case r.Method != http.MethodGet:
			w.WriteHeader(http.StatusMethodNotAllowed)
		case tokens && (given == "" || r.Header.Get(headerToken) != given):
			w.WriteHeader(http.StatusUnauthorized)
		default:
			if r.URL.Path == "/2016-09-02/meta-data/local-hostname" && given == "A" {
				given = "expired" // the client's token is no longer good
			}
			handler(files).ServeHTTP(w, r)
		}
	})
}

func serveEC2(t *testing.T, s sample, tokens bool) string {
	t.Helper()
	server := httptest.NewServer(ec2Handler(s, tokens))
	t.Cleanup(server.Close)
	return server.URL
}

func (k kind) wantMeta() string {
	switch k.meta {
	case "nocloud":
		return "instance-id: i-1\n"
	case "openstack":
		return `{"uuid": "i-1"}`
	case "ec2":
		return "instance-id: 'i-1'\nlocal-hostname: 'ip-192-0-2-1.example.org'\n"
	}
	return ""
}

func packed(text string) string {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = z.Write([]byte(text))
	_ = z.Close()
	return b.String()
}

// TestConformance: every source gives the same content, and is judged alike.
func TestConformance(t *testing.T) {
	bomb := packed(strings.Repeat("\x00", 64<<20))
	for name, k := range kinds() {
		t.Run(name, func(t *testing.T) {
			t.Run("whole", func(t *testing.T) { k.whole(t, whole(), goodUser) })
			t.Run("without a network", func(t *testing.T) { k.whole(t, sample{user: goodUser}, goodUser) })
			t.Run("gzip", func(t *testing.T) { k.whole(t, sample{user: packed(goodUser), network: true}, goodUser) })
			for broken, c := range map[string]struct {
				s    sample
				want string
			}{
				"no user-data":    {sample{noUser: true}, k.lacks},
				"too long":        {sample{user: strings.Repeat("x", 1<<20+1)}, "more than 1048576 bytes"},
				"gzip bomb":       {sample{user: bomb}, "gunzip: it has more than 1048576 bytes when it is unpacked"},
				"gzip, cut":       {sample{user: packed(goodUser)[:25]}, "gunzip: the end is missing"},
				"gzip, and trash": {sample{user: packed(goodUser) + "trash after the end"}, "gunzip: gzip: invalid header"},
			} {
				t.Run(broken, func(t *testing.T) { k.broken(t, c.s, c.want) })
			}
		})
	}
}

// whole lays a sample and reads it.
func (k kind) whole(t *testing.T, s sample, user string) {
	env := testEnv(t)
	k.lay(t, &env, s)
	p, tried, err := read(t, env)
	if err != nil {
		t.Fatal(err)
	}
	network := ""
	if s.network && !k.noNetwork {
		network = map[string]string{"nocloud": "version: 2\n", "openstack": `{"links": [{}]}`}[k.meta]
	}
	want := []string{user, k.wantMeta(), network}
	got := []string{string(p.UserData.Data), string(p.MetaData.Data), string(p.NetworkConfig.Data) + string(p.NetworkData.Data)}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if has := p.NetworkConfig.Has || p.NetworkData.Has; has != (network != "") || p.NetworkConfig.Has && p.NetworkData.Has {
		t.Errorf("network-config %t, network_data %t", p.NetworkConfig.Has, p.NetworkData.Has)
	}
	if p.MetaData.Has != (k.meta != "none") || p.UserData.Name == "" {
		t.Errorf("meta-data %t; user-data is named %q", p.MetaData.Has, p.UserData.Name)
	}
	source, others := taken(tried)
	if source != k.source || len(others) != len(All())-1 {
		t.Errorf("%s was taken of %d", source, len(tried))
	}
	for other, why := range others {
		state, text, _ := strings.Cut(why, ": ")
		after := slices.IndexFunc(tried, func(a Attempt) bool { return a.Source == other }) > slices.IndexFunc(tried, func(a Attempt) bool { return a.Source == source })
		if text == "" || state != "absent" && (state != "passed over" || !after) {
			t.Errorf("%s: %s", other, why)
		}
	}
}

// broken lays a sample that cannot be used.
func (k kind) broken(t *testing.T, s sample, want string) {
	env := testEnv(t)
	k.lay(t, &env, s)
	p, _, err := read(t, env)
	wantError(t, err, want)
	if len(p.UserData.Data) > 0 {
		t.Error("a broken payload was handed out")
	}
}

// TestIncomplete: a seed that lacks meta-data is an error, not a reason to take
// the next source, which is there and whole.
func TestIncomplete(t *testing.T) {
	for name, k := range kinds() {
		if k.meta == "none" || k.source == "credential" || k.source == "seed-dir" {
			continue // meta-data may be missing, or makes the folder one
		}
		t.Run(name, func(t *testing.T) {
			env := testEnv(t)
			k.lay(t, &env, sample{user: goodUser, noMeta: true})
			if k.source == "cmdline-ds" && name != "ds=nocloud" || k.source == "smbios-serial" || k.source == "config-2" {
				plug(t, env, "vdz", fatImage(t, "cidata", seed()))
			}
			_, _, err := read(t, env)
			wantError(t, err, map[string]string{"nocloud": "meta-data", "openstack": "meta_data.json", "ec2": "instance-id"}[k.meta])
		})
	}
}

// folderSeed adds a second source.
func folderSeed(t *testing.T, env Env) {
	t.Helper()
	for name, text := range seed() {
		put(t, env.path("/var/lib/cloud/seed/nocloud/"+name), []byte(text))
	}
}

// TestOrder: with every source there, each is taken once those before it are
// gone, and the others are said to be there.
func TestOrder(t *testing.T) {
	env := testEnv(t)
	env.IMDS = []string{serveOpenStack(t, whole())}
	base := serve(t, prefixed("/", seed()))
	commandLine(t, env, "trivet.url=file:///srv/a ds=nocloud;s="+base)
	put(t, env.path("/srv/a"), []byte(goodUser))
	credential(t, env, credentialUser, goodUser)
	serial(t, env, "ds=nocloud;s="+base)
	folderSeed(t, env)
	plug(t, env, "vdb", isoImage(t, "config-2", whole().openstack()))
	plug(t, env, "vdc", isoImage(t, "cidata", seed()))
	dmi(t, env, "product_name", "OpenStack Nova")
	dmi(t, env, "product_uuid", "2c1b2aec-0000-0000-0000-000000000000")
	remove := map[string]func(){
		"cmdline-url":    func() { commandLine(t, env, "ds=nocloud;s="+base) },
		"credential":     func() { _ = os.Remove(env.path(unitCredentials + "/" + credentialUser)) },
		"cmdline-ds":     func() { commandLine(t, env, "") },
		"smbios-serial":  func() { serial(t, env, "VMware-42") },
		"seed-dir":       func() { _ = os.RemoveAll(env.path("/var/lib/cloud")) },
		"config-2":       func() { _ = os.RemoveAll(env.path("/sys/class/block/vdb")) },
		"cidata":         func() { _ = os.RemoveAll(env.path("/sys/class/block/vdc")) },
		"openstack-imds": func() { dmi(t, env, "product_name", "PowerEdge R740") },
		"ec2":            func() { dmi(t, env, "product_uuid", "4c4c4544-0050-4810-8052-b4c04f4a4b32") },
	}
	for i, s := range All() {
		c, tried, err := Look(env, All())
		if err != nil {
			t.Fatal(err)
		}
		if name, _ := taken(tried); name != s.Name {
			t.Fatalf("%s is taken, want %s: %+v", name, s.Name, tried)
		}
		for j, a := range tried {
			want := "passed over"
			if j < i {
				want = "absent"
			} else if j == i {
				want = "taken"
			}
			if a.State != want || j > i && a.Source != "none" && !strings.HasSuffix(a.Why, " is there, but another source comes first") {
				t.Errorf("%s: with %s gone, %s (%s)", a.Source, s.Name, a.State, a.Why)
			}
		}
		if s.Name == "none" {
			if c != nil {
				t.Errorf("nothing is there, and yet %+v", c)
			}
			return
		}
		remove[s.Name]()
	}
}

// TestNothing: every source says why it is not there, and nobody is asked.
func TestNothing(t *testing.T) {
	asked := 0
	s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked++ }))
	defer s.Close()
	env := testEnv(t)
	env.IMDS = []string{s.URL}
	serial(t, env, "VMware-42")
	commandLine(t, env, "nothing.url=x dsx=nocloud ds")
	dmi(t, env, "product_name", "PowerEdge R740")
	plug(t, env, "vda", fatImage(t, "DATA", nil))
	c, tried, err := Look(env, All())
	if c != nil || err != nil || asked > 0 {
		t.Fatal(c, err, asked)
	}
	got := map[string]string{}
	for _, a := range tried {
		got[a.Source] = a.State + ": " + a.Why
	}
	want := map[string]string{
		"cmdline-url": "absent: the kernel command line has no trivet.url=", "credential": "absent: systemd gave the agent no credentials",
		"cmdline-ds": "absent: the kernel command line has no ds=", "smbios-serial": "absent: the serial number does not hold ds=nocloud",
		"seed-dir": "absent: no such folder has both user-data and meta-data", "config-2": "absent: no file system has the label; looked at /dev/vda",
		"cidata": "absent: no file system has the label; looked at /dev/vda", "openstack-imds": "absent: neither the product name nor the chassis asset tag is of OpenStack",
		"ec2": "absent: the machine's UUID is not of EC2", "none": "taken: no source is there",
	}
	if d := cmp.Diff(want, got); d != "" {
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
	wantError(t, err, "/dev/sr0 and /dev/vdc are both labelled cidata and differ; detach one")
}

// TestChannels: the key comes by another way than the payload.
func TestChannels(t *testing.T) {
	want := map[string]Channel{
		"trivet.url=http": ByNetwork, "trivet.url=file": ByFolder, "trivet.url=device": ByDisk, "credential": ByCredential, "ds=nocloud, URL": ByNetwork,
		"ds=nocloud, folder": ByFolder, "ds=nocloud": ByDisk, "ds=ConfigDrive": ByDisk, "ds=openstack": ByNetwork, "ds=ec2, version 1": ByNetwork,
		"smbios-serial": ByNetwork, "seed-dir": ByFolder, "seed-dir net": ByFolder, "seed-dir run": ByInitrd, "config-2 iso": ByDisk, "config-2 vfat": ByDisk,
		"config-2 4k": ByDisk, "cidata vfat": ByDisk, "cidata iso": ByDisk, "openstack-imds": ByNetwork, "ec2": ByNetwork,
	}
	for _, name := range slices.Sorted(maps.Keys(kinds())) {
		k := kinds()[name]
		env := testEnv(t)
		k.lay(t, &env, whole())
		c, _, err := Look(env, All())
		if err != nil {
			t.Fatal(err)
		}
		if c.Channel != want[name] || c.Remote != (c.Channel == ByNetwork) || (len(c.Media) > 0) != (c.Channel == ByDisk) {
			t.Errorf("%s: by %s, remote %t, media %v", name, c.Channel, c.Remote, c.Media)
		}
		credential(t, env, credentialKey, "one")
		put(t, env.path(initrdSeed+"/key"), []byte("two"))
		key, tried, err := KeyBeside(env, c)
		from := "credential trivet.key"
		if c.Channel == ByCredential {
			from = "/run/trivet/seed/key"
		}
		if err != nil || key.Name != from || !key.Has {
			t.Errorf("%s: the key is from %s (%v): %v", name, key.Name, err, tried)
		}
	}
}

// TestKey: where it is looked for, and that it is nowhere else.
func TestKey(t *testing.T) {
	env := testEnv(t)
	files := seed()
	files["key"], files["trivet.key"] = "x", "x"
	plug(t, env, "vdb", fatImage(t, "cidata", files))
	put(t, env.path("/var/lib/cloud/seed/nocloud/key"), []byte("x"))
	key, tried, err := Key(env)
	if err != nil || key.Has {
		t.Errorf("%+v %v", key, err)
	}
	if d := cmp.Diff([]string{"credential trivet.key: not there", "/run/trivet/seed/key: not there"}, tried); d != "" {
		t.Error(d)
	}
	put(t, env.path(initrdSeed+"/key"), []byte("two"))
	if key, _, err = Key(env); err != nil || string(key.Data) != "two" {
		t.Errorf("%+v %v", key, err)
	}
	env.Credentials = t.TempDir()
	put(t, path.Join(env.Credentials, credentialKey), []byte("one"))
	if key, tried, err = Key(env); err != nil || string(key.Data) != "one" || tried[0] != "credential trivet.key: taken" {
		t.Errorf("%+v %v %v", key, tried, err)
	}
	put(t, path.Join(env.Credentials, credentialKey), make([]byte, maxKey+1))
	_, _, err = Key(env)
	wantError(t, err, "has more than 65536 bytes")
}

// TestTotalTime: a remote source is read within a bound.
func TestTotalTime(t *testing.T) {
	c := finish(&Candidate{Remote: true, Read: func(ctx context.Context) (Payload, error) {
		if end, ok := ctx.Deadline(); !ok || time.Until(end) > totalTime {
			t.Error("there is no bound")
		}
		return Payload{UserData: Part{Has: true}}, nil
	}})
	if _, err := c.Read(t.Context()); err != nil {
		t.Error(err)
	}
}
