package node

import (
	"testing"
)

func TestMetaData(t *testing.T) {
	for text, want := range map[string][2]string{
		"":                                   {"", ""},
		"{}":                                 {"", ""},
		"instance-id: i-1\n":                 {"i-1", ""},
		"instance-id: 17\n":                  {"17", ""},
		"{\"instance-id\": \"iid-local01\"}": {"iid-local01", ""},
		"local-hostname: ctl1\ninstance-id: i\nnetwork-interfaces: |\n  auto lo\n": {"i", "ctl1"},
		"instance-id: i\nlocal-hostname:\nname: other\n":                           {"i", ""},
		// What Nova and Ironic write, and tabs and escapes that no YAML reader takes.
		`{"uuid": "83679162-1378-4288-a2d4-70e13ec132aa", "meta": {"a": "\/b"}, "hostname": "ctl1.novalocal", "name": "My server", "random_seed": null, "devices": []}`: {"83679162-1378-4288-a2d4-70e13ec132aa", "ctl1.novalocal"},
		"{\n\t\"uuid\": \"u\",\n\t\"name\": \"ctl2\"\n}\n": {"u", "ctl2"},
	} {
		instance, host, err := ParseMetaData("m", []byte(text))
		if err != nil || instance != want[0] || host != want[1] {
			t.Errorf("%q: %q %q %v, want %q", text, instance, host, err, want)
		}
	}
	for text, want := range map[string]string{
		"local-hostname: [a]":                        "m:1:1: this must be text",
		"{\"uuid\": \"u\",\n \"hostname\": [\"a\"]}": "m:2:2: this must be text",
		"- a": "m:1:1: this must be a mapping: keys with a colon and their values",
	} {
		if _, _, err := ParseMetaData("m", []byte(text)); err == nil || err.Error() != want {
			t.Errorf("%q: got %v, want %s", text, err, want)
		}
	}
}
