package source

import (
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"fmt"
	"io"
	"log"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// keyPair is a key that is the same in every run.
func keyPair(b byte) (ed25519.PublicKey, ed25519.PrivateKey) {
	key := ed25519.NewKeyFromSeed([]byte(strings.Repeat(string(rune(b)), ed25519.SeedSize)))
	return key.Public().(ed25519.PublicKey), key
}

func b64(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

// TestChecks: a file is only taken if it is the one that was meant, from a
// server, a file and a device alike.
func TestChecks(t *testing.T) {
	public, key := keyPair('a')
	signature := ed25519.Sign(key, []byte(goodUser))
	_, stranger := keyPair('b')
	sum := fmt.Sprintf("trivet.sha256=%x", sha256.Sum256([]byte(goodUser)))
	pub := "trivet.pubkey=ed25519:" + b64(public)
	for name, c := range map[string]struct {
		words string
		sig   []byte // nil: there is none
		fails string
	}{
		"sha256":                       {sum, nil, ""},
		"sha256, large digits":         {strings.Replace(strings.ToUpper(sum), "TRIVET.SHA256", "trivet.sha256", 1), nil, ""},
		"wrong sha256":                 {"trivet.sha256=" + strings.Repeat("0", 64), nil, "is not the file that trivet.sha256 names: its SHA-256 is"},
		"short sha256":                 {"trivet.sha256=00", nil, "is not 64 hexadecimal digits"},
		"signed, raw":                  {pub, signature, ""},
		"signed, base64":               {pub, []byte(b64(signature) + "\n"), ""},
		"signed, ed25519:":             {pub, []byte("ed25519:" + b64(signature)), ""},
		"key without its name":         {"trivet.pubkey=" + b64(public), signature, ""},
		"signed by another":            {pub, ed25519.Sign(stranger, []byte(goodUser)), "is not signed by the key of trivet.pubkey"},
		"signature of another file":    {pub, ed25519.Sign(key, []byte("x")), "is not signed"},
		"signature of rubbish":         {pub, []byte("rubbish"), "is not signed"},
		"no signature":                 {pub, nil, "read the signature of"},
		"signed, and the wrong sha256": {pub + " trivet.sha256=" + strings.Repeat("0", 64), signature, "is not the file"},
		"not a key":                    {"trivet.pubkey=ed25519:AAAA", signature, "is not ed25519: and 32 bytes in base64"},
		"two sums":                     {sum + " trivet.sha256=" + strings.Repeat("0", 64), nil, "more than once"},
	} {
		files := map[string]string{"ctl1.yaml": goodUser}
		if c.sig != nil {
			files["ctl1.yaml.sig"] = string(c.sig)
		}
		for kind, from := range map[string]func(t *testing.T, env Env) string{
			"server": func(t *testing.T, _ Env) string { return serve(t, prefixed("/", files)) + "/ctl1.yaml?q=1" },
			"file": func(t *testing.T, env Env) string {
				for n, text := range files {
					put(t, env.path("/srv/"+n), []byte(text))
				}
				return "file:///srv/ctl1.yaml"
			},
			"device": func(t *testing.T, env Env) string {
				plug(t, env, "vdb", isoImage(t, "SEED", files))
				return "device=SEED:/ctl1.yaml"
			},
		} {
			t.Run(name+", "+kind, func(t *testing.T) {
				env := testEnv(t)
				commandLine(t, env, "trivet.url="+from(t, env)+" "+c.words)
				p, _, err := read(t, env)
				wantError(t, err, c.fails)
				if err == nil && string(p.UserData.Data) != goodUser {
					t.Errorf("%s", p.UserData.Data)
				}
			})
		}
	}
}

// TestURLWords: what is wrong on the kernel command line is said.
func TestURLWords(t *testing.T) {
	const pin = "trivet.spki=sha256//47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="
	for words, want := range map[string]string{
		"trivet.url=http://h/":                          "plain http; use https, or add trivet.sha256= or trivet.pubkey=, or trivet.insecure=1",
		"trivet.url=http://h/ trivet.insecure=yes":      "plain http",
		"trivet.url=":                                   "is empty",
		"trivet.url=h/x":                                "use http://, https://, file:/// or device=LABEL:/path",
		"trivet.url=ftp://h/x":                          "use http://",
		"trivet.url=https:///x":                         "is not a URL",
		"trivet.url=https://u:canary@h/x":               "leave it out",
		"trivet.url=https://h/a trivet.url=https://h/b": "trivet.url= more than once",
		"trivet.url=file://h/x":                         "write it as file:///path",
		"trivet.url=file:x":                             "write it as file:///path",
		"trivet.url=device=SEED":                        "write it as device=LABEL:/path",
		"trivet.url=device=SEED:x":                      "write it as device=LABEL:/path",
		"trivet.url=device=:/x":                         "write it as device=LABEL:/path",
		"trivet.url=device=SEED:/":                      "write it as device=LABEL:/path",
		"trivet.url=device=SEED:/x":                     "no vfat or iso9660 file system is labelled SEED; looked at",
		"trivet.url=file:///nowhere":                    "/nowhere, which trivet.url names, is missing",
		"trivet.url=file:///x " + pin:                   "trivet.spki is for https",
		"trivet.url=https://h/ trivet.spki=AAAA":        "is not sha256// and 32 bytes in base64",
		"trivet.sha256=" + strings.Repeat("0", 64):      "trivet.sha256= without trivet.url=",
		"trivet.url=https://h/{uid}":                    "{uid} is not known; the variables are {uuid}, ",
		"trivet.url=https://h/{uuid}":                   "{uuid} has no value on this machine",
		"trivet.url=https://{mac}/x":                    "not before them",
		"trivet.url=https://h/{boot-mac}":               "{boot-mac} has no value",
		"trivet.url=https://h/{boot-mac} BOOTIF=eth0":   "BOOTIF=eth0 on the kernel command line is not 01- and a hardware address",
		"ds=nocloud;s=ftp://h/":                         "only http and https URLs are read",
		"ds=nocloud;s=http://u:canary@h/":               "leave it out",
		"ds=nocloud;s=file://h/x":                       "a folder begins with /",
		"ds=nocloud;s=/nowhere":                         "/nowhere/user-data is missing",
		"ds=nocloud;s=http://h/__dmi.system-uid__/":     "__dmi.system-uid__ is not known; the keys are baseboard-asset-tag",
		"ds=maas":           "ds=maas on the kernel command line is not a source here; use nocloud,",
		"ds=;s=x":           "ds= on the kernel command line is empty",
		"ds=nocloud ds=ec2": "ds= more than once",
		"ds=nocloud":        "ds=nocloud on the kernel command line allows no other source, but this machine has no SMBIOS serial number; no such folder",
		"ci.ds=configdrive": "ds=configdrive on the kernel command line allows no other source, but there are no block devices",
		`trivet.url="https://h/{uuid}" ` + "BOOTIF=x " + pin: "{uuid} has no value",
	} {
		env := testEnv(t)
		commandLine(t, env, words)
		_, _, err := read(t, env)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: %v, want %s", words, err, want)
		}
	}
}

// TestNone: ds=none ends the search, though a seed is there.
func TestNone(t *testing.T) {
	env := testEnv(t)
	folderSeed(t, env)
	commandLine(t, env, "ds=None")
	c, tried, err := Look(env, All())
	if got, others := taken(tried); c != nil || err != nil || got != "cmdline-ds" || !strings.HasPrefix(others["seed-dir"], "passed over") {
		t.Errorf("%+v %v %+v", c, err, tried)
	}
}

// TestVariables: the machine's values reach the server, escaped.
func TestVariables(t *testing.T) {
	env := testEnv(t)
	dmi(t, env, "product_uuid", "4C4C4544-0050-4810-8052-B4C04F4A4B32")
	serial(t, env, "A/B ?&1")
	dmi(t, env, "chassis_asset_tag", "rack 1")
	put(t, env.path("/proc/sys/kernel/hostname"), []byte("ctl1\n"))
	put(t, env.path("/sys/class/net/br0/address"), []byte("02:00:00:00:00:01\n"))
	put(t, env.path("/sys/class/net/eno2/address"), []byte("02:00:00:00:00:AA\n"))
	put(t, env.path("/sys/class/net/eno2/device/vendor"), nil)
	w := splitWords("BOOTIF=01-02-00-00-00-00-bb")
	for text, want := range map[string]string{
		"https://h/{uuid}.yaml":             "https://h/4c4c4544-0050-4810-8052-b4c04f4a4b32.yaml",
		"https://h/{serial}/x?s={serial}":   "https://h/A%2FB%20%3F&1/x?s=A%2FB+%3F%261",
		"https://h?m={mac}&b={boot-mac}":    "https://h?m=02%3A00%3A00%3A00%3A00%3Aaa&b=02%3A00%3A00%3A00%3A00%3Abb",
		"https://h/{mac}/{hostname}":        "https://h/02:00:00:00:00:aa/ctl1",
		"https://h/${uuid}":                 "https://h/$4c4c4544-0050-4810-8052-b4c04f4a4b32",
		"https://h/a?{asset}":               "https://h/a?rack+1",
		"file:///srv/{hostname}.yaml":       "file:///srv/ctl1.yaml",
		"https://h/no/variables?at=all#end": "https://h/no/variables?at=all#end",
	} {
		f, err := parseFetch(append(words{"trivet.url=" + text}, w...))
		if err != nil {
			t.Fatal(err)
		}
		got, err := expandVariables(env, w, f.from, url.PathEscape)
		if err != nil || got != want {
			t.Errorf("%s: %s (%v), want %s", text, got, err, want)
		}
	}
	if got, err := expandVariables(env, w, "device=X:/{serial}", plainName); err == nil {
		t.Errorf("a serial number with a slash became %s", got)
	}
	dmi(t, env, "product_uuid", "00000000-0000-0000-0000-000000000000")
	_, err := expandVariables(env, w, "https://h/{uuid}", url.PathEscape)
	wantError(t, err, "{uuid} has no value")
}

// TestExpandDMI: as cloud-init has it.
func TestExpandDMI(t *testing.T) {
	env := testEnv(t)
	dmi(t, env, "product_serial", "S/1")
	dmi(t, env, "chassis_asset_tag", "\xff\xff\xff\xff")
	for text, want := range map[string]string{
		"http://h/__dmi.system-serial-number__/": "http://h/S%2F1/",
		"http://h/__dmi.chassis-asset-tag__x":    "http://h/x",
		"http://h/__dmi.system-uuid__/%s":        "http://h//%s",
		"http://h/__dmi__/_dmi.x_":               "http://h/__dmi__/_dmi.x_",
	} {
		if got, err := expandDMI(env, text); err != nil || got != want {
			t.Errorf("%s: %s (%v), want %s", text, got, err, want)
		}
	}
}

// TestSeedArgs: i= and h= come before meta-data.
func TestSeedArgs(t *testing.T) {
	base := serve(t, prefixed("/", seed()))
	for args, want := range map[string]string{
		";i=x":                   "instance-id: 'x'\n",
		";h=ctl9":                "instance-id: 'i-1'\nlocal-hostname: 'ctl9'\n",
		";i=it's;h=a;dsmode=net": "instance-id: 'it''s'\nlocal-hostname: 'a'\n",
		"":                       "instance-id: i-1\n",
	} {
		for _, lay := range []func(Env){
			func(env Env) { serial(t, env, "QEMU ds=nocloud;seedfrom="+base+"/"+args) },
			func(env Env) { commandLine(t, env, "ds=nocloud;s="+base+args) },
			func(env Env) { folderSeed(t, env); commandLine(t, env, "ds=nocloud"+args) },
		} {
			env := testEnv(t)
			lay(env)
			p, _, err := read(t, env)
			if err != nil || string(p.MetaData.Data) != want {
				t.Errorf("%s: %q (%v), want %q", args, p.MetaData.Data, err, want)
			}
		}
	}
}

func TestParseSerial(t *testing.T) {
	for text, want := range map[string]string{
		"ds=nocloud;s=http://192.0.2.1:8000/":          "http://192.0.2.1:8000/",
		"ds=nocloud-net;h=x;seedfrom=https://h/a?n=%s": "https://h/a?n=%s",
		"ABC ds=nocloud;i=1;s=http://h/":               "http://h/",
		"DS=NoCloud;s=http://h/":                       "http://h/",
		"ds=nocloud":                                   "",
		"xds=nocloud;s=http://h/":                      "absent",
		"ds=nocloudy;s=http://h/":                      "absent",
		"":                                             "absent",
	} {
		args, found := parseSerial(text)
		if !found {
			args.from = "absent"
		}
		if args.from != want {
			t.Errorf("%q: %q, want %q", text, args.from, want)
		}
	}
}

func TestSeedURL(t *testing.T) {
	for from, want := range map[string]string{
		"http://h":             "http://h/user-data",
		"http://h/a":           "http://h/a/user-data",
		"http://h/a/":          "http://h/a/user-data",
		"https://h/a?file=":    "https://h/a?file=user-data",
		"http://h/%s.yaml?n=1": "http://h/user-data.yaml?n=1",
	} {
		u, err := seedURL(bySerial, from)
		if err != nil {
			t.Errorf("%s: %v", from, err)
		} else if got := fileURL(u, "user-data"); got != want {
			t.Errorf("%s: %s, want %s", from, got, want)
		}
	}
	for _, bad := range []string{"/etc/seed", "file:///etc/seed", "ftp://h/", "http://", "http://u:p@h/", "http://[::1"} {
		if _, err := seedURL(bySerial, bad); err == nil {
			t.Errorf("%s was taken", bad)
		}
	}
}

func TestSplitWords(t *testing.T) {
	for text, want := range map[string]words{
		"a  b\n":             {"a", "b"},
		`x="a b" "y=c d" e`:  {"x=a b", "y=c d", "e"},
		`x="a b`:             {"x=a b"},
		"":                   nil,
		"\tds=a;b=c -- init": {"ds=a;b=c", "--", "init"},
	} {
		if d := cmp.Diff(want, splitWords(text)); d != "" && len(want) > 0 {
			t.Errorf("%q: %s", text, d)
		}
	}
}

// A certificate for the tests of pins.
type certificate struct {
	*x509.Certificate
	key ed25519.PrivateKey
	pin string
}

// issue makes a certificate that by signs; nil: itself.
func issue(t *testing.T, seed byte, by *certificate, change func(*x509.Certificate)) certificate {
	t.Helper()
	public, key := keyPair(seed)
	c := &x509.Certificate{
		SerialNumber: big.NewInt(int64(seed)), Subject: pkix.Name{CommonName: string(rune(seed))}, DNSNames: []string{"deploy.example.org"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), BasicConstraintsValid: true,
	}
	change(c)
	parent, signer := c, key
	if by != nil {
		parent, signer = by.Certificate, by.key
	}
	raw, err := x509.CreateCertificate(nil, c, parent, public, signer)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(raw)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(parsed.RawSubjectPublicKeyInfo)
	return certificate{parsed, key, "sha256//" + b64(sum[:])}
}

// TestPins: which servers a pin lets in.
func TestPins(t *testing.T) {
	ca := issue(t, 'c', nil, func(c *x509.Certificate) { c.IsCA, c.DNSNames = true, nil })
	plain := func(*x509.Certificate) {}
	leaf := issue(t, 'l', &ca, plain)
	elsewhere := issue(t, 'e', &ca, func(c *x509.Certificate) { c.DNSNames = []string{"other.example.org"} })
	local := issue(t, 'm', &ca, func(c *x509.Certificate) { c.DNSNames = []string{"localhost"} })
	soon := issue(t, 's', nil, func(c *x509.Certificate) {
		c.NotBefore, c.NotAfter = time.Now().Add(23*time.Hour), time.Now().Add(48*time.Hour)
	})
	late := issue(t, 'f', nil, func(c *x509.Certificate) {
		c.NotBefore, c.NotAfter = time.Now().Add(25*time.Hour), time.Now().Add(48*time.Hour)
	})
	old := issue(t, 'o', nil, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })
	notCA := issue(t, 'n', &leaf, plain)
	for name, c := range map[string]struct {
		chain []certificate
		pins  string
		fails string
	}{
		"the server's key":                {[]certificate{leaf}, leaf.pin, ""},
		"one of several":                  {[]certificate{leaf}, ca.pin + "," + leaf.pin, ""},
		"its name does not matter then":   {[]certificate{elsewhere}, elsewhere.pin, ""},
		"its CA's key, and the name":      {[]certificate{local, ca}, ca.pin, ""},
		"its CA's key, and another name":  {[]certificate{elsewhere, ca}, ca.pin, "not of the pinned CA"},
		"its CA's key, which is not sent": {[]certificate{local}, ca.pin, "the server's key is " + local.pin + ", which trivet.spki does not name"},
		"another key":                     {[]certificate{leaf, ca}, elsewhere.pin, "which trivet.spki does not name"},
		"a clock that is 23 hours slow":   {[]certificate{soon}, soon.pin, ""},
		"a clock that is 25 hours slow":   {[]certificate{late}, late.pin, "the server's certificate is good from"},
		"an old certificate":              {[]certificate{old}, old.pin, "the server's certificate is good from"},
		"a pinned key that is no CA":      {[]certificate{notCA, leaf}, leaf.pin, "which trivet.spki does not name"},
	} {
		t.Run(name, func(t *testing.T) {
			var asked atomic.Int32
			s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				asked.Add(1)
				_, _ = w.Write([]byte(goodUser))
			}))
			var raw [][]byte
			for _, x := range c.chain {
				raw = append(raw, x.Raw)
			}
			s.Config.ErrorLog = log.New(io.Discard, "", 0)
			s.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: raw, PrivateKey: c.chain[0].key}}}
			s.StartTLS()
			defer s.Close()
			env := testEnv(t)
			commandLine(t, env, "trivet.url="+strings.Replace(s.URL, "127.0.0.1", "localhost", 1)+"/x trivet.spki="+c.pins)
			_, _, err := read(t, env)
			wantError(t, err, c.fails)
			if c.fails != "" && asked.Load() > 0 {
				t.Error("the wrong server was asked")
			}
			if strings.Contains(c.fails, "does not name") {
				wantError(t, err, "(attempt 1)")
			}
		})
	}
	t.Run("no pin: the system's roots", func(t *testing.T) {
		s := httptest.NewUnstartedServer(handler(map[string]string{"/x": goodUser}))
		s.Config.ErrorLog = log.New(io.Discard, "", 0)
		s.StartTLS()
		defer s.Close()
		env := testEnv(t)
		commandLine(t, env, "trivet.url="+s.URL+"/x trivet.insecure=1")
		_, _, err := read(t, env)
		wantError(t, err, "certificate")
		if env.Client.Transport.(*http.Transport).TLSClientConfig != nil && env.Client.Transport.(*http.Transport).TLSClientConfig.InsecureSkipVerify {
			t.Error("the client that all use was changed")
		}
	})
}

// TestWait: with trivet.url_wait=1, a server that does not know the machine yet is
// asked again. Another number is not meant for this.
func TestWait(t *testing.T) {
	for words, want := range map[string]int32{"trivet.url_wait=1": 4, "trivet.url_wait=90 trivet.url_wait=1": 4, "trivet.url_wait=90": 1, "": 1} {
		var asked atomic.Int32
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if asked.Add(1) < 4 {
				http.NotFound(w, r)
			}
		}))
		env := testEnv(t)
		commandLine(t, env, "trivet.insecure=1 trivet.url="+s.URL+"/x "+words)
		_, _, err := read(t, env)
		if asked.Load() != want || (err == nil) != (want == 4) {
			t.Errorf("%s: asked %d times: %v", words, asked.Load(), err)
		}
		s.Close()
	}
}
