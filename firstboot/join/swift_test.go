package join

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"trivet/firstboot/host"
	"trivet/firstboot/node"
	"trivet/roles"
)

// A shelf is a scripted storage node: disks with what is on them, and a log of
// the programs that change something.
type shelf struct {
	disks map[string]string // path → blank, object disk name, or anything else
	log   []string
	fail  string // a program that fails
}

func (s *shelf) Run(_ context.Context, c host.Command) ([]byte, error) {
	last := c.Args[len(c.Args)-1]
	if c.Args[0] == s.fail {
		return nil, &host.ExitError{Program: c.Args[0], Code: 1, Stderr: "no"}
	}
	switch c.Args[0] {
	case "blkid":
		return s.blkid(last)
	case "wipefs":
		if content := s.disks[last]; content != "blank" {
			return []byte(content + "\n"), nil
		}
		return nil, nil
	case "mkfs.xfs":
		s.disks[last] = strings.TrimPrefix(c.Args[3], "swift-")
	case "swift-ring-builder":
		return nil, s.ringBuilder(c)
	}
	s.log = append(s.log, strings.Join(c.Args, " "))
	return nil, nil
}

func (s *shelf) blkid(path string) ([]byte, error) {
	switch content := s.disks[path]; {
	case content == "blank":
		return nil, &host.ExitError{Program: "blkid", Code: 2}
	case content == "two":
		return nil, &host.ExitError{Program: "blkid", Code: 8}
	case content == "broken":
		return nil, &host.ExitError{Program: "blkid", Code: 4, Stderr: "I/O error"}
	case strings.HasPrefix(content, "d"):
		return []byte("DEVNAME=" + path + "\nLABEL=swift-" + content + "\nTYPE=xfs\n"), nil
	default:
		return []byte("TYPE=" + content + "\n"), nil
	}
}

// ringBuilder writes a ring on rebalance, as the real one does.
func (s *shelf) ringBuilder(c host.Command) error {
	s.log = append(s.log, strings.Join(append([]string{"ring", filepath.Base(c.Args[1])}, c.Args[2:]...), " "))
	if c.Args[2] != "rebalance" {
		return nil
	}
	ring := strings.TrimSuffix(c.Args[1], ".builder") + ".ring.gz"
	if err := os.WriteFile(ring, []byte(filepath.Base(ring)), 0o600); err != nil {
		return err
	}
	return &host.ExitError{Program: c.Args[0], Code: 1, Stderr: "balance of 0.00"} // a warning
}

// storage makes an Env of a lab's storage node whose disks hold contents: the
// first is /dev/vdb, the second /dev/vdc, and so on; "" is a disk that is not there.
func storage(t *testing.T, contents ...string) (Env, *shelf) {
	t.Helper()
	s := &shelf{disks: map[string]string{}}
	e := Env{
		Root: t.TempDir(), Host: s, Report: t.Logf,
		Node: node.Config{
			Name: "sto1", Role: node.Storage, Address: netip.MustParsePrefix("192.0.2.21/24"),
			Controllers: []node.Member{{Name: "ctl1", Address: netip.MustParseAddr("192.0.2.11")}},
		},
	}
	for i, name := range []string{"account", "container", "object"} {
		e.Role.Services = append(e.Role.Services, roles.Service{
			Name: "swift-" + name, Units: []string{"swift-" + name + ".service"}, Ports: []roles.Port{{Number: 6202 - i}},
		})
	}
	e.Service = e.Role.Services[0]
	if err := os.MkdirAll(e.Path("/dev"), 0o755); err != nil {
		t.Fatal(err)
	}
	for i, content := range contents {
		path := "/dev/vd" + string(rune('b'+i))
		e.Node.StorageDevices = append(e.Node.StorageDevices, path)
		if content == "" {
			continue
		}
		s.disks[path] = content
		if err := os.WriteFile(e.Path(path), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return e, s
}

// has returns the lines of the log that begin with word.
func (s *shelf) has(word string) []string {
	var lines []string
	for _, line := range s.log {
		if strings.HasPrefix(line, word) {
			lines = append(lines, line)
		}
	}
	return lines
}

func TestSwiftFirstBoot(t *testing.T) {
	e, s := storage(t, "blank", "blank")
	if err := swift().Do(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"mkfs.xfs -q -L swift-d1 /dev/vdb",
		"mkfs.xfs -q -L swift-d2 /dev/vdc",
		"systemctl daemon-reload",
		"systemctl reset-failed srv-node.mount", "systemctl start srv-node.mount",
		"systemctl reset-failed srv-node-d1.mount", "systemctl start srv-node-d1.mount",
		"chown swift:swift /srv/node/d1",
		"systemctl daemon-reload",
		"systemctl reset-failed srv-node.mount", "systemctl start srv-node.mount",
		"systemctl reset-failed srv-node-d2.mount", "systemctl start srv-node-d2.mount",
		"chown swift:swift /srv/node/d2",
		"ring account.builder create 10 2 1",
		"ring account.builder add r1z1-192.0.2.21:6202/d1 100",
		"ring account.builder add r1z1-192.0.2.21:6202/d2 100",
		"ring account.builder rebalance trivet",
		"ring container.builder create 10 2 1",
		"ring container.builder add r1z1-192.0.2.21:6201/d1 100",
		"ring container.builder add r1z1-192.0.2.21:6201/d2 100",
		"ring container.builder rebalance trivet",
		"ring object.builder create 10 2 1",
		"ring object.builder add r1z1-192.0.2.21:6200/d1 100",
		"ring object.builder add r1z1-192.0.2.21:6200/d2 100",
		"ring object.builder rebalance trivet",
		"systemctl reset-failed swift-account.service", "systemctl start swift-account.service",
	}
	if diff := cmp.Diff(want, s.log); diff != "" {
		t.Errorf("programs (-want +got):\n%s", diff)
	}
	unit, err := os.ReadFile(e.Path("/run/systemd/system/srv-node-d2.mount"))
	if err != nil || !strings.Contains(string(unit), "\nWhat=/dev/vdc\nWhere=/srv/node/d2\nType=xfs\n") {
		t.Errorf("unit: %v\n%s", err, unit)
	}
	for _, name := range []string{"account", "container", "object"} {
		data, err := os.ReadFile(e.Path("/etc/swift/" + name + ".ring.gz"))
		if err != nil || string(data) != name+".ring.gz" {
			t.Errorf("ring %s: %v %q", name, err, data)
		}
	}
	if marked(e, "/dev/vdc") {
		t.Error("the mark of the formatting is still there")
	}
}

func TestSwiftSecondBoot(t *testing.T) {
	e, s := storage(t, "blank")
	if err := swift().Do(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(e.Path("/etc/swift")); err != nil { // a new boot
		t.Fatal(err)
	}
	s.log = nil
	if err := swift().Do(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	if lines := append(s.has("mkfs"), s.has("ring")...); lines != nil {
		t.Errorf("a second boot ran %q", lines)
	}
	if _, err := os.Stat(e.Path("/etc/swift/object.ring.gz")); err != nil {
		t.Error(err)
	}
}

// TestSwiftNewDisk shows that rings follow the disks and that the old ones go.
func TestSwiftNewDisk(t *testing.T) {
	e, s := storage(t, "d1", "blank")
	e.Node.StorageDevices = e.Node.StorageDevices[:1]
	if err := swift().Do(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	e.Node.StorageDevices = []string{"/dev/vdb", "/dev/vdc"}
	s.log = nil
	if err := swift().Do(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	if got := len(s.has("ring object.builder add")); got != 2 {
		t.Errorf("%d disks were added, want 2", got)
	}
	dirs, err := filepath.Glob(e.Path(swiftState + "/rings-*"))
	if err != nil || len(dirs) != 1 {
		t.Errorf("rings in %q, %v; want one folder", dirs, err)
	}
}

// TestSwiftPowerCut cuts the power while a disk is formatted: the disk then has
// our label and no whole file system, and is formatted again, by force.
func TestSwiftPowerCut(t *testing.T) {
	e, s := storage(t, "blank")
	s.fail = "mkfs.xfs"
	if err := swift().Do(t.Context(), e); err == nil {
		t.Fatal("no error")
	}
	s.fail, s.disks["/dev/vdb"] = "", "d1"
	if err := swift().Do(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"mkfs.xfs -q -L swift-d1 -f /dev/vdb"}, s.has("mkfs")); diff != "" {
		t.Errorf("formatting (-want +got):\n%s", diff)
	}
}

// TestSwiftPowerCutOtherDisk puts a disk with data where one was being formatted.
func TestSwiftPowerCutOtherDisk(t *testing.T) {
	e, s := storage(t, "blank")
	s.fail = "mkfs.xfs"
	if err := swift().Do(t.Context(), e); err == nil {
		t.Fatal("no error")
	}
	s.fail, s.disks["/dev/vdb"] = "", "ext4"
	if err := swift().Do(t.Context(), e); err == nil || !strings.Contains(err.Error(), "/dev/vdb holds ext4") {
		t.Errorf("error %v", err)
	}
	if lines := s.has("mkfs"); lines != nil {
		t.Errorf("ran %q", lines)
	}
}

// TestSwiftHalfRings cuts the power while rings are made.
func TestSwiftHalfRings(t *testing.T) {
	e, s := storage(t, "blank")
	s.fail = "swift-ring-builder"
	if err := makeRing(t.Context(), e, t.TempDir(), ring{"account", 1}, "192.0.2.1", nil); err != nil {
		t.Fatalf("a warning is an error: %v", err)
	}
	if err := swift().Do(t.Context(), e); err == nil {
		t.Fatal("rings that were not written are no error")
	}
	s.fail = ""
	if err := os.RemoveAll(e.Path(swiftState)); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(e.Path(swiftState+"/new"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(e.Path(swiftState+"/new/account.builder"), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := swift().Do(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(e.Path(swiftState + "/new")); !os.IsNotExist(err) {
		t.Errorf("the half-made rings are still there: %v", err)
	}
}

func TestSwiftRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		disks []string
		want  string
	}{
		"a disk with data":     {[]string{"blank", "ext4"}, "disk /dev/vdc holds ext4, and nothing on it was changed; to give the disk to Swift, empty it with `wipefs --all /dev/vdc`"},
		"a partitioned disk":   {[]string{"gpt PMBR"}, "disk /dev/vdb holds gpt PMBR"},
		"two kinds of content": {[]string{"two"}, "disk /dev/vdb holds signatures of more than one kind"},
		"a disk cloned":        {[]string{"d1", "d1"}, "disks /dev/vdb and /dev/vdc are both object disk d1"},
		"no disks":             {nil, "list whole disks below storage.devices"},
		"only a broken disk":   {[]string{"broken"}, "none of the declared disks is there"},
	} {
		t.Run(name, func(t *testing.T) {
			e, s := storage(t, c.disks...)
			err := swift().Do(t.Context(), e)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error\n got %v\nwant …%s", err, c.want)
			}
			if s.log != nil {
				t.Errorf("ran %q", s.log)
			}
		})
	}
}

// TestSwiftBrokenDisk shows that one broken disk does not stop the others, and
// that no blank disk takes its name.
func TestSwiftBrokenDisk(t *testing.T) {
	e, s := storage(t, "broken", "d2", "blank")
	if err := swift().Do(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	if lines := s.has("mkfs"); lines != nil {
		t.Errorf("ran %q", lines)
	}
	if got := s.has("chown"); !slices.Equal(got, []string{"chown swift:swift /srv/node/d2"}) {
		t.Errorf("mounted %q", got)
	}
}

func TestSwiftNeedsLab(t *testing.T) {
	e, _ := storage(t, "d1")
	e.Node.Controllers = make([]node.Member, 3)
	if err := swift().Do(t.Context(), e); err == nil || !strings.Contains(err.Error(), "with one controller") {
		t.Errorf("error %v", err)
	}
}
