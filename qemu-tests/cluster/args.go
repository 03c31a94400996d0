package cluster

import (
	"fmt"
	"strconv"
	"strings"
)

// qemuBinary is the emulator of the one architecture that images have today.
const qemuBinary = "qemu-system-x86_64"

// A Bus is the way a machine's disks are attached.
type Bus string

// The buses that an image must boot from.
const (
	Virtio Bus = "virtio" // virtio-blk over PCI
	NVMe   Bus = "nvme"
	AHCI   Bus = "ahci" // SATA
)

// A Forward makes a port inside reachable from the tester, at Node.Address.
type Forward struct {
	IP   string // in the machine's network 10.0.2.0/24; "" is 10.0.2.15
	Port int
}

// guestIP is the address that QEMU's user network gives out by DHCP.
const guestIP = "10.0.2.15"

// FirstMAC is the address of the network card of a cluster's first machine.
const FirstMAC = "52:54:00:74:00:01"

// macFormat makes the address of machine number n.
const macFormat = "52:54:00:74:00:%02x"

// The descriptors that a machine inherits: ends of socket pairs, so that no
// socket file is left behind and nobody else can connect.
const (
	qmpFD    = 3
	statusFD = 4
)

// machine is what the arguments of QEMU are made of; paths are absolute.
type machine struct {
	name           string
	accel          Accel
	code, vars     string // flash images
	disk           string
	diskFormat     string // qcow2 or raw
	seed           string // "" for none
	data           []string
	bus            Bus
	sector         int // bytes
	memory, cpus   int // MiB, number
	serial         string
	product        string
	oem            []string // files with SMBIOS type 11 strings
	media          []medium
	sites          []site
	forward        []Forward
	console        string // log file
	mac            string
	kernel, append string // boots a kernel instead of the disk when set
}

// args returns QEMU's arguments, without the program's name.
func (m machine) args() []string {
	a := []string{
		"-name", quote(m.name), "-nodefaults", "-no-user-config", "-display", "none",
		"-machine", "q35,hpet=off", "-m", strconv.Itoa(m.memory), "-smp", strconv.Itoa(m.cpus), "-rtc", "base=utc",
		"-drive", "if=pflash,unit=0,format=raw,readonly=on,file=" + quote(m.code),
		"-drive", "if=pflash,unit=1,format=raw,file=" + quote(m.vars),
		"-chardev", "file,id=console,append=on,path=" + quote(m.console), "-serial", "chardev:console",
		"-chardev", fmt.Sprintf("socket,id=qmp,fd=%d", qmpFD), "-mon", "chardev=qmp,mode=control",
		"-device", "virtio-serial-pci",
		"-chardev", fmt.Sprintf("socket,id=status,fd=%d", statusFD),
		"-device", "virtserialport,chardev=status,name=trivet.status",
		"-device", "virtio-rng-pci",
	}
	a = append(a, m.accel.args()...)
	a = append(a, m.network()...)
	if m.kernel != "" {
		return append(a, "-kernel", m.kernel, "-append", m.append, "-no-reboot")
	}
	a = append(a, m.drive("disk", m.disk, m.diskFormat, 0)...)
	for i, path := range m.data {
		a = append(a, m.drive(fmt.Sprintf("data%d", i+1), path, "raw", i+1)...)
	}
	if m.seed != "" {
		a = append(a, "-drive", "if=none,id=seed,format=raw,readonly=on,file="+quote(m.seed),
			"-device", "virtio-blk-pci,drive=seed,serial=seed")
	}
	return append(a, m.world()...)
}

// drive attaches disk number i; 0 is the one that firmware boots. Its serial is
// its id, so that the guest finds it below /dev/disk/by-id.
func (m machine) drive(id, path, format string, i int) []string {
	block := fmt.Sprintf("if=none,id=%s,format=%s,cache=writeback,discard=unmap,file=%s", id, format, quote(path))
	device := map[Bus]string{Virtio: "virtio-blk-pci", NVMe: "nvme", AHCI: "ide-hd"}[m.bus]
	device += fmt.Sprintf(",drive=%s,serial=%s", id, id)
	if m.bus == AHCI {
		device += fmt.Sprintf(",bus=ide.%d", i) // one disk a port; q35 has six
	}
	if m.sector != 512 {
		device += fmt.Sprintf(",logical_block_size=%d,physical_block_size=%d", m.sector, m.sector)
	}
	if i == 0 {
		device += ",bootindex=0"
	}
	return []string{"-drive", block, "-device", device}
}

// network is a user-mode network that reaches nothing but the tester, and is
// reached only through the forwards. Port 0 lets QEMU choose: no other process
// can take the port between our choice and its use.
func (m machine) network() []string {
	net := "user,id=net0,restrict=on"
	for _, f := range m.forward {
		ip := f.IP
		if ip == "" {
			ip = guestIP
		}
		net += fmt.Sprintf(",hostfwd=tcp:127.0.0.1:0-%s:%d", ip, f.Port)
	}
	// romfile: firmware has its own driver, and must not wait for a network boot.
	card := []string{"-netdev", net + m.guestForwards(true), "-device", "virtio-net-pci,netdev=net0,romfile=,mac=" + m.mac}
	return append(card, m.farNetwork()...)
}

// quote doubles commas, which part the options of QEMU's arguments.
func quote(s string) string { return strings.ReplaceAll(s, ",", ",,") }
