package cluster

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestArgsGolden(t *testing.T) {
	tcg := Accel{Name: "tcg", CPU: "max", Thread: "multi"}
	base := machine{
		name: "ctl1", code: "/fw/code.fd", vars: "/n/vars.fd", disk: "/n/disk", diskFormat: "qcow2", console: "/n/console.log",
		memory: 4096, cpus: 2, mac: "52:54:00:74:00:01", accel: tcg, bus: Virtio, sector: 512,
	}
	full := base
	full.seed, full.serial = "/n/seed,1.img", "ds=nocloud;h=ctl1"
	full.data, full.sector = []string{"/n/data1"}, 4096
	full.forward = []Forward{{IP: "10.0.2.100", Port: 5000}, {Port: 22}}
	ahci, nvme, probe, world := base, base, base, base
	world.product, world.oem = "OpenStack Nova", []string{"/n/oem1"}
	world.media = []medium{{"/n/medium1", Medium{CDROM: true}}, {"/n/medium2", Medium{Sector: 4096, Writable: true}}}
	world.sites = []site{{"10.0.2.80", "127.0.0.1:8080"}, {"169.254.169.254", "127.0.0.1:8081"}}
	ahci.bus, ahci.data = AHCI, []string{"/n/data1", "/n/data2"}
	nvme.bus, nvme.accel = NVMe, Accel{Name: "kvm", CPU: "host"}
	probe.kernel, probe.append = "/out/controller.vmlinuz", "console=ttyS0"
	for name, m := range map[string]machine{"full": full, "ahci": ahci, "nvme": nvme, "probe": probe, "world": world} {
		t.Run(name, func(t *testing.T) {
			got := strings.ReplaceAll(strings.Join(m.args(), "\n")+"\n", "\n-", "\n\n-")
			path := filepath.Join("testdata", "args", name+".txt")
			if *update {
				if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("args (-want +got):\n%s", diff)
			}
		})
	}
}

func TestHostPort(t *testing.T) {
	const usernet = "Hub -1 (net0):\r\n  Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ\r\n" +
		"  TCP[ESTABLISHED]   30       127.0.0.1 40001      10.0.2.100  5000     0     0\r\n" +
		"  TCP[HOST_FORWARD]  16       127.0.0.1 36087       10.0.2.15    22     0     0\r\n" +
		"  TCP[HOST_FORWARD]  15       127.0.0.1 40577      10.0.2.100  5000     0     0\r\n"
	if got, err := hostPort(usernet, "10.0.2.100", 5000); err != nil || got != "40577" {
		t.Errorf("hostPort = %q, %v; want 40577", got, err)
	}
	if got, err := hostPort(usernet, "10.0.2.15", 22); err != nil || got != "36087" {
		t.Errorf("hostPort = %q, %v; want 36087", got, err)
	}
	if got, err := hostPort(usernet, "10.0.2.15", 80); err == nil {
		t.Errorf("hostPort of a port without forward = %q, want an error", got)
	}
}

func TestParseVersion(t *testing.T) {
	for text, want := range map[string]int{
		"QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)\n": 7,
		"QEMU emulator version 10.0.2 (Debian 1:10.0.2)\n":              10,
	} {
		if got, err := parseVersion([]byte(text)); err != nil || got != want {
			t.Errorf("parseVersion(%q) = %d, %v; want %d", text, got, err, want)
		}
	}
	if _, err := parseVersion([]byte("qemu: not found")); err == nil {
		t.Error("parseVersion of noise = no error")
	}
}
