package qemutests

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"trivet/qemu-tests/cluster"
)

// complaint is what a machine says about a damaged root: the kernel's target
// (drivers/md/dm-verity-target.c, verity_handle_err) or the initrd's own words.
var complaint = regexp.MustCompile(`verity: .*(data|metadata) block \d+ is corrupted|dm-verity device (corrupted|has)|trivet-init \S+ failed: .*(verity|hash)`)

// TestBootRefusesADamagedRoot flips single bits of the sealed root, or of the
// hashes that vouch for it. The machine must say what is wrong and start anew,
// and nothing of the damaged code may run: no line of systemd's, no record of
// the agent's.
func TestBootRefusesADamagedRoot(t *testing.T) {
	wantsQEMU(t)
	const role = "storage"
	for _, tt := range []struct {
		name string
		flip func(root, verity part) []int64
	}{
		{"first block of the root", func(root, _ part) []int64 { return []int64{root.offset + 5} }},
		// The tables that a mount reads lie at the end; what is read after it does not.
		{"one byte in each 64 KiB of the files", func(root, _ part) []int64 {
			var at []int64
			for o := int64(64 << 10); o < root.used*9/10; o += 64 << 10 {
				at = append(at, root.offset+o+1234)
			}
			return at
		}},
		{"top of the hash tree", func(_, verity part) []int64 { return []int64{verity.offset + 4096 + 7} }},
		{"salt in the verity superblock", func(_, verity part) []int64 { return []int64{verity.offset + 88} }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, l := machines(t, role), newLab(t)
			raw := filepath.Join(images(t), role+".raw")
			root, verity := partition(t, raw, "root-a"), partition(t, raw, "verity-a")
			o := l.options(c, role, cluster.Virtio)
			o.Flip = tt.flip(root, verity)
			o.Resets = true
			o.Expect = []*regexp.Regexp{complaint, regexp.MustCompile(`verity|Kernel panic - not syncing|trivet-init \S+ failed|I/O error|SQUASHFS error|erofs:`)}
			n := c.AddNode(role, o)
			n.Start()
			t.Log(n.WaitConsole(readyTime/2, complaint))
			n.WaitReset(30*time.Second, 0)
			if log := n.Log(); strings.Contains(log, "systemd[1]:") || strings.Contains(log, "Welcome to") {
				t.Error("systemd ran from the damaged root")
			}
			for _, r := range n.Said() {
				// The initrd is no part of the root: it runs, and may say what it finds.
				if !strings.HasPrefix(r.Step, "initrd-") {
					t.Errorf("the agent ran from the damaged root and sent %v", r)
				}
			}
		})
	}
}
