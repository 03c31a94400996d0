package node

import (
	"encoding/base64"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestMIME reads a message as cloud-init's make-mime writes it, in each
// encoding, and finds the same as in the file itself.
func TestMIME(t *testing.T) {
	want := parseFile(t, "lab.yaml").Config
	want.NTP = []string{"ntp1.example.org", "192.0.2.123"}
	for _, name := range []string{"mime-plain.txt", "mime-base64.txt", "mime-nested.txt"} {
		d := parseFile(t, name)
		if diff := cmp.Diff(want, d.Config, equal()); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		if diff := cmp.Diff([]string{"packages", "part 3 (text/x-shellscript)"}, d.Ignored); diff != "" {
			t.Errorf("%s: ignored: %s", name, diff)
		}
	}
}

// mimeOf puts parts into a MIME message.
func mimeOf(parts ...string) string {
	text := "Content-Type: multipart/mixed; boundary=\"==b==\"\nMIME-Version: 1.0\n\n"
	for _, p := range parts {
		text += "--==b==\n" + p + "\n"
	}
	return text + "--==b==--\n"
}

// TestMIMEProblems: lines are those of the whole file, unless a part is encoded.
func TestMIMEProblems(t *testing.T) {
	encoded := base64.StdEncoding.EncodeToString([]byte("#trivet/v1\nclustr: a\n"))
	var many []string
	for range 40 {
		many = append(many, "Content-Type: text/plain\n\nx")
	}
	deep := "Content-Type: text/x-trivet\n\n#trivet/v1\n"
	for i := range 5 {
		deep = strings.ReplaceAll(mimeOf(deep), "==b==", fmt.Sprint("b", i))
	}
	for text, want := range map[string]string{
		mimeOf(): "f:4:1: the multipart message ends before its last boundary, or has none",
		mimeOf("Content-Type: text/x-trivet\n\n#trivet/v1\nclustr: a"):                                                                   "f:8:1: unknown key \"clustr\"",
		mimeOf("Content-Type: text/x-shellscript\n\n#!/bin/sh", "Content-Type: text/cloud-config\n\n#cloud-config\ntrivet: {clustr: a}"): "f:12:10: unknown key \"clustr\"",
		mimeOf("Content-Type: text/x-trivet\nContent-Transfer-Encoding: base64\n\n" + encoded):                                           "f, part 1:2:1: unknown key \"clustr\"",
		mimeOf("Content-Type: text/x-trivet\nContent-Transfer-Encoding: base64\n\n!!!"):                                                  "f:8:1: part 1 (text/x-trivet): this is not base64",
		mimeOf("Content-Type: text/x-trivet\nContent-Transfer-Encoding: rot13\n\n!!!"):                                                   "f:8:1: part 1 (text/x-trivet): the Content-Transfer-Encoding is not one of",
		mimeOf("Content-Type: text/x-trivet\n\n#trivet/v1\ncluster: a", "Content-Type: text/x-trivet\n\n#trivet/v1\ncluster: b"):         "f:12:1: this is a second description of a node; keep one",
		mimeOf("Content-Type: text/x-trivet\n\n#trivet/v2\n"):                                                                            "f:7:1: this image reads #trivet/v1",
		mimeOf(many...):                                           "f:135:1: the message has more than 32 parts",
		"Content-Type: multipart/mixed\n\n":                       "f:3:1: the multipart message has no boundary",
		"Content-Type: multipart/mixed; boundary=x\n\n--x\n\nabc": "f:3:1: a part of the message ends before the next boundary",
		deep:                              "f:16:1: more than 3 multipart messages within one another",
		"MIME-Version: 1.0\nnonsense\n\n": "f:1:1: these are no headers of a MIME message",
		"Content-Type: text/x-trivet\n\n#trivet/v1\nclustr: a\n": "f:4:1: unknown key \"clustr\"",
	} {
		_, err := Parse("f", []byte(text), "")
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %.300v, want %s", text, err, want)
		}
	}
}

func TestCloudConfigAround(t *testing.T) {
	body := func(around string) string {
		lab := change(t, "#trivet/v1\n", "")
		lab = strings.Replace(lab, "name: ctl1\nrole", "role", 1)
		return "#cloud-config\n" + around + "trivet:\n" + indent(strings.TrimSuffix(lab, "\n")) + "\n"
	}
	type result struct {
		name    string
		keys    int
		ntp     []string
		ignored []string
	}
	for around, want := range map[string]result{
		"hostname: ctl1\n":                      {"ctl1", 1, nil, nil},
		"hostname: ctl1.example.org\n":          {"ctl1", 1, nil, nil},
		"fqdn: ctl1.example.org\nruncmd:\n":     {"ctl1", 1, nil, []string{}},
		"fqdn: x.example.org\nhostname: ctl1\n": {"ctl1", 1, nil, nil},
		"hostname: ctl1\nntp: {enabled: true, servers: [a.example], pools: [b.example], config: {}}\n":    {"ctl1", 1, []string{"a.example", "b.example"}, []string{"ntp.config"}},
		"hostname: ctl1\nntp: {enabled: false, servers: [a.example]}\n":                                   {"ctl1", 1, nil, nil},
		"hostname: ctl1\nusers: [default, {name: root, ssh_authorized_keys: [\"ssh-ed25519 AAAA x\"]}]\n": {"ctl1", 2, nil, []string{"users"}},
		"hostname: ctl1\nusers: [{name: root, ssh-authorized-keys: [\"ssh-ed25519 AAAA x\"]}]\n":          {"ctl1", 2, nil, nil},
		"hostname: ctl1\nusers: [{name: me, ssh_authorized_keys: [\"ssh-ed25519 AAAA x\"]}]\n":            {"ctl1", 1, nil, []string{"users"}},
		"hostname: ctl1\nwrite_files: [{path: /a, content: \"*anchor\"}]\npackages: &p [vim]\nx: *p\n":    {"ctl1", 1, nil, []string{"packages", "write_files", "x"}},
	} {
		d, err := Parse("f", []byte(body(around)), "")
		if err != nil {
			t.Errorf("%q: %v", around, err)
			continue
		}
		if want.ignored == nil {
			want.ignored = d.Ignored[:0:0]
		}
		got := result{d.Config.Name, len(d.Config.SSHAuthorizedKeys), d.Config.NTP, d.Ignored}
		if diff := cmp.Diff(fmt.Sprint(want), fmt.Sprint(got)); diff != "" {
			t.Errorf("%q: %s", around, diff)
		}
	}
	_, err := Parse("f", []byte(body("hostname: ctl1\nntp: {servers: [\"a b\"]}\n")), "")
	if err == nil || !strings.Contains(err.Error(), `"a b" is neither a host name nor an address`) {
		t.Errorf("got %v", err)
	}
}

// TestNameOfOpenStack: Nova's host name has a domain.
func TestNameOfOpenStack(t *testing.T) {
	d, err := Parse("f", []byte(change(t, "name: ctl1\nrole", "role")), "ctl1.novalocal")
	if err != nil || d.Config.Name != "ctl1" {
		t.Errorf("got %v", err)
	}
}

// TestBombs: what makes other readers swallow memory is refused, and quickly.
func TestBombs(t *testing.T) {
	laughs := "#trivet/v1\na: &a [x, x, x, x, x, x, x, x, x]\n"
	for c := 'b'; c < 'z'; c++ {
		laughs += fmt.Sprintf("%c: &%c [*%c, *%c, *%c, *%c, *%c, *%c, *%c, *%c]\n", c, c, c-1, c-1, c-1, c-1, c-1, c-1, c-1, c-1)
	}
	deep := ""
	for i := range 120 {
		deep += strings.Repeat(" ", i*2) + "a:\n"
	}
	for name, text := range map[string]string{
		"laughs":          laughs,
		"laughs in cloud": "#cloud-config\ntrivet:\n  controllers: *z\n" + strings.TrimPrefix(laughs, "#trivet/v1\n"),
		"deep":            "#trivet/v1\n" + deep,
		"long":            "#trivet/v1\n# " + strings.Repeat("x", maxLine),
	} {
		if _, err := Parse("f", []byte(text), ""); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
}

// TestSigned: the signature's line is a comment, and changes nothing.
func TestSigned(t *testing.T) {
	plain, err := os.ReadFile("testdata/lab.yaml")
	if err != nil {
		t.Fatal(err)
	}
	signed := string(plain) + "# trivet-signature: ed25519:" + strings.Repeat("A", 86) + "==\n"
	d, err := Parse("f", []byte(signed), "")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(parseFile(t, "lab.yaml").Config, d.Config, equal()); diff != "" {
		t.Error(diff)
	}
}
