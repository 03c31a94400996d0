package source

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func FuzzProbe(f *testing.F) {
	fat := make([]byte, 4096)
	copy(fat[54:], "FAT16   ")
	copy(fat[43:], "CIDATA     ")
	fat[12], fat[13], fat[14], fat[16], fat[17], fat[22] = 2, 1, 1, 2, 16, 1
	fat[510], fat[511] = 0x55, 0xaa
	f.Add(fat, false)
	f.Add([]byte("\x01CD001"+strings.Repeat("\x00", 34)+"cidata"+strings.Repeat(" ", 26)), true)
	f.Fuzz(func(t *testing.T, data []byte, iso bool) {
		if iso {
			data = append(make([]byte, 16*isoSector), data...)
		}
		if l, ok := Probe(bytes.NewReader(data)); ok && len(l.Name) > 96 {
			t.Errorf("a label of %d bytes", len(l.Name))
		}
	})
}

// fuzzEnv is a machine with firmware, for all runs of a fuzz target.
func fuzzEnv(f *testing.F) Env {
	root := f.TempDir()
	for name, text := range map[string]string{
		"sys/class/dmi/id/product_uuid":   "4c4c4544-0050-4810-8052-b4c04f4a4b32\n",
		"sys/class/dmi/id/product_serial": "J/K 2?&\n",
	} {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			f.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			f.Fatal(err)
		}
	}
	return Env{Root: root, Client: NewClient()}
}

// FuzzCommandLine: what trivet.url and ds= become is a source or an error. An
// http URL is never taken without something that pins it.
func FuzzCommandLine(f *testing.F) {
	env := fuzzEnv(f)
	for _, text := range []string{
		`trivet.url=https://h/{uuid}.yaml?s={serial} trivet.spki=sha256//47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=`,
		`trivet.url="device=SEED:/a b" trivet.sha256=` + strings.Repeat("0", 64), `trivet.url=file:///run/{serial}`,
		`trivet.url=http://h/ trivet.insecure=1`, `ds=nocloud;s=http://h/__dmi.system-uuid__/%s;i=a;h=b`, `ci.ds=OpenStack`, `"ds=nocloud-net;s=/x"`,
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		w := splitWords(text)
		fetch, err := parseFetch(w)
		if err == nil {
			from, err := expandVariables(env, w, fetch.from, url.PathEscape)
			if fetch.from = from; err == nil && strings.HasPrefix(from, "http") {
				c, err := lookServer(env, fetch)
				if err == nil && strings.HasPrefix(c.Origin, "http:") && !fetch.check.pinned() && !fetch.unsafe {
					t.Errorf("plain http: %s", c.Origin)
				}
			}
		}
		if name, args, err := parseDS(w); err == nil && name != "" && args.from != "" {
			_, _ = lookSeed(env, args, byCommandLine)
		}
	})
}

func FuzzParseSerial(f *testing.F) {
	env := fuzzEnv(f)
	f.Add("ds=nocloud;s=http://192.0.2.1/")
	f.Add("X ds=nocloud-net;h=a;i=b;seedfrom=https://h/__dmi.chassis-serial-number__/%s?x")
	f.Fuzz(func(t *testing.T, text string) {
		args, ok := parseSerial(text)
		if !ok {
			return
		}
		c, err := lookSeed(env, args, bySerial)
		if err != nil || !c.Remote {
			return
		}
		if u, err := seedURL(bySerial, args.from); err == nil {
			if got := fileURL(u, "user-data"); !strings.Contains(got, "user-data") {
				t.Errorf("%s: no file in %s", text, got)
			}
		}
	})
}

// FuzzExpandDMI: what is filled in never breaks out of its place in a path.
func FuzzExpandDMI(f *testing.F) {
	env := fuzzEnv(f)
	f.Add("http://h/__dmi.system-serial-number__/%s")
	f.Add("__dmi.system-uuid____dmi.x__")
	f.Fuzz(func(t *testing.T, text string) {
		out, err := expandDMI(env, text)
		if err == nil && strings.Count(out, "/") != strings.Count(text, "/") {
			t.Errorf("%q became %q", text, out)
		}
	})
}

func FuzzMetaDataJSON(f *testing.F) {
	f.Add([]byte(`{"uuid": "u", "network_config": {"content_path": "/content/0000"}}`))
	f.Add([]byte("{\n\"uuid\": 1}"))
	f.Add([]byte(strings.Repeat("[", 2000)))
	f.Fuzz(func(t *testing.T, data []byte) {
		h, err := parseOpenStack("m", data)
		if err == nil && (strings.TrimSpace(h.uuid) == "" || len(h.uuid) > 128) {
			t.Errorf("the uuid is %q", h.uuid)
		}
	})
}

func FuzzChooseVersion(f *testing.F) {
	f.Add([]byte("2012-08-10\n2018-08-27\nlatest\n"))
	f.Add([]byte("2012-08-10/\n2099-01-01"))
	f.Fuzz(func(t *testing.T, list []byte) {
		if v := chooseVersion(list); v != "" && !strings.Contains(string(list), v) {
			t.Errorf("%s is not of the list", v)
		}
	})
}

func FuzzGunzip(f *testing.F) {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = z.Write(make([]byte, 64<<10))
	_ = z.Close()
	f.Add(b.Bytes())
	f.Add(b.Bytes()[:20])
	f.Add([]byte("#trivet/v1\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		const limit = 4096
		out, err := gunzip(data, limit)
		if packed := bytes.HasPrefix(data, []byte{0x1f, 0x8b}); err == nil && packed && len(out) > limit {
			t.Errorf("%d bytes", len(out))
		} else if !packed && !bytes.Equal(out, data) {
			t.Error("plain data has changed")
		}
	})
}

// FuzzFindISO gets what follows the sixteen sectors that ISO 9660 leaves alone.
func FuzzFindISO(f *testing.F) {
	iso := make([]byte, 2*isoSector+200)
	copy(iso, "\x01CD001")
	record := func(at int, lba byte, size uint16, flags byte, name string) int {
		n := 33 + len(name) + (len(name)+1)%2
		iso[at], iso[at+2], iso[at+25], iso[at+32] = byte(n), lba, flags, byte(len(name))
		binary.LittleEndian.PutUint16(iso[at+10:], size)
		copy(iso[at+33:], name)
		return at + n
	}
	record(156, 18, 200, 2, "\x00")
	next := record(2*isoSector, 18, 200, 2, "\x00")
	record(next, 19, 256, 0, "USER-DATA.;1")
	image := func(data []byte) *bytes.Reader { return bytes.NewReader(append(make([]byte, 16*isoSector), data...)) }
	if e, err := findISO(image(iso), "user-data"); err != nil || e != (extent{19 * isoSector, 256}) {
		f.Fatal(e, err)
	}
	f.Add(iso, "user-data")
	f.Add(iso, "a/b")
	f.Fuzz(func(t *testing.T, data []byte, path string) {
		if e, err := findISO(image(data), path); err == nil && (e.at < 0 || e.size < 0) {
			t.Errorf("%+v", e)
		}
	})
}

func FuzzParseSignature(f *testing.F) {
	f.Add([]byte("ed25519:" + strings.Repeat("A", 86) + "==\n"))
	f.Fuzz(func(_ *testing.T, data []byte) { _ = parseSignature(data) })
}
