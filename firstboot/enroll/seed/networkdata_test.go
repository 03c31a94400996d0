package seed

import (
	"strings"
	"testing"

	"trivet/firstboot/node"
)

// bondConfig is what firstboot/enroll/cloud writes for a node with a bond, VLANs
// and a card of its own.
const bondConfig = `version: 2
ethernets:
  bond0-1:
    match: {macaddress: "52:54:00:00:00:01"}
    mtu: 9000
  bond0-2:
    match: {macaddress: "52:54:00:00:00:02"}
    mtu: 9000
  ens9:
    addresses: [192.0.2.11/24]
    routes: [{to: default, via: 192.0.2.1}]
bonds:
  bond0:
    interfaces: [bond0-1, bond0-2]
    parameters: {mode: 802.3ad, mii-monitor-interval: 100, lacp-rate: fast, transmit-hash-policy: layer3+4}
    mtu: 9000
    addresses: [10.9.0.11/24]
    nameservers: {addresses: [10.9.0.53, 10.9.0.54]}
vlans:
  vlan20:
    id: 20
    link: bond0
    mtu: 1500
    addresses: [10.9.20.11/24]
  vlan30:
    id: 30
    link: bond0
    addresses: [10.9.30.11/24]
`

func TestNetworkData(t *testing.T) {
	for name, config := range map[string]string{
		"bond":       bondConfig,
		"one card":   "version: 2\nethernets:\n  management:\n    match: {macaddress: \"52:54:00:00:00:01\"}\n    addresses: [10.0.0.1/24]\n",
		"by name":    "version: 2\nethernets:\n  eth0:\n    dhcp4: true\n",
		"rename":     "version: 2\nethernets:\n  a:\n    match: {macaddress: \"52:54:00:00:00:01\"}\n    set-name: lan0\n    dhcp4: true\n",
		"version 6":  "version: 2\nethernets:\n  eth0: {dhcp6: true}\n",
		"idle":       "version: 2\nethernets:\n  a:\n    match: {macaddress: \"52:54:00:00:00:01\"}\n    dhcp4: false\n",
		"two routes": "version: 2\nethernets:\n  eth0:\n    addresses: [10.0.0.1/24, 10.0.1.1/24]\n    routes: [{to: default, via: 10.0.0.254}, {to: 10.8.0.0/16, via: 10.0.1.254}]\n",
	} {
		data, err := networkData([]byte(config))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if again, err := networkData([]byte(config)); err != nil || string(again) != string(data) {
			t.Errorf("%s: it is not the same twice", name)
		}
	}
	for name, config := range map[string]string{
		"bridge":       "version: 2\nethernets: {eth0: {}}\nbridges: {br0: {interfaces: [eth0], addresses: [10.0.0.1/24]}}\n",
		"metric":       "version: 2\nethernets: {eth0: {addresses: [10.0.0.1/24], routes: [{to: default, via: 10.0.0.2, table: 7}]}}\n",
		"optional":     "version: 2\nethernets: {eth0: {dhcp4: true, optional: true}}\n",
		"search":       "version: 2\nethernets: {eth0: {addresses: [10.0.0.1/24], nameservers: {search: [example.org], addresses: [10.0.0.2]}}}\n",
		"lease":        "version: 2\nethernets: {eth0: {dhcp4: true, dhcp4-overrides: {use-dns: false}}}\n",
		"pattern":      "version: 2\nethernets: {all: {match: {name: \"en*\"}, dhcp4: true}}\n",
		"driver":       "version: 2\nethernets: {all: {match: {driver: virtio_net}, dhcp4: true}}\n",
		"policy":       "version: 2\nethernets: {eth0: {addresses: [10.0.0.1/24], routing-policy: [{from: 10.0.0.0/24, table: 5}]}}\n",
		"routes alone": "version: 2\nethernets: {eth0: {routes: [{to: 10.0.0.0/8, scope: link}]}}\n",
	} {
		if data, err := networkData([]byte(config)); err == nil || !strings.Contains(err.Error(), "use a NoCloud format") {
			t.Errorf("%s: %v %s", name, err, data)
		}
	}
}

// FuzzNetworkData: whatever is written, a node reads.
func FuzzNetworkData(f *testing.F) {
	f.Add([]byte(bondConfig))
	f.Add([]byte("network: {version: 2, ethernets: {eth0: {addresses: ['2001:db8::1/64']}}}"))
	f.Fuzz(func(t *testing.T, config []byte) {
		data, err := networkData(config)
		if err != nil {
			return
		}
		if _, err := node.ParseNetworkData("network_data.json", data); err != nil {
			t.Fatalf("%s: %v", data, err)
		}
	})
}

// FuzzSerial: a serial number is one word and one URL.
func FuzzSerial(f *testing.F) {
	f.Add("http://192.0.2.1/ctl1")
	f.Add("http://a/;ds=nocloud")
	f.Fuzz(func(t *testing.T, at string) {
		serial, err := serialOf(at)
		if err == nil && (strings.Count(serial, ";") != 1 || len(strings.Fields(serial)) != 1 || len(serial) > maxSerial) {
			t.Fatalf("%q gives %q", at, serial)
		}
	})
}
