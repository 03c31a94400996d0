package seed

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
)

// maxSMBIOS bounds all strings together, in bytes. The tables of SMBIOS 2.1 end
// at 64 KiB (DSP0134 §5.2.1, Structure Table Length), and the machine has its
// own structures there, too.
const maxSMBIOS = 60 << 10

// maxSerial bounds a serial number, in bytes; cloud-init and firmware take more,
// but no URL needs it.
const maxSerial = 512

// credential is a systemd credential as a string of SMBIOS type 11
// (systemd.exec(5), "Credentials"; smbios-type-11(7)).
func credential(name string, data []byte) string {
	return "io.systemd.credential.binary:" + name + "=" + base64.StdEncoding.EncodeToString(data)
}

// smbios plans a file of QEMU's arguments, one a line, as `mapfile -t` of bash
// or `xargs -d '\n'` read it: with a URL, the serial number that sends the
// machine there; else the seed itself as credentials. Secrets in clear text go
// into files of their own, since everybody may read arguments.
func (p *plan) smbios(s Seed, o Options) error {
	if o.URL != "" {
		serial, err := serialOf(o.URL)
		if err != nil {
			return err
		}
		p.add(o.Out, []byte("-smbios\ntype=1,serial="+quoted(serial)+"\n"), secretMode, "arguments of QEMU, one a line: a serial number with the seed's URL")
		return nil
	}
	names := map[string]string{"user-data": "trivet.userdata", "meta-data": "trivet.metadata", "network-config": "trivet.network-config"}
	var lines strings.Builder
	total := 0
	for _, n := range s.nocloud() {
		text := credential(names[n.name], n.data)
		total += len(text) + 1 // and the NUL that ends it
		if n.name != "user-data" || !s.clear() {
			fmt.Fprintf(&lines, "-smbios\ntype=11,value=%s\n", quoted(text))
			continue
		}
		path := filepath.Join(filepath.Dir(o.Out), filepath.Base(o.Out)+"."+names[n.name])
		p.add(path, []byte(text), secretMode, "string of SMBIOS with secrets in clear text")
		fmt.Fprintf(&lines, "-smbios\ntype=11,path=%s\n", quoted(path))
	}
	if total > maxSMBIOS {
		return fmt.Errorf("the strings have %d bytes, more than the %d that SMBIOS has room for; use nocloud-iso, or http with a serial number", total, maxSMBIOS)
	}
	p.add(o.Out, []byte(lines.String()), secretMode, "arguments of QEMU, one a line: the seed as systemd credentials")
	return nil
}

// quoted doubles commas, which part QEMU's options.
func quoted(text string) string { return strings.ReplaceAll(text, ",", ",,") }

// serialOf is the serial number that cloud-init's NoCloud and the agent read.
func serialOf(at string) (string, error) {
	u, err := url.Parse(at)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "":
		return "", errors.New("the URL is not like http://HOST/PATH/NODE/")
	case u.User != nil:
		return "", errors.New("the URL has a password, which everybody on the machine may read in its serial number")
	case strings.ContainsFunc(at, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune(`;"'`, r) }):
		return "", errors.New("the URL has a semicolon, a space, a quote or a letter that is not ASCII, which a serial number cannot carry")
	}
	serial := "ds=nocloud;s=" + strings.TrimSuffix(at, "/") + "/"
	if len(serial) > maxSerial {
		return "", fmt.Errorf("the serial number has %d bytes, more than %d", len(serial), maxSerial)
	}
	return serial, nil
}
