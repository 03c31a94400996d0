package main

import (
	"bytes"
	"crypto/elliptic"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"filippo.io/age"
	"filippo.io/age/armor"

	"trivet/firstboot/bundle"
	"trivet/firstboot/enroll/cloud"
	"trivet/firstboot/enroll/seed"
	"trivet/firstboot/node"
)

// A canaryCloud is an operator's folder: cloud.yaml, keys, seeds, and what opens
// the keys in input/.
type canaryCloud struct {
	t     *testing.T
	c     *canaries
	name  string
	dir   string
	nodes []cloud.Node
	open  []string // flags that open the keys
	said  bytes.Buffer
}

func newCanaryCloud(t *testing.T, c *canaries, example string) *canaryCloud {
	t.Helper()
	o := &canaryCloud{t: t, c: c, name: example, dir: t.TempDir()}
	text, err := cloud.Example(example)
	o.check(err)
	o.put("cloud.yaml", string(text))
	described, err := cloud.Read(o.at("cloud.yaml"))
	o.check(err)
	o.nodes = described.Nodes()
	id, err := age.GenerateX25519Identity()
	o.check(err)
	c.add("operator's identity of "+example, id.String())
	o.open = []string{"--identity", o.put("input/identity", id.String()+"\n")}
	o.do(0, "init", o.at("cloud.yaml"), "--keys", o.at("keys"), "--recipient", id.Recipient().String())
	o.bundle()
	o.collect()
	return o
}

func (o *canaryCloud) check(err error) {
	o.t.Helper()
	if err != nil {
		o.t.Fatal(err)
	}
}

func (o *canaryCloud) at(path string) string { return filepath.Join(o.dir, path) }

func (o *canaryCloud) put(path, text string) string {
	o.t.Helper()
	o.check(os.MkdirAll(filepath.Dir(o.at(path)), 0o700))
	o.check(os.WriteFile(o.at(path), []byte(text), 0o600))
	return o.at(path)
}

func (o *canaryCloud) read(path string) []byte {
	o.t.Helper()
	text, err := os.ReadFile(o.at(path))
	o.check(err)
	return text
}

// do runs a verb of `trivet cluster` and keeps what it says. A code of -1 is any
// but 0.
func (o *canaryCloud) do(want int, args ...string) {
	o.t.Helper()
	code, out, errs := trivet(o.t, append([]string{"cluster"}, args...)...)
	o.said.WriteString(out + errs)
	if code != want && (want != -1 || code == 0) {
		o.t.Fatalf("trivet cluster %v: code %d, want %d\n%s", args, code, want, errs)
	}
}

// opened are a verb with what opens the keys.
func (o *canaryCloud) opened(verb string, args ...string) []string {
	return slices.Concat([]string{verb}, args, []string{"--keys", o.at("keys"), "--source", "../.."}, o.open)
}

func (o *canaryCloud) bundle() {
	o.t.Helper()
	o.do(0, o.opened("bundle", o.at("cloud.yaml"), "--out", o.at("seeds"), "--node-keys", o.at("node-keys"), "--form", "--force")...)
}

// collect takes all that is secret in: what the bundles hold, the keys that open
// them, the master, and the keys of the CAs that follow from it.
func (o *canaryCloud) collect() {
	o.t.Helper()
	for _, n := range o.nodes {
		text := o.read("node-keys/" + n.Name + ".key")
		_, identity, _ := strings.Cut(strings.TrimSpace(string(text)), "identity: ")
		o.c.add("node key of "+n.Name, identity)
		held := o.held(n.Name)
		for name, value := range held.Secrets {
			o.c.add(name+" of "+o.name, value)
		}
		for path, data := range held.Files {
			switch {
			case strings.HasSuffix(path, ".key"):
				o.privateKey(n.Name+" "+path, data)
			case strings.HasPrefix(path, "keystone/"):
				o.c.add(path+" of "+o.name, string(data))
			}
		}
		if held.Ticket != "" {
			o.c.add("ticket of "+o.name, held.Ticket)
		}
	}
	o.master()
}

// held is what the bundle of a node holds.
func (o *canaryCloud) held(name string) bundle.Contents {
	o.t.Helper()
	key, err := bundle.ParseKey(o.read("node-keys/" + name + ".key"))
	o.check(err)
	d, err := node.Parse("user-data", o.read("seeds/"+name+"/user-data"), "")
	o.check(err)
	held, err := bundle.Open(d.Config.Bundle, key)
	o.check(err)
	return held
}

// secret is one of a node's.
func (o *canaryCloud) secret(node, name string) string { return o.held(node).Secrets[name] }

func (o *canaryCloud) privateKey(what string, text []byte) {
	o.t.Helper()
	block, _ := pem.Decode(text)
	if block == nil {
		o.t.Fatalf("%s is not PEM", what)
	}
	if _, err := x509.ParsePKCS8PrivateKey(block.Bytes); err != nil {
		o.t.Fatal(err)
	}
	for _, line := range strings.Split(string(text), "\n")[1:3] {
		o.c.add(what, line)
	}
}

// master opens master.age as the documentation of package trust has it.
func (o *canaryCloud) master() {
	o.t.Helper()
	with, err := age.ParseX25519Identity(strings.TrimSpace(string(o.read("input/identity"))))
	o.check(err)
	r, err := age.Decrypt(armor.NewReader(bytes.NewReader(o.read("keys/master.age"))), with)
	o.check(err)
	plain, err := io.ReadAll(r)
	o.check(err)
	var s struct {
		Cloud  string `json:"cloud"`
		Master []byte `json:"master"`
	}
	o.check(json.Unmarshal(plain, &s))
	o.c.add("master of "+o.name, string(s.Master))
	derived := func(purpose string, size int) []byte {
		key, err := hkdf.Key(sha256.New, s.Master, []byte(s.Cloud), "v1|"+purpose+"|-|1", size)
		o.check(err)
		return key
	}
	o.c.add("signer of "+o.name, string(derived("signer", 32)))
	one := big.NewInt(1)
	for _, purpose := range []string{"agent/ca", "galera/ca", "rabbit/ca", "api/ca"} {
		d := new(big.Int).Mod(new(big.Int).SetBytes(derived(purpose, 48)), new(big.Int).Sub(elliptic.P256().Params().N, one))
		o.c.add(purpose+" of "+o.name, string(d.Add(d, one).FillBytes(make([]byte, 32))))
	}
}

// everyVerb says and writes all that the operator's side can.
func (o *canaryCloud) everyVerb() {
	o.t.Helper()
	file := o.at("cloud.yaml")
	o.do(0, "check", file, "--keys", o.at("keys"))
	o.do(0, "check", file, "--json", "--keys", o.at("keys"))
	o.put("other.yaml", strings.Replace(string(o.read("cloud.yaml")), "operator@example", "somebody@example", 1))
	o.do(0, "diff", file, o.at("other.yaml"))
	o.do(0, "diff", "--json", file, o.at("other.yaml"))
	for _, n := range o.nodes {
		for _, f := range seed.Formats() {
			args := []string{file, n.Name, "--format", string(f), "--out", o.at("forms/" + string(f) + "/" + n.Name)}
			if f != seed.SMBIOS { // which cannot bring its own key
				args = append(args, "--key-out", o.at("node-keys/"+string(f)+"/"+n.Name+".key"))
			}
			o.do(0, o.opened("seed", args...)...)
		}
	}
	o.do(0, o.opened("seed", file, o.nodes[0].Name, "--format", "smbios", "--url", "http://192.0.2.1/seeds/", "--out", o.at("forms/url"))...)
	o.do(0, o.opened("rotate")...)
	o.do(0, o.opened("rotate", "galera/ca")...)
	o.do(0, o.opened("rotate", "keystone/db")...)
	o.do(0, o.opened("rotate", "node-key@"+o.nodes[0].Name)...)
	o.do(0, o.opened("rotate")...)
	o.bundle()
	o.collect()
	o.do(0, o.opened("rotate", "galera/ca", "--retire")...)
	o.bundle()
	o.collect()
	const phrase = "canary-of-a-long-passphrase"
	o.c.add("passphrase", phrase)
	o.do(0, "protect", "--keys", o.at("keys"), o.open[0], o.open[1], "--new-passphrase-file", o.put("input/new", phrase))
	o.open = []string{"--passphrase-file", o.at("input/new")}
	o.do(0, o.opened("rotate")...)
	o.do(-1, "rotate", "--keys", o.at("keys"), "--source", "../..", "--identity", o.at("input/identity"))
}

// brokenInput makes verbs fail with secrets at hand.
func (o *canaryCloud) brokenInput() {
	o.t.Helper()
	file := o.at("cloud.yaml")
	const word = "canary-in-the-description"
	o.c.add("a password in cloud.yaml", word)
	text := strings.TrimRight(string(o.read("cloud.yaml")), "\n")
	head, _, _ := strings.Cut(text, "\nconfig:")
	for _, line := range []string{
		"config: {keystone: {DEFAULT: {admin_token: " + word + "}}}", "config: {keystone: {cache: {backend: 'redis://u:" + word + "@h'}}}",
		"config: {keystone: {ldap: {password: [" + word + "]}}}", "config: {keystone: {ldap: {password: {x: " + word + "}}}}",
		"config: {keystone: {ldap: {password: '" + word, "config: {keystone: {ldap: {password: \"" + word + "\\x\"}}}",
		"config:\n  keystone:\n    ldap:\n      password: " + word + "\n     x", "config: {mariadb: {sst: {tkey: \" " + word + "\"}}}",
		"config: {keystone: {ldap: {password: !secret " + word + "}}}", "config: {keystone: {ldap: {password: *" + word + "}}}",
	} {
		at := o.put("input/broken.yaml", head+"\n"+line+"\n")
		for _, flags := range [][]string{nil, {"--json"}} {
			if code, out, errs := trivet(o.t, append([]string{"cluster", "check", at}, flags...)...); code == 0 {
				o.t.Errorf("%s: it passes", line)
			} else {
				o.c.none("check of "+line, []byte(out+errs))
			}
		}
	}
	good := o.read("keys/master.age")
	for _, cut := range []int{0, 1, len(good) / 2, len(good) - 40} {
		o.put("keys/master.age", string(good[:cut]))
		o.do(-1, o.opened("rotate")...)
	}
	o.put("keys/master.age", string(good))
	o.do(-1, "rotate", "--keys", o.at("keys"), "--source", "../..", "--passphrase-file", o.put("input/wrong", "canary-of-a-wrong-passphrase"))
	o.c.add("wrong passphrase of "+o.name, "canary-of-a-wrong-passphrase")
	o.do(-1, "rotate", "--keys", o.at("keys"), "--source", "../..", "--identity", o.put("input/half", "AGE-SECRET-KEY-1CANARYOFHALFANIDENTITY"))
	o.c.add("half of an identity of "+o.name, "AGE-SECRET-KEY-1CANARYOFHALFANIDENTITY")
	o.do(-1, "init", file, "--keys", o.at("keys"), "--passphrase-file", o.at("input/wrong"))
	o.do(-1, o.opened("bundle", file, "nobody")...)
	o.do(-1, o.opened("bundle", file, "--out", o.at("seeds"), "--node-keys", o.at("node-keys"))...)
	o.do(-1, o.opened("seed", file, o.nodes[0].Name, "--out", o.at("one/x"), "--key-out", o.at("one/y"))...)
	o.do(-1, o.opened("rotate", fmt.Sprintf("%s/db", o.name))...)
	o.do(-1, "bundle", file, "--keys", o.at("keys"), "--source", "../..", "--identity", o.at("node-keys/"+o.nodes[0].Name+".key"))
}
