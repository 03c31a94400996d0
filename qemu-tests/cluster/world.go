package cluster

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// A Medium is a disk or disc that a machine finds beside its own disks.
type Medium struct {
	Image    []byte
	CDROM    bool
	Sector   int  // bytes; 0 is 512
	Writable bool // by the machine
}

// A Site is a web server that only the machine reaches, on port 80. An address
// outside 10.0.2.0/24 gets a network card of its own, on a network of its own
// with DHCP: so lies 169.254.169.254 in many a cloud.
type Site struct {
	Address string
	Handler http.Handler
}

// site is a Site as QEMU's arguments need it.
type site struct{ address, local string }

// lanPrefix is the machine's first network.
var lanPrefix = netip.MustParsePrefix("10.0.2.0/24")

// serve starts the machine's sites, which end with the test.
func (n *Node) serve() error {
	for _, s := range n.o.Sites {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return fmt.Errorf("serve %s: %w", s.Address, err)
		}
		server := &http.Server{Handler: s.Handler, ReadHeaderTimeout: time.Minute}
		go func() { _ = server.Serve(l) }()
		context.AfterFunc(n.c.ctx, func() { _ = server.Close() })
		n.machine.sites = append(n.machine.sites, site{s.Address, l.Addr().String()})
	}
	return nil
}

// putMedia writes the media, and the strings of SMBIOS: files, since they may
// hold secrets and arguments are for all to see.
func (n *Node) putMedia() error {
	for i, m := range n.o.Media {
		path := filepath.Join(n.dir, fmt.Sprintf("medium%d", i+1))
		if err := os.WriteFile(path, m.Image, 0o600); err != nil {
			return err
		}
		n.machine.media = append(n.machine.media, medium{path, m})
	}
	for i, text := range n.o.OEMStrings {
		path := filepath.Join(n.dir, fmt.Sprintf("oem%d", i+1))
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			return err
		}
		n.machine.oem = append(n.machine.oem, path)
	}
	return nil
}

type medium struct {
	path string
	Medium
}

// world are the arguments of what surrounds the machine.
func (m machine) world() []string {
	var a []string
	for i, d := range m.media {
		id := fmt.Sprintf("medium%d", i+1)
		block := "if=none,format=raw,id=" + id + ",file=" + quote(d.path)
		if !d.Writable {
			block += ",readonly=on"
		}
		device := "virtio-blk-pci,drive=" + id + ",serial=" + id
		if d.CDROM {
			device = fmt.Sprintf("ide-cd,drive=%s,bus=ide.%d", id, 5-i) // from the last port on: disks take the first
		}
		if d.Sector != 0 && d.Sector != 512 {
			device += fmt.Sprintf(",logical_block_size=%d,physical_block_size=%d", d.Sector, d.Sector)
		}
		a = append(a, "-drive", block, "-device", device)
	}
	if m.serial != "" || m.product != "" {
		text := "type=1"
		if m.serial != "" {
			text += ",serial=" + quote(m.serial)
		}
		if m.product != "" {
			text += ",product=" + quote(m.product)
		}
		a = append(a, "-smbios", text)
	}
	for _, path := range m.oem {
		a = append(a, "-smbios", "type=11,path="+quote(path))
	}
	return a
}

// guestForwards lead from addresses of a user network to the tester's sites.
// Each connection gets a socat of its own; QEMU's other way shares one
// connection between all.
func (m machine) guestForwards(within bool) string {
	var b strings.Builder
	for _, s := range m.sites {
		if addr, err := netip.ParseAddr(s.address); err == nil && lanPrefix.Contains(addr) == within {
			fmt.Fprintf(&b, ",guestfwd=tcp:%s:80-cmd:socat - TCP:%s", s.address, s.local)
		}
	}
	return b.String()
}

// farNetwork is the second network, with the sites that are not in the first.
func (m machine) farNetwork() []string {
	forwards := m.guestForwards(false)
	if forwards == "" {
		return nil
	}
	return []string{
		"-netdev", "user,id=net1,restrict=on,net=169.254.169.0/24,host=169.254.169.2,dhcpstart=169.254.169.15,dns=169.254.169.3" + forwards,
		"-device", "virtio-net-pci,netdev=net1,romfile=,mac=" + strings.Replace(m.mac, "52:54:00:74", "52:54:00:75", 1),
	}
}
