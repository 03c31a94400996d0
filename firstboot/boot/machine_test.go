package boot

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// machine is a make-believe machine: a folder with an initrd, sysfs and device
// nodes as files; a kernel that notes what it is asked; and the programs of a
// sealed root.
type machine struct {
	t      *testing.T
	root   string
	boot   Boot
	sector int
	parts  []Partition
	hash   RootHash

	clock   time.Time
	calls   []string // what the kernel was asked
	ran     []string // programs, with their arguments
	said    []string // STEP STATE: MESSAGE
	handed  []string // arguments of systemd, then its environment
	fail    map[string]error
	codes   map[string]int // exit codes of programs by name
	onWait  func()
	noVar   bool // systemd-repart makes no var
	diskLen int64
}

const testDisk = 4 << 20

// newTestMachine has a virtio disk with the slots A, and no /var.
func newTestMachine(t *testing.T, sector int) *machine {
	m := &machine{t: t, root: t.TempDir(), sector: sector, clock: time.Unix(1_700_000_000, 0), fail: map[string]error{}, codes: map[string]int{}}
	writeModules(t, filepath.Join(m.root, moduleTree, "6.12"))
	m.put("sys/devices/pci0000:00/virtio1/modalias", "virtio:d00000002v00001AF4\n")
	m.put("dev/vda", "")
	m.put("dev/dm-0", "hsqs"+strings.Repeat("\x00", 4092))
	data := make([]byte, 5*verityBlock)
	var tree []byte
	tree, m.hash = verityTree(data, []byte("salt"))
	m.put("proc/cmdline", "roothash="+m.hash.String()+" ro quiet\n")
	m.put("proc/uptime", "9.50 3.00\n")
	m.parts = []Partition{
		{Number: 1, Type: GUID{1}, UUID: GUID{9}, First: 64, Last: 65, Label: "ESP"},
		{Number: 2, Type: GUID{2}, UUID: m.hash.Data(), First: 66, Last: 105, Label: "root-a"},
		{Number: 3, Type: GUID{3}, UUID: m.hash.Tree(), First: 106, Last: 125, Label: "verity-a"},
	}
	m.put("dev/vda3", string(tree))
	m.diskLen = testDisk
	m.boot = Boot{
		Root: m.root, Kernel: m, Run: m.run, Now: func() time.Time { return m.clock },
		Args: []string{"3"}, Env: []string{"HOME=/", "roothash=x", "TERM=linux"},
		Say: func(step, state, message string, _ map[string]any) {
			m.said = append(m.said, step+" "+state+": "+message)
		},
	}
	return m
}

func (m *machine) put(path, text string) { m.t.Helper(); put(m.t, filepath.Join(m.root, path), text) }

func (m *machine) read(path string) string {
	m.t.Helper()
	text, err := os.ReadFile(filepath.Join(m.root, path))
	if err != nil {
		m.t.Fatal(err)
	}
	return string(text)
}

// plugDisk makes the disk appear, as its driver would.
func (m *machine) plugDisk(name string) {
	dir := "sys/class/block/" + name
	m.put(dir+"/size", fmt.Sprint(m.diskLen/512))
	m.put(dir+"/queue/logical_block_size", fmt.Sprint(m.sector))
	m.put(dir+"/serial", "serial-of-"+name+"\n")
	m.put("sys/class/block/loop0/size", "100")
	path := filepath.Join(m.root, "dev", name)
	if err := os.Truncate(path, m.diskLen); err != nil {
		m.t.Fatal(err)
	}
	m.writeTable(name, m.parts)
}

// writeTable writes a partition table and has the kernel know it.
func (m *machine) writeTable(name string, parts []Partition) {
	f, err := os.OpenFile(filepath.Join(m.root, "dev", name), os.O_RDWR, 0)
	if err != nil {
		m.t.Fatal(err)
	}
	defer f.Close()
	writeGPT(m.t, f, m.diskLen, m.sector, parts)
	for _, p := range parts {
		m.knowPartition(name, p.Number, int64(p.First)*int64(m.sector))
	}
}

func (m *machine) knowPartition(disk string, number int, start int64) {
	name := fmt.Sprintf("%s%d", disk, number)
	for _, dir := range []string{"sys/class/block/" + disk + "/" + name, "sys/class/block/" + name} {
		m.put(dir+"/partition", fmt.Sprint(number))
		m.put(dir+"/start", fmt.Sprint(start/512))
		m.put(dir+"/size", "8")
	}
	if !exists(filepath.Join(m.root, "dev", name)) {
		m.put("dev/"+name, "")
	}
}

func (m *machine) note(format string, args ...any) error {
	call := strings.ReplaceAll(fmt.Sprintf(format, args...), m.root, "")
	m.calls = append(m.calls, call)
	for prefix, err := range m.fail {
		if strings.HasPrefix(call, prefix) {
			return err
		}
	}
	return nil
}

func (m *machine) Release() (string, error) { return "6.12", nil }

func (m *machine) LoadModule(file, params string) error {
	name := moduleName(file)
	if err := m.note("load %s", strings.TrimSpace(name+" "+params)); err != nil {
		return err
	}
	if name == "virtio_blk" {
		m.plugDisk("vda")
	}
	return nil
}

func (m *machine) Mount(source, target, fstype string, flags uintptr, data string) error {
	how := fstype
	if flags&unix.MS_BIND != 0 {
		how = "bind"
	}
	if flags&unix.MS_RDONLY != 0 {
		how += ",ro"
	}
	if err := m.note("mount %s %s %s %s", how, source, target, data); err != nil {
		return err
	}
	if fstype == "tmpfs" { // it hides what is below
		if err := os.RemoveAll(target); err != nil {
			return err
		}
		return os.Mkdir(target, 0o755)
	}
	if fstype == "squashfs" { // the sealed root
		for _, dir := range []string{"dev", "proc", "sys", "run", "etc", "var"} {
			m.put(filepath.Join(newRoot, dir, "x"), "")
		}
		m.put(newRoot+systemd, "")
		m.put(newRoot+repartDefinitions+"/40-var.conf", "[Partition]\n")
	}
	return nil
}

func (m *machine) Detach(target string) error { return m.note("detach %s", target) }

func (m *machine) OpenVerity(v VerityDevice) (string, error) {
	return "/dev/dm-0", m.note("verity %s %s %s %s", v.Name, v.Data, v.Tree, v.Root)
}

func (m *machine) AddPartition(disk string, number int, start, length int64) error {
	if err := m.note("add %s %d %d %d", disk, number, start, length); err != nil {
		return err
	}
	m.knowPartition(filepath.Base(disk), number, start)
	return nil
}

func (m *machine) Random(b []byte) error {
	for i := range b {
		b[i] = byte(0xf0 + i)
	}
	return m.note("random")
}

func (m *machine) Wait(d time.Duration) {
	m.clock = m.clock.Add(d)
	if m.onWait != nil {
		m.onWait()
	}
}

func (m *machine) SwitchRoot(root string) error { return m.note("switch %s", root) }

// errHandedOver is how the make-believe exec does not come back.
var errHandedOver = errors.New("handed over")

func (m *machine) Exec(args, env []string) error {
	m.handed = append(slices.Clone(args), env...)
	if err := m.note("exec %s", args[0]); err != nil {
		return err
	}
	return errHandedOver
}

// run is the sealed root's programs.
func (m *machine) run(_ context.Context, root string, _ time.Duration, args ...string) (string, int, error) {
	if root != filepath.Join(m.root, newRoot) {
		m.t.Errorf("%s runs in %s", args[0], root)
	}
	m.ran = append(m.ran, strings.Join(args, " "))
	name := filepath.Base(args[0])
	if err := m.fail["run "+name]; err != nil {
		return "half of its words\n", -1, err
	}
	code := m.codes[name]
	if name == "systemd-repart" && code == 0 && !m.noVar && len(m.parts) == 3 {
		m.makeVar(5)
	}
	return "words of " + name + "\nmore\n", code, nil
}

// makeVar adds the partition of /var, with blocks blocks of 4 KiB of ext4.
func (m *machine) makeVar(blocks uint32) {
	m.parts = append(slices.Clone(m.parts), Partition{Number: 6, Type: GUID{4}, UUID: GUID{7}, First: 126, Last: 200, Label: "var"})
	m.writeTable("vda", m.parts)
	head := make([]byte, 4096)
	binary.LittleEndian.PutUint16(head[1024+0x38:], 0xef53)
	binary.LittleEndian.PutUint32(head[1024+0x4:], blocks)
	binary.LittleEndian.PutUint32(head[1024+0x18:], 2)
	m.put("dev/vda6", string(head))
}

// start boots, and returns the error that is not the hand-over.
func (m *machine) start() error {
	m.t.Helper()
	err := m.boot.Start(m.t.Context())
	if errors.Is(err, errHandedOver) {
		return nil
	}
	if err == nil {
		m.t.Fatal("Start came back without an error")
	}
	if last := m.said[len(m.said)-1]; !strings.Contains(last, " failed: ") {
		m.t.Errorf("the last word is no failure: %s", last)
	}
	return err
}

var _ Kernel = Linux{}

var errIO = syscall.EIO
