package cloud

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"trivet/firstboot/node"
)

// TestShape: what would cost the YAML parser minutes is refused before it.
func TestShape(t *testing.T) {
	var keys strings.Builder
	for i := range maxKeys + 1 {
		fmt.Fprintf(&keys, "k%d: 1\n", i)
	}
	for want, text := range map[string]string{
		"f:2001:1: more than 2000 keys":          keys.String(),
		"f:2001:1: more than 2000 keys of one":   strings.Repeat("a\n", maxKeys+1),
		"f:2002:3: more than 2000 keys of one m": "dns:\n" + strings.Repeat("- a\n", maxKeys+1),
		"f:2001:2: more than 2000 keys":          strings.Repeat("-\n", maxKeys+1),
		"f:4:4002: more than 20000 keys between": "{" + strings.Repeat(strings.Repeat("a:", 6000)+"\n", 3) + "a" + strings.Repeat(":b", 6000),
		"f:1:1: the line has more than 16384":    "dns: " + strings.Repeat("a", maxLine),
		"f:1:65: indented by more than 63":       strings.Repeat(" ", 64) + "a: 1",
		"f:1:4: there is a zero byte":            "a: \x00",
		"f:1:1: there are bytes that are no":     "a: \xff",
		"f:1:17: more than 16 brackets within":   strings.Repeat("[", 17),
		"f:1:1: there are no controllers":        strings.Repeat("# a comment\n", maxKeys*2) + "name: acme",
	} {
		_, findings := Examine("f", []byte(text))
		if len(findings) == 0 || !strings.HasPrefix(findings[0].Error(), want) {
			t.Errorf("want %q, got %v", want, findings)
		}
	}
}

// TestManyNodes: limits leave room for the largest cloud.
func TestManyNodes(t *testing.T) {
	data, err := os.ReadFile("lab.yaml")
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(string(data), "cidr: 10.9.0.0/24", "cidr: 10.0.0.0/8", 1) + "computes:\n"
	for i := range maxNodes - 1 {
		text += fmt.Sprintf("  - name: cmp%d\n    identity:\n      macs: [\"52:54:00:01:%02x:%02x\", \"52:54:00:02:%02x:%02x\"]\n    addresses:\n      management: 10.10.%d.%d\n    rack: %d\n", i, i/250, i%250, i/250, i%250, i/250, i%250+1, i/40+1)
	}
	c, findings := Examine("f", []byte(text))
	if len(findings) > 0 || len(c.Nodes()) != maxNodes {
		t.Errorf("%d nodes of %d bytes: %v", len(c.Nodes()), len(text), findings)
	}
}

// standing are the settings of a node whose description has none.
func standing(t *testing.T, settings string) (node.Settings, error) {
	t.Helper()
	d, err := node.Parse("f", []byte("#trivet/v1\ncluster: a\nname: a\nrole: controller\nvip: 10.0.0.9/24\naddress: 10.0.0.1/24\ncontrollers: [{name: a, address: 10.0.0.1}]\n"+settings), "")
	if err != nil {
		return node.Settings{}, err
	}
	return d.Config.Settings, nil
}

// TestSettingsAreTheNodes: defaults are those of package node, and both take and
// refuse the same values at every bound.
func TestSettingsAreTheNodes(t *testing.T) {
	minimal, err := os.ReadFile("testdata/bad/ssh-none.yaml")
	if err != nil {
		t.Fatal(err)
	}
	want, err := standing(t, "")
	if err != nil {
		t.Fatal(err)
	}
	c, err := Parse("f", minimal)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, c.Settings); d != "" {
		t.Errorf("defaults of node (-) and cloud (+): %s", d)
	}
	if c.VIP.VRID != 51 {
		t.Errorf("vrid %d", c.VIP.VRID)
	}
	taken, refused := 0, 0
	for _, s := range []struct {
		key    string
		values []string
	}{
		{"mariadb: {buffer_pool", []string{"31MiB", "32MiB", "1024GiB", "1025GiB", "64MB", "1"}},
		{"mariadb: {galera_cache", []string{"15MiB", "16MiB", "64GiB", "65GiB"}},
		{"mariadb: {max_connections", []string{"19", "20", "100000", "100001", "010", "\"20\""}},
		{"rabbitmq: {schedulers", []string{"0", "1", "64", "65"}},
		{"rabbitmq: {memory", []string{"127MiB", "128MiB", "256GiB", "257GiB"}},
		{"rabbitmq: {clients", []string{"vip", "nodes", "both", "VIP"}},
		{"memcached: {memory", []string{"1023KiB", "1MiB", "64GiB", "65GiB"}},
		{"keystone: {processes", []string{"0", "1", "64", "65"}},
		{"keystone: {threads", []string{"0", "1", "64", "65"}},
	} {
		for _, value := range s.values {
			text := "settings: {" + s.key + ": " + value + "}}\n"
			told, errNode := standing(t, text)
			read, errCloud := Parse("f", append([]byte(text), minimal...))
			switch {
			case (errNode == nil) != (errCloud == nil):
				t.Errorf("%s: node says %v, cloud %v", text, errNode, errCloud)
			case errNode != nil:
				refused++
			default:
				taken++
				if d := cmp.Diff(told, read.Settings); d != "" {
					t.Errorf("%s: %s", text, d)
				}
			}
		}
	}
	if taken != 18 || refused != 22 {
		t.Errorf("%d were taken and %d refused", taken, refused)
	}
}

// TestRead: what the system says of a file is no problem of the file.
func TestRead(t *testing.T) {
	var problems node.Problems
	dir := t.TempDir()
	if _, err := Read(filepath.Join(dir, "none.yaml")); !errors.Is(err, fs.ErrNotExist) || errors.As(err, &problems) {
		t.Errorf("no file: %v", err)
	}
	if _, _, err := ExamineFile(dir); err == nil || !strings.Contains(err.Error(), dir) {
		t.Errorf("a folder: %v", err)
	}
	path := filepath.Join(dir, "cloud.yaml")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(path); !errors.As(err, &problems) || problems[0].File != path {
		t.Errorf("an empty file: %v", err)
	}
	if err := os.Truncate(path, 1<<40); err != nil { // sparse; nobody is to read all of it
		t.Skip("a sparse file of 1 TiB cannot be made here: ", err)
	}
	if _, err := Read(path); !errors.As(err, &problems) || !strings.Contains(err.Error(), "more than 1048576 bytes") {
		t.Errorf("a huge file: %v", err)
	}
}
