package node

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const armored = armorBegin + "\nYWdlLWVuY3J5cHRpb24ub3JnL3YxCi0+IFgyNTUxOSBhYmM\n" + armorEnd

// withBundle is the lab's description with a bundle in place of its secrets.
func withBundle(t *testing.T, more string) string {
	t.Helper()
	return change(t, "secrets:\n  keystone/admin: correct-horse-battery\n", more+"bundle: |\n"+indent(armored)+"\n")
}

func three(text string) string {
	return strings.Replace(text, "  - {name: ctl1, address: 10.9.0.11}", "  - {name: ctl1, address: 10.9.0.11}\n  - {name: ctl2, address: 10.9.0.12}\n  - {name: ctl3, address: 10.9.0.13}", 1)
}

func TestBundle(t *testing.T) {
	d, err := Parse("f", []byte(three(withBundle(t, "generation: 3\n"))), "")
	if err != nil {
		t.Fatal(err)
	}
	c := d.Config
	if c.Bundle != armored || c.Generation != 3 || c.Cleartext || len(c.Secrets) != 0 {
		t.Errorf("got %q %d %v", c.Bundle, c.Generation, c.Cleartext)
	}
	need := []string{"keystone/admin", "keystone/db"}
	if err := d.Fit(Controller, need); err != nil {
		t.Errorf("the bundle is not open yet: %v", err)
	}
	want := "the bundle of ctl1 lacks secrets that this image's services need: keystone/db; make it anew for this image"
	if err := c.AddSecrets(map[string]string{"keystone/admin": "correct-horse-battery"}); err != nil {
		t.Fatal(err)
	}
	if err := c.Complete(need); err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	if err := c.AddSecrets(map[string]string{"keystone/db": "correct-horse-battery"}); err != nil || c.Complete(need) != nil {
		t.Errorf("complete: %v %v", err, c.Complete(need))
	}
	lab, err := Parse("f", []byte(withBundle(t, "")), "")
	if err != nil || lab.Config.Complete(need) != nil {
		t.Errorf("a lab makes its own: %v", err)
	}
}

func TestDelivery(t *testing.T) {
	d, err := Parse("f", []byte(change(t, "secrets:", "secrets_delivery: cleartext\nsecrets:")), "")
	if err != nil || !d.Config.Cleartext {
		t.Errorf("cleartext: %v", err)
	}
	for text, want := range map[string]string{
		withBundle(t, "generation: 0\n"):                                     "f:15:1: 0 is not within 1 to 1073741824",
		withBundle(t, "secrets_delivery: cleartext\n"):                       "f:16:1: a bundle holds the secrets, so they cannot be readable here as well",
		withBundle(t, "secrets: {a/b: correct-horse-battery}\n"):             "f:16:1: a bundle holds the secrets",
		change(t, "secrets:\n", "secrets_delivery: clear\nsecrets:\n"):       "f:15:1: the only value is cleartext",
		change(t, "secrets:\n", "bundle: x\nsecrets:\n"):                     "f:15:1: this is not an age file in ASCII armor",
		change(t, "secrets:\n", "bundle: \"\"\nsecrets:\n"):                  "f:15:1: this is not an age file in ASCII armor",
		change(t, "settings:\n", "settings:\n  rabbitmq: {clients: vips}\n"): `f:13:14: "vips" is not one of vip, nodes; did you mean "vip"?`,
		change(t, "settings:\n", "ntp: [\"a b\"]\nsettings:\n"):              `f:12:7: "a b" is neither a host name nor an address`,
		change(t, "settings:\n", "ntp: ntp.example.org\nsettings:\n"):        "f:12:1: this must be a list",
	} {
		_, err := Parse("f", []byte(text), "")
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

func TestExtra(t *testing.T) {
	with := func(extra string) string {
		return change(t, "settings:\n", extra+"settings:\n  rabbitmq: {clients: nodes}\n")
	}
	d, err := Parse("f", []byte(with("config:\n  keystone:\n    DEFAULT: {debug: \"true\", workers: 2, ratio: 1.50}\n    cache:\n      backend: dogpile.cache.memcached\n  nova: {filter_scheduler: {host_subset_size: 010}}\n")), "")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]map[string]map[string]string{
		"keystone": {"DEFAULT": {"debug": "true", "workers": "2", "ratio": "1.50"}, "cache": {"backend": "dogpile.cache.memcached"}},
		"nova":     {"filter_scheduler": {"host_subset_size": "010"}},
	}
	if diff := cmp.Diff(want, d.Config.Extra); diff != "" {
		t.Error(diff)
	}
	if d.Config.Settings.RabbitMQ.Clients != ClientsNodes {
		t.Errorf("clients: %q", d.Config.Settings.RabbitMQ.Clients)
	}
	var many strings.Builder
	for i := range maxExtraOptions + 1 {
		fmt.Fprintf(&many, "      o%d: 1\n", i)
	}
	for extra, want := range map[string]string{
		"config: {Keystone: {}}\n":                                                           "f:12:10: the key does not fit: it must be the name of a service",
		"config: {keystone: {\"a]b\": {}}}\n":                                                "f:12:21: the key does not fit: it must be the name of a section",
		"config: {keystone: {DEFAULT: {\"a=b\": c}}}\n":                                      "f:12:31: the key does not fit: it must be the name of an option",
		"config: {keystone: {DEFAULT: {a: \"b\\n[x]\"}}}\n":                                  "f:12:31: the value has a line break",
		"config: {keystone: {DEFAULT: {a: \"b\\u2028[x]\"}}}\n":                              "f:12:31: the value has a line break",
		"config: {keystone: {DEFAULT: {a: \" b\"}}}\n":                                       "f:12:31: the value begins or ends with a space",
		"config: {keystone: {DEFAULT: {a: [b]}}}\n":                                          "f:12:31: this must be one value",
		"config: {keystone: {DEFAULT: b}}\n":                                                 "f:12:21: this must be a mapping",
		"config:\n  keystone:\n    DEFAULT:\n" + many.String():                               "f:12:1: there are 1001 options",
		"config: {keystone: {DEFAULT: {a: " + strings.Repeat("x", maxExtraValue+1) + "}}}\n": "f:12:31: the value has 8193 bytes",
	} {
		_, err := Parse("f", []byte(with(extra)), "")
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%.100q: %v, want %s", extra, err, want)
		}
	}
}

const canary = "canary-4711-canary"

// TestSecretsStayHidden looks for secrets in everything that prints.
func TestSecretsStayHidden(t *testing.T) {
	s := NewSecret(canary)
	c := Config{Secrets: map[string]Secret{"a/b": s}}
	text, err := s.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	for _, got := range []string{fmt.Sprint(s, c), fmt.Sprintf("%v %+v %#v %s %q %x %d", s, c, c, s, s, s, s), string(text), s.LogValue().String()} {
		if strings.Contains(got, canary) || strings.Contains(got, fmt.Sprintf("%x", canary)) {
			t.Errorf("a secret shows: %s", got)
		}
	}
	for _, secrets := range []map[string]string{{"Bad Name": canary}, {"a/b": canary}, {"b/c": canary + "!"}, {"b/c": canary + "\n"}, {canary + "!": "keystone/db-keystone"}} {
		if err := c.AddSecrets(secrets); err == nil || strings.Contains(err.Error(), canary) {
			t.Errorf("%v: %v", secrets, err)
		}
	}
}

// TestCanaries puts a secret wherever one belongs or is put by mistake, breaks
// the file around it in every way, and looks for it in what is said.
func TestCanaries(t *testing.T) {
	broken := []string{
		"\"" + canary, "[" + canary, "{" + canary, canary + ": x", canary + "\n bad", canary + "!", "{x: " + canary + "}", "[" + canary + "]",
		"*" + canary, "&a " + canary, "!" + canary, "!!" + canary + " x", "|\n" + canary, ">-\n    " + canary + "\n   x", "'" + canary, "%" + canary, "@" + canary,
		"\t" + canary, canary + "\t: y", "? " + canary, "- " + canary, "\"" + canary + "\\q\"", "\"" + canary + "\" x", "{" + canary + ": }", canary + "\x00", "{a: b}" + canary,
		canary + "\n--- " + canary, "~", "<<: *" + canary, canary + "\u2028", "\"" + canary + "\\u0007\"",
	}
	places := map[string]string{
		"secret":            "secrets:\n  keystone/db: %s\n",
		"second secret":     "secrets:\n  a/b: correct-horse-battery\n  keystone/db: %s\n  x/y: correct-horse-battery\n",
		"twice":             "secrets:\n  keystone/db: " + canary + "\n  keystone/db: %s\n",
		"unknown neighbour": "secrets:\n  keystone/db: %s\nsecrts: {a: " + canary + "}\n",
		"as key":            "secrets:\n  " + canary + ": %s\n",
		"swapped":           "secrets: {\"" + canary + "!\": keystone/db, a/b: %s}\n",
		"instead":           "secrets: %s\n",
		"extra":             "config:\n  keystone:\n    DEFAULT:\n      admin_token: %s\n",
		"bundle":            "bundle: %s\n",
		"delivery":          "secrets_delivery: %s\n",
	}
	lab := change(t, "secrets:\n  keystone/admin: correct-horse-battery\n", "")
	tried := 0
	for place, form := range places {
		for _, value := range broken {
			piece := fmt.Sprintf(form, value)
			for kind, text := range map[string]string{
				"trivet": lab + piece,
				"cloud":  "#cloud-config\npassword: " + canary + "\nchpasswd: {list: [" + canary + "]}\ntrivet:\n" + indent(strings.TrimPrefix(lab, "#trivet/v1\n")+piece),
				"mime":   mimeOf("Content-Type: text/x-trivet\n\n"+lab+piece, "Content-Type: text/cloud-config\n\n#cloud-config\npassword: "+canary),
			} {
				tried++
				d, err := Parse("f", []byte(text), "")
				said := fmt.Sprint(err)
				if err == nil {
					said = strings.Join(d.Ignored, " ") + fmt.Sprint(d.Fit(Compute, nil), d.Fit(Controller, []string{"z/z"}))
				}
				if strings.Contains(said, canary) || strings.Contains(said, "4711") {
					t.Errorf("%s, %s, %q: a secret shows: %s", kind, place, value, said)
				}
			}
		}
	}
	if tried < 200 {
		t.Errorf("only %d canaries", tried)
	}
	// A description where a network or meta-data belongs must not be quoted either.
	text := lab + "secrets:\n  keystone/db: " + canary + "\n"
	_, network := ParseNetwork("f", []byte(text))
	_, data := ParseNetworkData("f", []byte(text))
	_, json := ParseNetworkData("f", []byte(`{"secrets": {"keystone/db": "`+canary+`"}, "links": "`+canary+`"}`))
	_, _, meta := ParseMetaData("f", []byte(text+"  local-hostname: ["+canary+"]"))
	for _, err := range []error{network, data, json, meta} {
		if strings.Contains(fmt.Sprint(err), "4711") {
			t.Errorf("a secret shows: %v", err)
		}
	}
}
