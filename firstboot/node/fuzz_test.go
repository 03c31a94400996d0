package node

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// seeds adds the files that match to a fuzz target.
func seeds(f *testing.F, patterns ...string) {
	f.Helper()
	for _, p := range patterns {
		files, err := filepath.Glob(p)
		if err != nil || len(files) == 0 {
			f.Fatalf("no seed %s: %v", p, err)
		}
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
		}
	}
}

// placed checks that an error says where.
func placed(t *testing.T, err error) {
	t.Helper()
	problems, ok := err.(Problems)
	if !ok || len(problems) == 0 {
		t.Fatalf("%T %v", err, err)
	}
	for _, p := range problems {
		if p.File == "" || p.Message == "" || p.Line > 0 && p.Column < 1 {
			t.Errorf("not placed: %+v", p)
		}
	}
}

func FuzzParse(f *testing.F) {
	seeds(f, "testdata/*.yaml")
	f.Add([]byte("#trivet/v1\n? a\n: - b\n"))
	f.Fuzz(parsed)
}

// parsed checks what is true of whatever Parse takes.
func parsed(t *testing.T, data []byte) {
	d, err := Parse("f", data, "")
	if err != nil {
		placed(t, err)
		return
	}
	c := d.Config
	if c.Name == "" || c.Cluster == "" || !c.VIP.IsValid() || !c.Address.IsValid() || len(c.Controllers)%2 == 0 || c.Generation < 0 {
		t.Errorf("an invalid description was taken: %+v", c)
	}
	for name, s := range c.Secrets {
		if CheckSecret(s.Reveal()) != nil {
			t.Errorf("the secret %s was taken", name)
		}
	}
	for _, sections := range c.Extra {
		for section, options := range sections {
			for option, value := range options {
				if strings.ContainsAny(section+option+value, "\n\r\x00") {
					t.Errorf("%q %q %q would be lines of their own", section, option, value)
				}
			}
		}
	}
	if c.Bundle != "" && len(c.Secrets) > 0 {
		t.Error("a bundle and readable secrets")
	}
}

func FuzzMIME(f *testing.F) {
	seeds(f, "testdata/mime-*.txt")
	f.Fuzz(func(t *testing.T, data []byte) {
		if isMIME(data) {
			parsed(t, data)
		}
	})
}

const samples = "../render/testdata/network/"

func FuzzParseNetwork(f *testing.F) {
	seeds(f, samples+"v2-*.yaml")
	f.Add([]byte(network))
	f.Add([]byte("network: {version: 2, ethernets: {eth0: {dhcp4: true}}}"))
	f.Fuzz(func(t *testing.T, data []byte) { checkNetwork(t, data, ParseNetwork, 1) })
}

func FuzzParseNetworkV1(f *testing.F) {
	seeds(f, samples+"v1-*.yaml")
	f.Fuzz(func(t *testing.T, data []byte) {
		if !strings.Contains(string(data), "version: 2") {
			checkNetwork(t, data, ParseNetwork, 1)
		}
	})
}

func FuzzParseNetworkData(f *testing.F) {
	seeds(f, samples+"*.json")
	f.Fuzz(func(t *testing.T, data []byte) { checkNetwork(t, data, ParseNetworkData, 0) })
}

// checkNetwork checks what is true of whatever a parser takes.
func checkNetwork(t *testing.T, data []byte, parse func(string, []byte) (Network, error), least int) {
	n, err := parse("n", data)
	if err != nil {
		placed(t, err)
		return
	}
	if len(n.Links) < least {
		t.Error("a network without links was taken")
	}
	seen := map[string]bool{}
	for _, l := range n.Links {
		if !idForm().re.MatchString(l.ID) || seen[l.ID] {
			t.Errorf("the ID %q makes no file of its own", l.ID)
		}
		seen[l.ID] = true
		texts := append([]string{l.MAC, l.Match, l.Driver, l.Name, l.SetMAC, l.DHCPv4.Hostname, l.ClientID, l.LinkLocal}, l.Search...)
		for _, p := range l.Params {
			texts = append(texts, p.Name, p.Value)
		}
		for _, s := range texts {
			if strings.ContainsAny(s, "\n\r=\x00") {
				t.Errorf("%s: %q would be a line of its own", l.ID, s)
			}
		}
		for _, r := range l.Routes {
			if !r.To.IsValid() || r.To.Masked() != r.To {
				t.Errorf("%s: a route to %v", l.ID, r.To)
			}
		}
		for _, a := range append(l.Addresses, l.Deprecated...) {
			if !a.IsValid() {
				t.Errorf("%s: an invalid address", l.ID)
			}
		}
	}
}

func FuzzParseMetaData(f *testing.F) {
	f.Add([]byte("instance-id: i-1\nlocal-hostname: ctl1\n"))
	f.Add([]byte(`{"uuid": "83679162-1378-4288-a2d4-70e13ec132aa", "hostname": "ctl1.novalocal", "public_keys": {"a": "ssh-ed25519 AAAA x"}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if _, _, err := ParseMetaData("m", data); err != nil {
			placed(t, err)
		}
	})
}
