package boot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestFirstBoot(t *testing.T) {
	for _, sector := range []int{512, 4096} {
		t.Run(fmt.Sprint(sector), func(t *testing.T) {
			m := newTestMachine(t, sector)
			if err := m.start(); err != nil {
				t.Fatal(err)
			}
			want := []string{
				"mount devtmpfs devtmpfs /dev mode=0755,size=4m,nr_inodes=1m", "mount proc proc /proc ", "mount sysfs sysfs /sys ",
				"mount tmpfs tmpfs /run mode=0755,size=20%,nr_inodes=800k",
				"load virtio_blk",
				"load dm_mod", "load reed_solomon", "load dm_bufio", "load dm_verity",
				"verity root /dev/vda2 /dev/vda3 " + m.hash.String(),
				"load squashfs", "mount squashfs,ro /dev/dm-0 /sysroot ",
				"mount bind /dev /sysroot/dev ", "mount bind /proc /sysroot/proc ", "mount bind /sys /sysroot/sys ", "mount bind /run /sysroot/run ",
				"load crc32c_fast", "load crc32c_generic", "load jbd2", "load ext4", "load loop",
				"mount ext4 /dev/vda6 /sysroot/var errors=remount-ro",
				"load overlay", "mount overlay etc /sysroot/etc lowerdir=/sysroot/etc,upperdir=/run/trivet/etc/upper,workdir=/run/trivet/etc/work",
				"random", "switch /sysroot", "exec /usr/lib/systemd/systemd",
			}
			if diff := cmp.Diff(want, m.calls); diff != "" {
				t.Errorf("calls (-want +got):\n%s", diff)
			}
			wantRan := []string{"/usr/bin/systemd-repart --dry-run=no --discard=no --no-pager --definitions=/usr/lib/repart.d /dev/vda", "/usr/sbin/fsck.ext4 -p /dev/vda6"}
			if diff := cmp.Diff(wantRan, m.ran); sector == 512 && diff != "" {
				t.Errorf("programs (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff([]string{"/usr/lib/systemd/systemd", "3", "HOME=/", "TERM=linux"}, m.handed); diff != "" {
				t.Errorf("handed on (-want +got):\n%s", diff)
			}
			const id = "f0f1f2f3f4f546f7b8f9fafbfcfdfeff\n"
			if got := m.read("sysroot/etc/machine-id") + m.read("sysroot/var/lib/trivet/machine-id"); got != id+id {
				t.Errorf("machine ids %q", got)
			}
			checkRecord(t, m)
		})
	}
}

func checkRecord(t *testing.T, m *machine) {
	t.Helper()
	var r Record
	if err := json.Unmarshal([]byte(m.read(RecordPath)), &r); err != nil {
		t.Fatal(err)
	}
	if r.Seconds["total"] != 0 || r.Seconds["kernel"] != 9.5 || len(r.Seconds) != 12 {
		t.Errorf("seconds %v", r.Seconds)
	}
	r.Seconds = nil
	want := Record{
		RootHash: m.hash.String(), Slot: "a", Disk: "vda", SectorSize: m.sector, RootDevice: "/dev/vda2", VerityDevice: "/dev/vda3",
		MappedDevice: "/dev/dm-0", RootType: "squashfs", VarDevice: "/dev/vda6", VarFsck: "clean", FirstBoot: true,
		Modules: []string{
			"virtio_blk", "dm_mod", "reed_solomon", "dm_bufio", "dm_verity", "squashfs",
			"crc32c_fast", "crc32c_generic", "jbd2", "ext4", "loop", "overlay",
		},
	}
	if diff := cmp.Diff(want, r); diff != "" {
		t.Errorf("boot.json (-want +got):\n%s", diff)
	}
}

// A problem is a way for a boot to end: the step, and what a person reads.
type problem struct {
	prepare func(*machine)
	step    string
	want    []string
}

var diskProblems = map[string]problem{
	"no root hash": {func(m *machine) { m.put("proc/cmdline", "quiet") }, "cmdline", []string{"no roothash=", "boot menu"}},
	"modules of another kernel": {func(m *machine) {
		must(m.t, os.Rename(filepath.Join(m.root, moduleTree, "6.12"), filepath.Join(m.root, moduleTree, "6.11")))
	}, "modules", []string{"kernel 6.12", `"6.11"`, "the image is at fault"}},
	"no disk": {func(m *machine) { m.fail["load virtio_blk"] = errIO }, "disk", []string{
		"wait 1m0s for the root", "no disk at all", "virtio_blk (input/output error)", "its driver may not be in the initrd",
	}},
	"another image": {func(m *machine) { m.parts[1].UUID[0] ^= 1 }, "disk", []string{
		`vda (4 MiB, 512-byte sectors, serial serial-of-vda): 1 "ESP"`, `2 "root-a"`, "it holds another image",
	}},
	"only verity":    {func(m *machine) { m.parts = m.parts[2:] }, "disk", []string{"no disk has both", `3 "verity-a"`}},
	"disk not asked": {func(m *machine) { m.cmdline("trivet.disk=vdz trivet.wait=3") }, "disk", []string{"wait 3s", `"vdz" of trivet.disk=`}},
	"two disks": {func(m *machine) {
		m.put("dev/vdb", "")
		m.plugDisk("vdb")
	}, "disk", []string{"2 disks hold the very same image", `vdb (serial "serial-of-vdb")`, "trivet.disk=SERIAL"}},
	"sectors of another size": {func(m *machine) {
		m.put("dev/vdb", "")
		m.sector = 4096
		m.plugDisk("vdb")
		m.put("sys/class/block/vdb/queue/logical_block_size", "512")
		m.sector, m.parts = 512, nil
	}, "disk", []string{"vdb", "made for 4096-byte sectors", "--sector-size 512"}},
}

var rootProblems = map[string]problem{
	"superblock": {func(m *machine) { m.changeTree(0) }, "verity", []string{"check the hash tree on /dev/vda3: its superblock begins with", "the disk is damaged"}},
	"salt":       {func(m *machine) { m.changeTree(88) }, "verity", []string{"its top block has the hash", "the kernel command line says"}},
	"top block":  {func(m *machine) { m.changeTree(verityBlock + 3) }, "verity", []string{"its top block has the hash"}},
	"small partition": {func(m *machine) { m.parts[1].Last = m.parts[1].First + 38 }, "verity", []string{
		"the data has 20480 bytes, its partition only 19968",
	}},
	"no device-mapper":   {func(m *machine) { m.fail["load dm_mod"] = errIO }, "verity", []string{"load module dm_mod"}},
	"verity refused":     {func(m *machine) { m.fail["verity"] = errIO }, "verity", []string{"open dm-verity: input/output error"}},
	"no file system":     {func(m *machine) { m.put("dev/dm-0", strings.Repeat("x", 4096)) }, "root", []string{"neither squashfs nor erofs"}},
	"root not mounted":   {func(m *machine) { m.fail["mount squashfs"] = errIO }, "root", []string{"mount the squashfs of /dev/dm-0"}},
	"repart fails":       {func(m *machine) { m.codes["systemd-repart"] = 1 }, "repart", []string{"exit code 1", "| words of systemd-repart", "| more", "large enough for slot B"}},
	"repart hangs":       {func(m *machine) { m.fail["run systemd-repart"] = errors.New("timed out after 2m0s") }, "repart", []string{"timed out", "| half of its words"}},
	"repart forgets var": {func(m *machine) { m.noVar = true }, "var", []string{`no partition labelled "var"`}},
	"var not mounted":    {func(m *machine) { m.fail["mount ext4"] = errIO }, "var", []string{"mount /dev/vda6 on /var", "fsck: clean", "fsck.repair=yes"}},
	"var is no ext4":     {func(m *machine) { m.later(func() { m.put("dev/vda6", strings.Repeat("\x00", 4096)) }) }, "var", []string{"it holds no ext4", "the next boot makes it anew"}},
	"two vars": {func(m *machine) {
		m.makePlug(func() { m.makeVar(5); m.parts[0].Label = "var"; m.writeTable("vda", m.parts) })
	}, "repart", []string{"partitions 1 and 6 of vda are both labelled var"}},
	"no overlay":    {func(m *machine) { m.fail["mount overlay"] = errIO }, "etc", []string{"lay an overlay over /etc"}},
	"no randomness": {func(m *machine) { m.fail["random"] = errIO }, "machine-id", []string{"input/output error"}},
	"switch":        {func(m *machine) { m.fail["switch"] = errIO }, "switch-root", []string{"switch root: input/output error"}},
	"exec":          {func(m *machine) { m.fail["exec"] = errIO }, "switch-root", []string{"start /usr/lib/systemd/systemd"}},
}

func TestProblems(t *testing.T) {
	all := maps.Clone(diskProblems)
	maps.Copy(all, rootProblems)
	for name, c := range all {
		t.Run(name, func(t *testing.T) {
			m := newTestMachine(t, 512)
			c.prepare(m)
			err := m.start()
			if err == nil {
				t.Fatal("it booted")
			}
			if last := m.said[len(m.said)-1]; !strings.HasPrefix(last, c.step+" failed: ") {
				t.Errorf("it ended with %q, want step %s", last, c.step)
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("no %q in:\n%v", want, err)
				}
			}
			for _, call := range m.calls {
				if strings.HasPrefix(call, "exec") && c.step != "switch-root" {
					t.Error("systemd was started")
				}
			}
		})
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (m *machine) cmdline(more string) {
	m.put("proc/cmdline", "roothash="+m.hash.String()+" "+more)
}

// changeTree flips a bit of the hash device.
func (m *machine) changeTree(at int) {
	b := []byte(m.read("dev/vda3"))
	b[at] ^= 1
	m.put("dev/vda3", string(b))
}

// later acts after systemd-repart.
func (m *machine) later(act func()) {
	run := m.boot.Run
	m.boot.Run = func(ctx context.Context, root string, limit time.Duration, args ...string) (string, int, error) {
		out, code, err := run(ctx, root, limit, args...)
		act()
		return out, code, err
	}
}

// makePlug acts when the disk is there.
func (m *machine) makePlug(act func()) {
	m.boot.Kernel = plugging{m, act}
}

type plugging struct {
	*machine
	act func()
}

func (p plugging) LoadModule(file, params string) error {
	err := p.machine.LoadModule(file, params)
	if moduleName(file) == "virtio_blk" {
		p.act()
	}
	return err
}

func TestSecondBoot(t *testing.T) {
	m := newTestMachine(t, 512)
	const id = "0123456789abcdef0123456789abcdef"
	m.put("sysroot/var/lib/trivet/machine-id", id+"\n")
	m.makePlug(func() { m.makeVar(5) })
	m.codes["systemd-repart"] = 1 // is no reason to stay down
	m.codes["fsck.ext4"] = 1
	must(t, m.start())
	if got := m.read("sysroot/etc/machine-id"); got != id+"\n" {
		t.Errorf("/etc/machine-id is %q", got)
	}
	wantSaid(t, m, "repart waiting: run systemd-repart on vda: exit code 1", "the disk has its /var: the boot goes on",
		"var waiting: check /dev/vda6: errors were mended", "fsck: mended")
	var r Record
	must(t, json.Unmarshal([]byte(m.read(RecordPath)), &r))
	if r.FirstBoot || r.VarFsck != "mended" {
		t.Errorf("record %+v", r)
	}
}

func wantSaid(t *testing.T, m *machine, want ...string) {
	t.Helper()
	all := strings.Join(m.said, "\n")
	for _, w := range want {
		if !strings.Contains(all, w) {
			t.Errorf("it did not say %q, but:\n%s", w, all)
		}
	}
}

func TestFsckLeavesErrors(t *testing.T) {
	m := newTestMachine(t, 512)
	m.cmdline("fsck.mode=force fsck.repair=yes")
	m.codes["fsck.ext4"] = 4
	must(t, m.start())
	wantSaid(t, m, "exit code 4, errors are left", "| words of fsck.ext4", "errors left (exit code 4)")
	if got := m.ran[1]; got != "/usr/sbin/fsck.ext4 -y -f /dev/vda6" {
		t.Errorf("ran %s", got)
	}
}

func TestVarGrows(t *testing.T) {
	m := newTestMachine(t, 4096)
	m.diskLen = 1 << 30
	m.makePlug(func() {
		m.makeVar(5)
		m.parts[3].Last = 200 + growFrom/4096
		m.writeTable("vda", m.parts)
	})
	must(t, m.start())
	if got := m.ran[len(m.ran)-1]; got != "/usr/sbin/resize2fs /dev/vda6" {
		t.Errorf("ran %s", got)
	}
	wantSaid(t, m, "grown to 64.29 MiB")
}

// TestSlowDisk appears after 20 s: the wait says so each 5 s, and ends when it is there.
func TestSlowDisk(t *testing.T) {
	m := newTestMachine(t, 512)
	m.fail["load virtio_blk"] = errIO
	waits := 0
	m.onWait = func() {
		if waits++; waits == 40 {
			m.plugDisk("vda")
		}
	}
	must(t, m.start())
	n := 0
	for _, s := range m.said {
		if strings.HasPrefix(s, "disk waiting: for partitions") {
			n++
		}
	}
	if n != 3 || waits != 40 {
		t.Errorf("%d progress lines in %d waits", n, waits)
	}
}

func TestBackupTable(t *testing.T) {
	m := newTestMachine(t, 512)
	m.makePlug(func() {
		f, err := os.OpenFile(filepath.Join(m.root, "dev/vda"), os.O_RDWR, 0)
		must(t, err)
		defer f.Close()
		_, err = f.WriteAt(make([]byte, 512), 512)
		must(t, err)
		for _, n := range []string{"vda1", "vda2", "vda3"} { // the kernel reads the primary only
			must(t, os.RemoveAll(filepath.Join(m.root, "sys/class/block/vda", n)))
		}
	})
	must(t, m.start())
	wantSaid(t, m, "the partition table at the start of vda is broken", "slot a")
	if got := strings.Join(m.calls, "\n"); !strings.Contains(got, "add /dev/vda 2 33792 20480\n") {
		t.Errorf("calls:\n%s", got)
	}
}

func TestNothingSaidTwice(t *testing.T) {
	m := newTestMachine(t, 512)
	must(t, m.start())
	seen := map[string]bool{}
	for _, s := range m.said {
		step, _, _ := strings.Cut(s, ":")
		if seen[step] && !strings.HasPrefix(step, "switch-root") {
			t.Errorf("%q was said twice", step)
		}
		seen[step] = true
	}
}
