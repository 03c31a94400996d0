package seed

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the goldens anew")

const (
	armored = "-----BEGIN AGE ENCRYPTED FILE-----\n  YWdl\n  -----END AGE ENCRYPTED FILE-----\n"
	keyText = "# trivet key of ctl1 in lab; keep apart from its bundle\nsigner: ed25519:AA==\nidentity: AGE-SECRET-KEY-1CANARY\n"
)

// theSeed is one with everything.
func theSeed() Seed {
	return Seed{
		Node:          "ctl1",
		UserData:      []byte("#trivet/v1\nname: ctl1\nbundle: |\n  " + armored),
		MetaData:      []byte("instance-id: lab-ctl1\nlocal-hostname: ctl1\n"),
		NetworkConfig: []byte(bondConfig),
	}
}

func epochTime() time.Time { return time.Date(2026, 11, 2, 9, 30, 0, 0, time.UTC) }

// outOf is where a format writes, in a folder.
func outOf(f Format, dir string) string {
	switch f {
	case NoCloudDir, HTTP:
		return filepath.Join(dir, "seed")
	case SMBIOS:
		return filepath.Join(dir, "ctl1.args")
	}
	return filepath.Join(dir, "ctl1.iso")
}

func options(f Format, dir string) Options { return Options{Out: outOf(f, dir), Epoch: epochTime()} }

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// tree is all that lies below a folder: its files' contents by path.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	check(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		rel, _ := filepath.Rel(dir, path)
		all[rel] = string(data)
		return err
	}))
	return all
}

func names[V any](m map[string]V) []string {
	var all []string
	for name := range m {
		all = append(all, name)
	}
	slices.Sort(all)
	return all
}

// TestSameBytes: the same seed and epoch give the same bytes, on any day.
func TestSameBytes(t *testing.T) {
	var b strings.Builder
	for _, f := range Formats() {
		dir, again := t.TempDir(), t.TempDir()
		for _, d := range []string{dir, again} {
			o := options(f, d)
			if f == HTTP {
				o.Sign = func(data []byte) []byte { return ed25519.Sign(ed25519.NewKeyFromSeed(make([]byte, 32)), data) }
			}
			files, err := Write(f, theSeed(), o)
			check(t, err)
			for _, file := range files {
				info, err := os.Stat(file.Path)
				check(t, err)
				secret := !strings.HasSuffix(file.Path, ".sha256") && !strings.HasSuffix(file.Path, ".sig")
				if info.Mode() != file.Mode || secret != (info.Mode() == 0o600) || info.Size() != int64(file.Size) || file.About == "" {
					t.Errorf("%s: %s has mode %s and %d bytes; it says %+v", f, file.Path, info.Mode(), info.Size(), file)
				}
			}
		}
		one := tree(t, dir)
		if diff := cmp.Diff(one, tree(t, again)); diff != "" {
			t.Errorf("%s: %s", f, diff)
		}
		for _, name := range names(one) {
			fmt.Fprintf(&b, "%-16s %-28s %7d %x\n", f, name, len(one[name]), sha256.Sum256([]byte(one[name])))
		}
	}
	golden(t, "digests.txt", b.String())
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		check(t, os.WriteFile(path, []byte(got), 0o644))
	}
	want, err := os.ReadFile(path)
	check(t, err)
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (renew it with -update): %s", path, diff)
	}
}

func TestOverwrite(t *testing.T) {
	for _, f := range Formats() {
		dir := t.TempDir()
		_, err := Write(f, theSeed(), options(f, dir))
		check(t, err)
		before := tree(t, dir)
		other := theSeed()
		other.UserData, other.NetworkConfig = append(other.UserData, "# more\n"...), nil
		if _, err := Write(f, other, options(f, dir)); err == nil || !strings.Contains(err.Error(), "is there already") {
			t.Errorf("%s: it overwrites: %v", f, err)
		}
		if diff := cmp.Diff(before, tree(t, dir)); diff != "" {
			t.Errorf("%s: what was refused changed something: %s", f, diff)
		}
		o := options(f, dir)
		o.Force = true
		_, err = Write(f, other, o)
		check(t, err)
		fresh := t.TempDir()
		_, err = Write(f, other, options(f, fresh))
		check(t, err)
		if diff := cmp.Diff(tree(t, fresh), tree(t, dir)); diff != "" {
			t.Errorf("%s: a seed over another is not the same as a new one: %s", f, diff)
		}
	}
}

func TestWriteRefuses(t *testing.T) {
	alter := func(change func(s *Seed)) Seed {
		s := theSeed()
		change(&s)
		return s
	}
	for name, c := range map[string]struct {
		seed Seed
		want string
	}{
		"node":           {alter(func(s *Seed) { s.Node = "../x" }), "is not a host name"},
		"no user-data":   {alter(func(s *Seed) { s.UserData = nil }), "has 0 bytes"},
		"much user-data": {alter(func(s *Seed) { s.UserData = make([]byte, 1<<20+1) }), "not 1 to 1048576"},
		"no instance":    {alter(func(s *Seed) { s.MetaData = []byte("local-hostname: x\n") }), "no instance-id"},
		"no YAML":        {alter(func(s *Seed) { s.MetaData = []byte("a: [") }), "meta-data:1:"},
		"network":        {alter(func(s *Seed) { s.NetworkConfig = []byte("version: 2\nethernets: {e: {adresses: []}}\n") }), "network-config:2:"},
		"key inside":     {alter(func(s *Seed) { s.UserData = append(s.UserData, keyText...) }), "would have all"},
	} {
		for _, f := range Formats() {
			dir := t.TempDir()
			_, err := Write(f, c.seed, options(f, dir))
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "CANARY") {
				t.Errorf("%s, %s: %v, not %q", name, f, err, c.want)
			}
			if left := tree(t, dir); len(left) > 0 {
				t.Errorf("%s, %s: it left %v", name, f, names(left))
			}
		}
	}
	if _, err := Write(NoCloudISO, theSeed(), Options{Out: filepath.Join(t.TempDir(), "x")}); err == nil || !strings.Contains(err.Error(), "the epoch is missing") {
		t.Errorf("without an epoch: %v", err)
	}
	if _, err := Write("cdrom", theSeed(), options(HTTP, t.TempDir())); err == nil || !strings.Contains(err.Error(), "known are nocloud-dir, nocloud-iso") {
		t.Errorf("an unknown format: %v", err)
	}
	dir := t.TempDir()
	check(t, os.Mkdir(outOf(NoCloudISO, dir), 0o700))
	o := options(NoCloudISO, dir)
	o.Force = true
	if _, err := Write(NoCloudISO, theSeed(), o); err == nil || !strings.Contains(err.Error(), "is no file") {
		t.Errorf("over a folder: %v", err)
	}
}

// TestKeyApart: key and bundle are never in one place, however that is named.
func TestKeyApart(t *testing.T) {
	s := theSeed()
	s.Key = []byte(keyText)
	for _, f := range Formats() {
		dir := t.TempDir()
		check(t, os.Mkdir(filepath.Join(dir, "seeds"), 0o700))
		check(t, os.Mkdir(filepath.Join(dir, "keys"), 0o700))
		check(t, os.Symlink("seeds", filepath.Join(dir, "link")))
		for name, key := range map[string]string{
			"beside":          "seeds/ctl1.key",
			"above":           "ctl1.key",
			"through a link":  "link/ctl1.key",
			"inside":          "seeds/seed/ctl1.key",
			"inside, deeper":  "seeds/seed/ctl1/k/ctl1.key",
			"the same":        outOf(f, "seeds"),
			"the same, dots":  "keys/../" + outOf(f, "seeds"),
			"not said":        "",
			"a link to there": "link/new/../ctl1.key",
		} {
			o := options(f, filepath.Join(dir, "seeds"))
			if key != "" {
				o.KeyOut = dir + "/" + key
			}
			if name == "inside" && f != NoCloudDir && f != HTTP {
				o.KeyOut = filepath.Join(dir, "seeds", "ctl1.key")
			}
			_, err := Write(f, s, o)
			if err == nil || !strings.Contains(err.Error(), "the key would lie beside its bundle") && !strings.Contains(err.Error(), "not said where the key goes") {
				t.Errorf("%s, %s: %v", f, name, err)
			}
			if left := tree(t, filepath.Join(dir, "seeds")); len(left) > 0 {
				t.Fatalf("%s, %s: it left %v", f, name, names(left))
			}
		}
		o := options(f, filepath.Join(dir, "seeds"))
		o.KeyOut = filepath.Join(dir, "keys", "ctl1.key")
		files, err := Write(f, s, o)
		check(t, err)
		last := files[len(files)-1]
		if text, err := os.ReadFile(o.KeyOut); err != nil || string(text) != keyText || last.Path != o.KeyOut || last.Mode != 0o600 {
			t.Errorf("%s: %v %+v", f, err, last)
		}
		for name, data := range tree(t, filepath.Join(dir, "seeds")) {
			if strings.Contains(data, "CANARY") || strings.Contains(data, base64.StdEncoding.EncodeToString([]byte(keyText))[:40]) {
				t.Errorf("%s: the key is in %s", f, name)
			}
		}
	}
}

func TestKeyForms(t *testing.T) {
	s := theSeed()
	s.Key = []byte(keyText)
	write := func(f Format, form KeyForm, url string) (string, error) {
		dir := t.TempDir()
		o := options(f, filepath.Join(dir, "seeds"))
		o.KeyOut, o.KeyForm, o.URL = filepath.Join(dir, "keys", "k"), form, url
		if _, err := Write(f, s, o); err != nil {
			return "", err
		}
		data, err := os.ReadFile(o.KeyOut)
		return string(data), err
	}
	want := "io.systemd.credential.binary:trivet.key=" + base64.StdEncoding.EncodeToString([]byte(keyText))
	for _, c := range []struct {
		f   Format
		url string
	}{{NoCloudISO, ""}, {HTTP, ""}, {SMBIOS, "http://192.0.2.1/ctl1"}} {
		if got, err := write(c.f, KeySMBIOS, c.url); err != nil || got != want {
			t.Errorf("%s: %q %v", c.f, got, err)
		}
	}
	if _, err := write(SMBIOS, KeySMBIOS, ""); err == nil || !strings.Contains(err.Error(), "takes no key by the way") {
		t.Errorf("both by SMBIOS: %v", err)
	}
	if _, err := write(HTTP, "usb", ""); err == nil {
		t.Error("an unknown form is taken")
	}
	s.Key = []byte("nothing")
	if _, err := write(HTTP, KeyFile, ""); err == nil || !strings.Contains(err.Error(), "is no node's key") {
		t.Errorf("no key: %v", err)
	}
	s.Key = nil
	if _, err := write(HTTP, KeyFile, ""); err == nil || !strings.Contains(err.Error(), "there is no key to write") {
		t.Errorf("nil: %v", err)
	}
}

// arguments reads a file as `mapfile -t` does, and undoes QEMU's commas.
func arguments(t *testing.T, path string) []string {
	t.Helper()
	data, err := os.ReadFile(path)
	check(t, err)
	return strings.Split(strings.TrimSuffix(string(data), "\n"), "\n")
}

func TestSMBIOS(t *testing.T) {
	dir := t.TempDir()
	s := theSeed()
	_, err := Write(SMBIOS, s, options(SMBIOS, dir))
	check(t, err)
	var want []string
	for _, c := range []struct {
		name string
		data []byte
	}{{"trivet.userdata", s.UserData}, {"trivet.metadata", s.MetaData}, {"trivet.network-config", s.NetworkConfig}} {
		want = append(want, "-smbios", "type=11,value=io.systemd.credential.binary:"+c.name+"="+base64.StdEncoding.EncodeToString(c.data))
	}
	if diff := cmp.Diff(want, arguments(t, outOf(SMBIOS, dir))); diff != "" {
		t.Error(diff)
	}
	// Secrets in clear text are not among the arguments, which everybody can see.
	s.UserData = []byte("#trivet/v1\nsecrets_delivery: cleartext\nsecrets:\n  keystone/db: CANARY-in-clear\n")
	dir = filepath.Join(t.TempDir(), "a,b")
	_, err = Write(SMBIOS, s, options(SMBIOS, dir))
	check(t, err)
	args := arguments(t, outOf(SMBIOS, dir))
	side := filepath.Join(dir, "ctl1.args.trivet.userdata")
	if args[1] != "type=11,path="+strings.ReplaceAll(side, ",", ",,") || strings.Contains(strings.Join(args, " "), base64.StdEncoding.EncodeToString(s.UserData)) {
		t.Errorf("got %q", args)
	}
	if text, err := os.ReadFile(side); err != nil || string(text) != "io.systemd.credential.binary:trivet.userdata="+base64.StdEncoding.EncodeToString(s.UserData) {
		t.Errorf("%q %v", text, err)
	}
	s = theSeed()
	s.UserData = append(s.UserData, bytes.Repeat([]byte("# long\n"), 7000)...)
	if _, err := Write(SMBIOS, s, options(SMBIOS, t.TempDir())); err == nil || !strings.Contains(err.Error(), "more than the 61440 that SMBIOS has room for; use nocloud-iso") {
		t.Errorf("too much: %v", err)
	}
}

func TestSerial(t *testing.T) {
	for at, want := range map[string]string{
		"http://192.0.2.1:8000/seeds/ctl1":  "type=1,serial=ds=nocloud;s=http://192.0.2.1:8000/seeds/ctl1/",
		"https://seed.example/a,b/ctl1/":    "type=1,serial=ds=nocloud;s=https://seed.example/a,,b/ctl1/",
		"http://[2001:db8::1]/ctl1":         "type=1,serial=ds=nocloud;s=http://[2001:db8::1]/ctl1/",
		"ftp://192.0.2.1/":                  "",
		"http://u:p@192.0.2.1/":             "",
		"http://192.0.2.1/?x=y":             "",
		"http://192.0.2.1/;h=x":             "",
		"http://192.0.2.1/a b":              "",
		"192.0.2.1":                         "",
		"http://h/" + long('x', 520):        "",
		"http://192.0.2.1/\n-device":        "",
		"http://192.0.2.1/x#" + "fragment/": "",
	} {
		dir := t.TempDir()
		o := options(SMBIOS, dir)
		o.URL = at
		_, err := Write(SMBIOS, theSeed(), o)
		if want == "" {
			if err == nil || strings.Contains(err.Error(), "u:p") {
				t.Errorf("%s: %v", at, err)
			}
			continue
		}
		check(t, err)
		if diff := cmp.Diff([]string{"-smbios", want}, arguments(t, outOf(SMBIOS, dir))); diff != "" {
			t.Error(diff)
		}
	}
	o := options(HTTP, t.TempDir())
	o.URL = "http://192.0.2.1/"
	if _, err := Write(HTTP, theSeed(), o); err == nil {
		t.Error("a URL is taken where it means nothing")
	}
}

func long(r rune, n int) string { return strings.Repeat(string(r), n) }

func TestHTTP(t *testing.T) {
	key := ed25519.NewKeyFromSeed(make([]byte, 32))
	dir := t.TempDir()
	o := options(HTTP, dir)
	o.Sign = func(data []byte) []byte { return ed25519.Sign(key, data) }
	s := theSeed()
	_, err := Write(HTTP, s, o)
	check(t, err)
	second := theSeed()
	second.Node = "ctl2"
	_, err = Write(HTTP, second, o)
	check(t, err)
	all := tree(t, o.Out)
	if len(all) != 2*9 {
		t.Errorf("there are %v", names(all))
	}
	for name, data := range map[string][]byte{"user-data": s.UserData, "meta-data": s.MetaData, "network-config": s.NetworkConfig} {
		raw, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(strings.TrimSpace(all["ctl1/"+name+".sig"]), "ed25519:"))
		if err != nil || !ed25519.Verify(key.Public().(ed25519.PublicKey), data, raw) {
			t.Errorf("%s.sig does not sign it: %v", name, err)
		}
		if want := fmt.Sprintf("%x  %s\n", sha256.Sum256(data), name); all["ctl1/"+name+".sha256"] != want || all["ctl1/"+name] != string(data) {
			t.Errorf("%s or its checksum is not right", name)
		}
	}
}
