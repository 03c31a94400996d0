package roles

import (
	"bufio"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The tests of this file look at the repository's own roles and overlays. Each
// points to the piece that is missing or too many.

const overlays = "../overlays"

func repository(t *testing.T) []Role {
	t.Helper()
	all, err := LoadAll(".")
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestRolesOfTheDesign(t *testing.T) {
	want := map[string][]string{
		"controller": {"firewall", "mariadb", "rabbitmq", "memcached", "haproxy", "keepalived", "keystone"},
		"compute":    {"firewall", "openvswitch", "ovn-controller", "libvirt"},
		"storage":    {"firewall", "swift-account", "swift-container", "swift-object"},
	}
	got := map[string][]string{}
	for _, r := range repository(t) {
		got[r.Name] = r.Start
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("roles and what they start (-want +got):\n%s", diff)
	}
}

func TestEveryServiceIsListed(t *testing.T) {
	listed := map[string]bool{}
	for _, r := range repository(t) {
		for _, s := range r.Services {
			listed[s.Name] = true
		}
	}
	for _, name := range names("services") {
		if !listed[name] {
			t.Errorf("services/%s.yaml is in no role; list it in one, or remove it", name)
		}
	}
}

func TestEveryOverlayBelongs(t *testing.T) {
	known := append([]string{"common"}, names(".")...)
	known = append(known, names("services")...)
	folders, err := os.ReadDir(overlays)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range folders {
		if !slices.Contains(known, f.Name()) {
			t.Errorf("overlays/%s is neither common, a role nor a service%s", f.Name(), didYouMean(f.Name(), known))
		}
	}
}

// files lists the paths in the image that an overlay brings.
func files(t *testing.T, name string) []string {
	t.Helper()
	root := filepath.Join(overlays, name)
	var paths []string
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if os.IsNotExist(err) && path == root {
			return fs.SkipAll
		}
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(root, path)
		paths = append(paths, filepath.ToSlash(rel))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

func TestOverlaysOfARoleDoNotMeet(t *testing.T) {
	for _, r := range repository(t) {
		owner := map[string]string{}
		for _, name := range r.Overlays() {
			for _, path := range files(t, name) {
				if other := owner[path]; other != "" {
					t.Errorf("role %s: /%s is in overlays/%s and in overlays/%s", r.Name, path, other, name)
				}
				owner[path] = name
			}
		}
	}
}

// TestTemplates shows that templates are where the agent can write and use only
// secrets that the role declares.
func TestTemplates(t *testing.T) {
	used := regexp.MustCompile(`secret "([^"]*)"`)
	for _, r := range repository(t) {
		declared := map[string]bool{}
		for _, s := range r.Services {
			for _, name := range s.Secrets {
				declared[name] = true
			}
		}
		for _, name := range r.Overlays() {
			for _, path := range files(t, name) {
				if !strings.HasSuffix(path, ".tmpl") {
					continue
				}
				if !strings.HasPrefix(path, "etc/") {
					t.Errorf("overlays/%s/%s: a template outside of etc", name, path)
				}
				text, err := os.ReadFile(filepath.Join(overlays, name, path))
				if err != nil {
					t.Fatal(err)
				}
				for _, m := range used.FindAllStringSubmatch(string(text), -1) {
					if !declared[m[1]] {
						t.Errorf("overlays/%s/%s uses secret %q, which no service of role %s declares", name, path, m[1], r.Name)
					}
				}
			}
		}
	}
}

// TestPreset shows that the preset enables just what the services with boot:
// true name.
func TestPreset(t *testing.T) {
	const path = overlays + "/common/usr/lib/systemd/system-preset/00-trivet.preset"
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var got []string
	last := ""
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if unit, ok := strings.CutPrefix(lines.Text(), "enable "); ok {
			got = append(got, unit)
		}
		last = lines.Text()
	}
	if last != "disable *" {
		t.Errorf("%s does not end with `disable *`", path)
	}
	var want []string
	for _, r := range repository(t) {
		want = append(want, r.BootUnits()...)
	}
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(slices.Compact(want), got); diff != "" {
		t.Errorf("%s (-services +preset):\n%s", path, diff)
	}
}

// TestOwnUnits shows that the units which no package brings are in an overlay.
func TestOwnUnits(t *testing.T) {
	for unit, overlay := range map[string]string{
		"trivet-agent.service":                   "common",
		"trivet-firewall.service":                "firewall",
		"neutron-ovn-maintenance-worker.service": "neutron",
		"srv-node.mount":                         "storage",
	} {
		path := filepath.Join(overlays, overlay, "usr/lib/systemd/system", unit)
		if _, err := os.Stat(path); err != nil {
			t.Errorf("unit %s: %v", unit, err)
		}
	}
}

// TestHealth shows that whatever the agent starts, it can also judge.
func TestHealth(t *testing.T) {
	for _, r := range repository(t) {
		for _, s := range r.Services {
			if s.Name != Base && len(s.Units) > 0 && len(s.Health) == 0 {
				t.Errorf("services/%s.yaml has units and no health check", s.Name)
			}
		}
	}
}

// TestPinnedUsers reads the pinned users as sysusers.d(5) and looks for numbers
// given twice or outside of the ranges kept for them.
func TestPinnedUsers(t *testing.T) {
	const path = overlays + "/common/usr/lib/sysusers.d/trivet.conf"
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	line := regexp.MustCompile(`^(?:[ug] ([a-z_][a-z0-9-]*) +([0-9]+)(?::([a-z0-9]+))? .*|m [a-z-]+ +[a-z-]+)$`)
	owner := map[string]string{}
	for n, l := range strings.Split(strings.TrimSpace(string(text)), "\n") {
		if l == "" || strings.HasPrefix(l, "#") {
			continue
		}
		m := line.FindStringSubmatch(l)
		if m == nil {
			t.Errorf("%s:%d: %q is not `u NAME UID[:GROUP] …`, `g NAME GID -` or `m USER GROUP`", path, n+1, l)
			continue
		}
		if m[1] == "" {
			continue
		}
		if other := owner[l[:1]+m[2]]; other != "" {
			t.Errorf("%s:%d: %s has the number %s of %s", path, n+1, m[1], m[2], other)
		}
		owner[l[:1]+m[2]] = m[1]
		// A user without a group of its own name takes its number for that group.
		if l[0] == 'u' && m[3] == "" && owner["g"+m[2]] != "" {
			t.Errorf("%s:%d: the group of %s has the number %s of %s", path, n+1, m[1], m[2], owner["g"+m[2]])
		}
		if !regexp.MustCompile(`^(8[0-9][0-9]|640[56][0-9])$`).MatchString(m[2]) {
			t.Errorf("%s:%d: %s: %s is not in 800 to 899, which are ours, nor one of Debian's", path, n+1, m[1], m[2])
		}
	}
	if len(owner) < 30 {
		t.Errorf("%s pins %d numbers; the roles need more", path, len(owner))
	}
}
