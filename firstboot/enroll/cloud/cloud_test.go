package cloud

import (
	"strings"
	"testing"
)

// TestExamples: the examples pass all checks, without a warning.
func TestExamples(t *testing.T) {
	for _, name := range Examples() {
		data, err := Example(name)
		if err != nil {
			t.Fatal(err)
		}
		_, findings := Examine(name+".yaml", data)
		for _, f := range findings {
			t.Error(f)
		}
	}
	if _, err := Example("thre"); err == nil || !strings.Contains(err.Error(), `did you mean "three"?`) {
		t.Errorf("an example that nobody wrote: %v", err)
	}
}

// TestThree: what the description says is what one gets.
func TestThree(t *testing.T) {
	c, findings, err := ExamineFile("three.yaml")
	if err != nil || len(findings) > 0 {
		t.Fatal(err, findings)
	}
	var names []string
	for _, n := range c.Nodes() {
		names = append(names, n.Name)
	}
	if got := strings.Join(names, " "); got != "ctl1 ctl2 ctl3 cmp1 stor1 stor2 stor3" {
		t.Errorf("nodes: %s", got)
	}
	if _, ok := c.Node("ctl4"); ok {
		t.Error("there is a ctl4")
	}
	stor, ok := c.Node("stor3")
	if !ok || stor.Role != "storage" || stor.On(Storage).String() != "10.0.2.33/24" || stor.On(Tunnel).String() != "10.0.0.33/24" || stor.Zone != 3 || stor.Rack != 3 {
		t.Errorf("stor3: %+v", stor)
	}
	if len(stor.Disks) != 2 || stor.Disks[0].Weight != 3726 || stor.Disks[1].Weight != 3000 || stor.Disks[0].Size != 3726<<30 {
		t.Errorf("disks of stor3: %+v", stor.Disks)
	}
	lines := strings.Split(string(three), "\n")
	for _, n := range c.Nodes() {
		if !strings.Contains(lines[n.Line-1], "- name: "+n.Name) {
			t.Errorf("%s is not in line %d", n.Name, n.Line)
		}
	}
}

// TestKeys holds lines that are no keys, and some that are.
func TestKeys(t *testing.T) {
	const key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0X9xqDBhYlbn0VhNcCrxV6sBTPTnPp2mJcQm5Vb3nI"
	for line, want := range map[string]string{
		key:                                      "",
		`from="10.0.0.0/8",no-pty ` + key + " a": "",
		"# " + key:                               "it is a comment",
		key + " a\x7fb":                          "control character",
		key + "\n" + key:                         "line break",
		key + strings.Repeat("a", 16<<10):        "too long",
		"ssh-ed25519 " + key:                     `no option "ssh-ed25519"`,
		"nonsense":                               "no whole key",
	} {
		_, err := publicKey(line)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: want %q, got %v", line, want, err)
		}
	}
	if got := keyName("no-pty " + key + " a@b"); got != "ssh-ed25519 SHA256:tyHWen+7612DarROFnNQTO/gwFvuEBGTfcW1FhVxNns a@b, with options" {
		t.Error(got)
	}
}
