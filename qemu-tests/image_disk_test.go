package qemutests

import (
	"bytes"
	"context"
	"debug/pe"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Partition types of the Discoverable Partitions Specification for amd64.
const (
	kindESP    = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"
	kindRoot   = "4f68bce3-e8cd-4db1-96e7-fbcaf984b709"
	kindVerity = "2c7357ed-ebd2-46d9-aec1-23d437ec2bf5"
)

func usedSpace(t testing.TB, path string) (used, size int64) {
	t.Helper()
	st, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return st.Sys().(*syscall.Stat_t).Blocks * 512, st.Size()
}

func TestImagePartitionTableIsCleanForSgdisk(t *testing.T) {
	eachImage(t, func(t *testing.T, i image) {
		if i.sectorSize() != "512" {
			t.Skip("sgdisk takes the sectors of a file to have 512 bytes; this disk's have 4096")
		}
		out := oracle(t, "sgdisk", "-v", i.file(".raw"))
		if !strings.Contains(out, "No problems found") {
			t.Errorf("sgdisk -v: %s", out)
		}
	})
}

// TestImagePartitionsAreDiscoverable checks types and UUIDs: those of root and
// verity are the halves of the root hash, so that systemd-dissect and the
// initrd find them with no other knowledge.
func TestImagePartitionsAreDiscoverable(t *testing.T) {
	eachImage(t, func(t *testing.T, i image) {
		hash := i.RootHash
		if len(hash) != 64 {
			t.Fatalf("the manifest's root hash is %q, want 64 hex digits", hash)
		}
		parts := partitions(t, i.file(".raw"))
		for name, want := range map[string]struct{ kind, id string }{
			"ESP": {kindESP, ""}, "root-a": {kindRoot, asUUID(hash[:32])}, "verity-a": {kindVerity, asUUID(hash[32:])},
		} {
			p, ok := parts[name]
			if !ok {
				t.Errorf("there is no partition %s in %v", name, parts)
				continue
			}
			if p.kind != want.kind || want.id != "" && p.id != want.id {
				t.Errorf("partition %s has type %s and UUID %s, want %s and %s", name, p.kind, p.id, want.kind, want.id)
			}
			if p.offset%(1<<20) != 0 {
				t.Errorf("partition %s begins at byte %d, want a multiple of 1 MiB", name, p.offset)
			}
		}
		for path, name := range map[string]string{i.file(".root"): "root-a", i.verity(t): "verity-a"} {
			st, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			if got, want := sectionDigest(t, i.file(".raw"), parts[name].offset, st.Size()), fileDigest(t, path); got != want {
				t.Errorf("partition %s begins with bytes of SHA-256 %s, %s has %s", name, got, filepath.Base(path), want)
			}
		}
	})
}

func asUUID(hex string) string {
	return strings.Join([]string{hex[:8], hex[8:12], hex[12:16], hex[16:20], hex[20:]}, "-")
}

// TestImageESPIsCleanAndBoots lets fsck.fat look at the EFI system partition,
// and mtools read the two programs on it.
func TestImageESPIsCleanAndBoots(t *testing.T) {
	eachImage(t, func(t *testing.T, i image) {
		need(t, "fsck.fat")
		need(t, "mcopy")
		esp := extract(t, i.file(".raw"), partition(t, i.file(".raw"), "ESP"))
		oracle(t, "fsck.fat", "-n", esp)
		files := strings.Fields(oracle(t, "mdir", "-/", "-b", "-i", esp, "::"))
		uki := ""
		for _, f := range files {
			if regexp.MustCompile(`(?i)^::/EFI/Linux/trivet.*\.efi$`).MatchString(f) {
				uki = f
			}
		}
		if uki == "" || !slices.ContainsFunc(files, func(f string) bool { return strings.EqualFold(f, "::/EFI/BOOT/BOOTX64.EFI") }) {
			t.Fatalf("the ESP holds %q, want EFI/BOOT/BOOTX64.EFI and EFI/Linux/trivet*.efi", files)
		}
		copied := filepath.Join(t.TempDir(), "uki")
		oracle(t, "mcopy", "-i", esp, uki, copied)
		if got, want := fileDigest(t, copied), fileDigest(t, i.file(".efi")); got != want {
			t.Errorf("%s has SHA-256 %s, the artifact %s.efi has %s", uki, got, i.Base, want)
		}
	})
}

// TestImageUKIHasItsParts reads the sections of the unified kernel image (UAPI
// Group, "Unified Kernel Image").
func TestImageUKIHasItsParts(t *testing.T) {
	eachImage(t, func(t *testing.T, i image) {
		f, err := pe.Open(i.file(".efi"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		section := func(name string) []byte {
			s := f.Section(name)
			if s == nil {
				t.Errorf("there is no section %s", name)
				return nil
			}
			data, err := s.Data()
			if err != nil {
				t.Errorf("read section %s: %v", name, err)
				return nil
			}
			return data[:min(len(data), int(s.VirtualSize))]
		}
		if got := string(bytes.TrimRight(section(".cmdline"), "\x00\n")); got != i.Cmdline || !strings.Contains(got, "roothash="+i.RootHash) {
			t.Errorf("the command line is %q, the manifest says %q with root hash %s", got, i.Cmdline, i.RootHash)
		}
		if got := string(bytes.TrimRight(section(".uname"), "\x00")); got != i.Kernel {
			t.Errorf(".uname is %q, the manifest says %q", got, i.Kernel)
		}
		for name, ending := range map[string]string{".linux": ".vmlinuz", ".initrd": ".initrd"} {
			if got, want := digest(t, bytes.NewReader(section(name))), fileDigest(t, i.file(ending)); got != want {
				t.Errorf("section %s has SHA-256 %s, the artifact %s%s has %s", name, got, i.Base, ending, want)
			}
		}
		if !bytes.Contains(section(".osrel"), []byte("ID=")) {
			t.Error(".osrel holds no os-release")
		}
	})
}

// TestImageIsReadBySystemdDissect needs loop devices, which a container may not
// have.
func TestImageIsReadBySystemdDissect(t *testing.T) {
	eachImage(t, func(t *testing.T, i image) {
		need(t, "systemd-dissect")
		if os.Geteuid() != 0 {
			t.Skip("systemd-dissect needs root for a loop device")
		}
		if _, err := os.Stat("/dev/loop-control"); err != nil {
			t.Skipf("systemd-dissect needs a loop device: %v", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		out, err := exec.CommandContext(ctx, "systemd-dissect", "--root-hash="+i.RootHash, "--no-pager", i.file(".raw")).CombinedOutput()
		if err != nil {
			if why := regexp.MustCompile(`(?i)loop|udev|device.mapper|not permitted|timed out|Device or resource busy`).Find(out); why != nil || ctx.Err() != nil {
				t.Skipf("systemd-dissect does not run on this machine: %v: %s", err, out)
			}
			t.Fatalf("systemd-dissect: %v\n%s", err, out)
		}
		for _, want := range []string{"root", "verity", "esp"} {
			if !strings.Contains(string(out), want) {
				t.Errorf("systemd-dissect shows no %s:\n%s", want, out)
			}
		}
	})
}

// TestImageVerity asks veritysetup whether root, hash tree and root hash belong
// together, and that it would notice if not.
func TestImageVerity(t *testing.T) {
	eachImage(t, func(t *testing.T, i image) {
		oracle(t, "veritysetup", "verify", i.file(".root"), i.verity(t), i.RootHash)
		root := partition(t, i.file(".raw"), "root-a")
		broken := extract(t, i.file(".raw"), part{offset: root.offset, size: min(root.used+1<<20, root.size)})
		f, err := os.OpenFile(broken, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		b := make([]byte, 1)
		if _, err := f.ReadAt(b, root.used/2); err != nil {
			t.Fatal(err)
		}
		b[0] ^= 1
		if _, err := f.WriteAt(b, root.used/2); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
		defer cancel()
		if out, err := exec.CommandContext(ctx, "veritysetup", "verify", broken, i.verity(t), i.RootHash).CombinedOutput(); err == nil {
			t.Errorf("veritysetup finds a root with a flipped bit good: %s", out)
		}
	})
}
