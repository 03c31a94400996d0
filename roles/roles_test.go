package roles

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// write lays files (path → text) below a new folder.
func write(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

const (
	labRole = `# a lab
about: A lab
services: [base, web]
packages: [vim, kernel]
start: [web]
disk: {esp: 512MiB, root: 1GiB, verity: 16MiB, root_reserve: 0MiB}
`
	labBase = "about: Base\npackages: [kernel, init]\nunits: [net.service]\nboot: true\n"
	labWeb  = `about: Web
packages: [webd, init]
units: [webd.service]
after: [base]
secrets: [web/key]
ports:
  - {name: web, number: 80, vip: http, public: true}
health:
  - http: "http://{node}:80/"
  - run: [/usr/bin/true]
join: web
`
)

func lab() map[string]string {
	return map[string]string{"lab.yaml": labRole, "services/base.yaml": labBase, "services/web.yaml": labWeb}
}

func TestLoad(t *testing.T) {
	got, err := Load(write(t, lab()), "lab")
	if err != nil {
		t.Fatal(err)
	}
	want := Role{
		Name: "lab", About: "A lab", Packages: []string{"vim", "kernel"}, Start: []string{"web"},
		Services: []Service{
			{Name: "base", About: "Base", Packages: []string{"kernel", "init"}, Units: []string{"net.service"}, Boot: true},
			{
				Name: "web", About: "Web", Packages: []string{"webd", "init"}, Units: []string{"webd.service"},
				After: []string{"base"}, Secrets: []string{"web/key"}, Join: "web",
				Ports:  []Port{{Name: "web", Number: 80, Proto: "tcp", VIP: "http", Public: true, From: FromAnyone}},
				Health: []Check{{HTTP: "http://{node}:80/"}, {Run: []string{"/usr/bin/true"}}},
			},
		},
		Disk: Disk{ESP: 512 << 20, Root: 1 << 30, Verity: 16 << 20},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("role (-want +got):\n%s", diff)
	}
	sets := []PackageSet{
		{Name: "base", Packages: []string{"init", "kernel"}},
		{Name: "services", Packages: []string{"webd"}},
		{Name: "role", Packages: []string{"vim"}},
	}
	if diff := cmp.Diff(sets, got.PackageSets()); diff != "" {
		t.Errorf("package sets (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"common", "lab", "base", "web"}, got.Overlays()); diff != "" {
		t.Errorf("overlays (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"net.service"}, got.BootUnits()); diff != "" {
		t.Errorf("boot units (-want +got):\n%s", diff)
	}
}

// TestFrom shows who may reach a port whose file does not say.
func TestFrom(t *testing.T) {
	for port, want := range map[string]string{
		"{name: web, number: 80}":                              FromControllers,
		"{name: web, number: 80, from: cloud}":                 FromCloud,
		"{name: web, number: 80, vip: tcp}":                    FromCloud,
		"{name: web, number: 80, vip: tcp, from: controllers}": FromControllers,
		"{name: web, number: 80, public: true}":                FromAnyone,
		"{name: web, number: 80, public: true, from: anyone}":  FromAnyone,
	} {
		s, err := parseService("web.yaml", "web", []byte("about: Web\nports: ["+port+"]\n"))
		if err != nil || s.Ports[0].From != want {
			t.Errorf("%s: %v, %v, want %s", port, s.Ports, err, want)
		}
	}
}

// TestPackageSetsKeepRole shows that asking for the sets does not sort or cut
// the role's own list.
func TestPackageSetsKeepRole(t *testing.T) {
	r := Role{Packages: []string{"b", "a"}, Services: []Service{{Name: Base, Packages: []string{"a"}}}}
	r.PackageSets()
	if diff := cmp.Diff([]string{"b", "a"}, r.Packages); diff != "" {
		t.Errorf("packages changed (-want +got):\n%s", diff)
	}
}

func TestLoadErrors(t *testing.T) {
	edit := func(file, old, text string) map[string]string {
		files := lab()
		if !strings.Contains(files[file], old) {
			t.Fatalf("%s has no %q", file, old)
		}
		files[file] = strings.Replace(files[file], old, text, 1)
		return files
	}
	role := func(old, text string) map[string]string { return edit("lab.yaml", old, text) }
	web := func(old, text string) map[string]string { return edit("services/web.yaml", old, text) }
	for name, c := range map[string]struct {
		files map[string]string
		want  string // below the folder
	}{
		"unknown key of a role":      {role("packages:", "pakages:"), `lab.yaml:4:1: unknown key "pakages"; did you mean "packages"?`},
		"unknown key of a service":   {web("secrets:", "secret:"), `services/web.yaml:5:1: unknown key "secret"; did you mean "secrets"?`},
		"key of a check, misplaced":  {web("units:", "unit:"), `services/web.yaml:3:1: unknown key "unit"; did you mean "units"?`},
		"unknown key of a port":      {web("number:", "nummer:"), `services/web.yaml:7:17: unknown key "nummer"; did you mean "number"?`},
		"key without a neighbour":    {web("secrets:", "zzz:"), `services/web.yaml:5:1: unknown key "zzz"`},
		"key twice":                  {web("join: web", "about: x"), `services/web.yaml:11:1: mapping key "about" already defined at [1:1]`},
		"unknown service":            {role("web]\npack", "wep]\npack"), `lab.yaml:3:18: service "wep" has no file DIR/services/wep.yaml; did you mean "web"?`},
		"no base":                    {role("[base, web]", "[web]"), `lab.yaml:3:12: service "web" comes after "base", which the role does not list`},
		"behind what it needs":       {role("[base, web]", "[web, base]"), `lab.yaml:3:12: service "web" comes after "base"; list it behind that`},
		"start of an unknown":        {role("start: [web]", "start: [wbe]"), `lab.yaml:5:9: "wbe" is not among the role's services; did you mean "web"?`},
		"start of a boot service":    {role("start: [web]", "start: [base]"), `lab.yaml:5:9: "base" starts at boot by itself; the agent does not start it`},
		"service twice":              {role("[base, web]", "[base, web, web]"), `lab.yaml:3:23: "web" is listed twice`},
		"size without unit":          {role("512MiB", "512"), `lab.yaml:6:13: size "512" is not a whole number with KiB, MiB, GiB or TiB, such as 512MiB`},
		"size too small":             {role("512MiB", "1MiB"), `lab.yaml:6:13: 1MiB is not a whole number of MiB from 64MiB to 4GiB`},
		"size missing":               {role("esp: 512MiB, ", ""), `lab.yaml:6:7: disk.esp is missing`},
		"verity too small":           {role("16MiB", "8MiB"), `lab.yaml:6:41: verity 8MiB does not hold the hash tree of a full root of 1GiB; it needs 8462852 bytes`},
		"reserve too large":          {role("root_reserve: 0MiB", "root_reserve: 1GiB"), `lab.yaml:6:62: root_reserve 1GiB is not less than root 1GiB`},
		"role of no mapping":         {map[string]string{"lab.yaml": "- a\n"}, `lab.yaml:1:1: sequence was used where mapping is expected`},
		"empty":                      {map[string]string{"lab.yaml": "# nothing\n"}, `lab.yaml:1:1: the file is empty`},
		"two documents":              {role("# a lab", "about: x\n---"), `lab.yaml: more than one YAML document; keep one`},
		"merge":                      {role("disk: {", "disk: {<<: {a: b}, "), `lab.yaml:6:8: anchors`},
		"anchor":                     {role("[web]", "&a [web]"), `lab.yaml:5:8: anchors, aliases, merges and tags have no place here; write the value out`},
		"tag":                        {role("[web]", "!!seq [web]"), `lab.yaml:5:8: anchors, aliases, merges and tags have no place here; write the value out`},
		"package name":               {web("webd,", "Webd,"), `services/web.yaml:2:12: "Webd" is not a Debian package name`},
		"option as a package":        {web("webd,", "-ofoo,"), `services/web.yaml:2:12: "-ofoo" is not a Debian package name`},
		"unit without ending":        {web("webd.service", "webd"), `services/web.yaml:3:9: "webd" is not a unit name with its ending, such as ssh.service`},
		"secret name":                {web("web/key", "../key"), `services/web.yaml:5:11: "../key" is not a secret name, such as keystone/db`},
		"port out of range":          {web("80,", "80000,"), `services/web.yaml:7:25: port number 80000 is not in 1 to 65535`},
		"proto":                      {web("vip: http", "proto: sctp"), `services/web.yaml:7:36: proto "sctp" is neither tcp nor udp`},
		"udp on the virtual IP":      {web("vip: http", "proto: udp, vip: http"), `services/web.yaml:7:46: HAProxy publishes no udp port`},
		"vip":                        {web("vip: http", "vip: https"), `services/web.yaml:7:34: vip "https" is neither http nor tcp`},
		"from":                       {web("public: true", "from: clod"), `services/web.yaml:7:46: from "clod" is none of controllers, cloud, anyone; did you mean "cloud"?`},
		"public, and not for anyone": {web("public: true", "public: true, from: cloud"), `services/web.yaml:7:60: a public port is for anyone, not only for the cloud`},
		"balance":                    {web("public: true", "balance: lestconn"), `services/web.yaml:7:49: balance "lestconn" is none of roundrobin, leastconn, source; did you mean "leastconn"?`},
		"timeout":                    {web("public: true", "timeout: 1 day"), `services/web.yaml:7:49: timeout "1 day" is not a whole number of seconds, minutes or hours, such as 90s, 10m or 6h`},
		"sticky":                     {web("public: true", "sticky: ip"), `services/web.yaml:7:48: sticky "ip" is not cookie`},
		"cookies of no http":         {web("vip: http, public: true", "vip: tcp, sticky: cookie"), `services/web.yaml:7:47: only an http port has cookies`},
		"balance of no front":        {web("vip: http, public: true", "balance: source"), `services/web.yaml:7:38: balance is for ports on the virtual IP; add vip, or leave it out`},
		"two kinds of check":         {web("  - run:", "  - unit: webd.service\n    run:"), `services/web.yaml:10:5: a check has exactly one of unit, http, tcp and run, not 2`},
		"no kind of check":           {web("run: [/usr/bin/true]", "{}"), `services/web.yaml:10:5: a check has exactly one of unit, http, tcp and run, not 0`},
		"check of another unit":      {web("run: [/usr/bin/true]", "unit: web.service"), `services/web.yaml:10:11: "web.service" is not among the units of the service; did you mean "webd.service"?`},
		"check by a short path":      {web("/usr/bin/true", "true"), `services/web.yaml:10:10: "true" is not a full path`},
		"check of no URL":            {web("http://{node}", "ftp://{node}"), `services/web.yaml:9:11: "ftp://{node}:80/" is not an http URL`},
		"check of no address":        {web("run: [/usr/bin/true]", "tcp: '{node}'"), `services/web.yaml:10:10: "{node}" is not host:port`},
		"no about":                   {web("about: Web\n", "about: ''\n"), `services/web.yaml:1:8: about is empty; say in a line what this is for`},
		"boot without units":         {edit("services/base.yaml", "units: [net.service]\n", ""), `services/base.yaml:3:7: a service that starts at boot needs units`},
		"port taken":                 {edit("services/base.yaml", "boot:", "ports: [{name: x, number: 80}]\nboot:"), `lab.yaml:3:18: services "base" and "web" both listen on port 80/tcp`},
		"text for a number":          {web("80,", "eighty,"), `services/web.yaml:7:25: cannot unmarshal string into Go struct field serviceFile.Ports of type int`},
		"deep brackets":              {role("[web]", strings.Repeat("[", 17)), `lab.yaml:5:24: more than 16 brackets within brackets`},
		"deep indent":                {role("# a lab", strings.Repeat("- ", 40)+"x"), `lab.yaml:1:81: indented by more than 64 columns`},
		"syntax":                     {role("[web]", "[web"), `lab.yaml:6:1: `},
		"role that is not there":     {map[string]string{"lap.yaml": labRole}, `load role lab: there is no DIR/lab.yaml; did you mean "lap"?`},
		"larger than a role ever is": {role("# a lab", "# "+strings.Repeat("x", maxFile)), `load role lab: DIR/lab.yaml has 65678 bytes, more than 65536`},
	} {
		t.Run(name, func(t *testing.T) {
			dir := write(t, c.files)
			_, err := Load(dir, "lab")
			if err == nil {
				t.Fatal("no error")
			}
			got := strings.TrimPrefix(err.Error(), dir+"/")
			if want := strings.ReplaceAll(c.want, "DIR", dir); !strings.HasPrefix(got, want) {
				t.Errorf("error\n got %s\nwant %s", got, want)
			}
		})
	}
}

func TestLoadRefusesPaths(t *testing.T) {
	for _, name := range []string{"../lab", "/etc/passwd", "", "Lab", "services/web"} {
		if _, err := Load(write(t, lab()), name); err == nil || !strings.Contains(err.Error(), "a name is") {
			t.Errorf("Load(%q): %v", name, err)
		}
	}
}

func TestLoadAll(t *testing.T) {
	files := lab()
	files["yard.yaml"] = labRole
	all, err := LoadAll(write(t, files))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range all {
		got = append(got, r.Name)
	}
	if want := []string{"lab", "yard"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if _, err := LoadAll(t.TempDir()); err == nil {
		t.Error("an empty folder is not an error")
	}
}

func TestBytes(t *testing.T) {
	for in, want := range map[string]Bytes{"0MiB": 0, "512MiB": 512 << 20, "3 GiB": 3 << 30, "1TiB": 1 << 40, "7KiB": 7 << 10} {
		if got, err := ParseBytes(in); err != nil || got != want {
			t.Errorf("ParseBytes(%q) = %d, %v", in, got, err)
		}
	}
	for _, in := range []string{"", "MiB", "1.5GiB", "-1MiB", "1GB", "1M", "9999999999TiB", "12"} {
		if got, err := ParseBytes(in); err == nil {
			t.Errorf("ParseBytes(%q) = %d", in, got)
		}
	}
	for b, want := range map[Bytes]string{1536 << 20: "1536MiB", 2 << 30: "2GiB", 3: "3 bytes", 0: "0 bytes"} {
		if b.String() != want {
			t.Errorf("%d: %s, want %s", int64(b), b, want)
		}
	}
}

func TestJSON(t *testing.T) {
	want, err := Load(write(t, lab()), "lab")
	if err != nil {
		t.Fatal(err)
	}
	data, err := want.JSON()
	if err != nil {
		t.Fatal(err)
	}
	got, err := DecodeJSON(data)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("role (-want +got):\n%s", diff)
	}
	for _, bad := range []string{"", "{", `{"nmae":"x"}`, string(data) + "{}", strings.Repeat(" ", maxJSON+1)} {
		if _, err := DecodeJSON([]byte(bad)); err == nil {
			t.Errorf("DecodeJSON(%.20q) has no error", bad)
		}
	}
}

// FuzzParse feeds any text as a role and as a service: no panic, no endless
// work, and what passes has names that are safe in paths and arguments.
func FuzzParse(f *testing.F) {
	f.Add([]byte(labRole))
	f.Add([]byte(labBase))
	f.Add([]byte(labWeb))
	f.Add([]byte("a: &a [*a, *a]\n"))
	f.Add([]byte("about: |\n  x\n? a\n: b\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, _, err := parseRole("f.yaml", "f", data)
		if err == nil {
			for _, p := range r.Packages {
				if !packageOK.MatchString(p) {
					t.Errorf("package %q passed", p)
				}
			}
		}
		s, err := parseService("f.yaml", "f", data)
		if err == nil {
			for _, u := range s.Units {
				if strings.ContainsAny(u, "/ -") && strings.HasPrefix(u, "-") {
					t.Errorf("unit %q passed", u)
				}
			}
		}
	})
}

// FuzzDecodeJSON shows that what decodes survives a round trip.
func FuzzDecodeJSON(f *testing.F) {
	f.Add([]byte(`{"name":"x","services":[{"name":"base","ports":[{"number":1}]}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := DecodeJSON(data)
		if err != nil {
			return
		}
		out, err := r.JSON()
		if err != nil {
			t.Fatal(err)
		}
		again, err := DecodeJSON(out)
		if err != nil {
			t.Fatalf("%v in %s", err, out)
		}
		one, err := again.JSON()
		if err != nil || string(one) != string(out) {
			t.Errorf("round trip: %v\n%s\n%s", err, out, one)
		}
	})
}
