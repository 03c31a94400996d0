package source

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path"
	"strings"

	"trivet/firstboot/host"
	"trivet/firstboot/node"
)

// Words of the kernel command line that say where the description is, and how
// it is known to be the right one.
const (
	wordURL      = "trivet.url"      // http://…, https://…, file:///… or device=LABEL:/path
	wordSHA256   = "trivet.sha256"   // of the file, in hexadecimal digits
	wordPubkey   = "trivet.pubkey"   // ed25519:BASE64; the signature is at the URL with .sig
	wordSPKI     = "trivet.spki"     // sha256//BASE64, the key of the server or of its CA
	wordInsecure = "trivet.insecure" // 1: plain http without any of these
	wordWait     = "trivet.url_wait" // 1: a server that answers 404 is asked again
)

// A fetch is what the command line asks for.
type fetch struct {
	from   string // trivet.url with its variables filled in
	check  check
	pins   []pin
	wait   bool
	unsafe bool
}

// lookURL takes the one file that trivet.url names as user-data.
func lookURL(env Env) (*Candidate, error) {
	w, err := readCommandLine(env)
	if err != nil {
		return nil, err
	}
	f, err := parseFetch(w)
	if err != nil {
		return nil, err
	}
	scheme, _, _ := strings.Cut(f.from, ":")
	escape := url.PathEscape
	if strings.HasPrefix(f.from, "device=") {
		scheme, escape = "device", plainName
	}
	if f.from, err = expandVariables(env, w, f.from, escape); err != nil {
		return nil, fmt.Errorf("%s on the kernel command line: %w", wordURL, err)
	}
	if len(f.pins) > 0 && scheme != "https" {
		return nil, fmt.Errorf("%s is for https, and %s is not", wordSPKI, f.from)
	}
	switch scheme {
	case "http", "https":
		return lookServer(env, f)
	case "file":
		return lookFile(env, f)
	case "device":
		return lookDevice(env, f, strings.TrimPrefix(f.from, "device="))
	}
	return nil, fmt.Errorf("%s=%s on the kernel command line: use http://, https://, file:/// or device=LABEL:/path", wordURL, f.from)
}

// parseFetch reads the words of the command line.
func parseFetch(w words) (fetch, error) {
	var f fetch
	from, has, err := w.value(wordURL)
	if err != nil {
		return f, err
	}
	if !has {
		for _, word := range []string{wordSHA256, wordPubkey, wordSPKI} {
			if len(w.values(word)) > 0 {
				return f, fmt.Errorf("the kernel command line has %s= without %s=", word, wordURL)
			}
		}
		return f, Absent("the kernel command line has no " + wordURL + "=")
	}
	if from == "" {
		return f, fmt.Errorf("%s= on the kernel command line is empty", wordURL)
	}
	f.from = from
	if f.check, err = parseCheck(w); err != nil {
		return f, err
	}
	for _, text := range w.values(wordSPKI) {
		pins, err := parsePins(text)
		if err != nil {
			return f, err
		}
		f.pins = append(f.pins, pins...)
	}
	insecure, _, err := w.value(wordInsecure)
	f.unsafe = insecure == "1"
	// Another number is for trivet-init: how long to wait for the root's disk.
	for _, v := range w.values(wordWait) {
		f.wait = f.wait || v == "1"
	}
	return f, err
}

// lookServer takes a file of a server.
func lookServer(env Env, f fetch) (*Candidate, error) {
	u, err := url.Parse(f.from)
	switch {
	case err != nil || u.Host == "":
		return nil, fmt.Errorf("%s=%s on the kernel command line is not a URL", wordURL, f.from)
	case u.User != nil:
		return nil, fmt.Errorf("%s on the kernel command line names a URL with a password; leave it out, since every user may see it", wordURL)
	case u.Scheme == "http" && !f.check.pinned() && !f.unsafe:
		return nil, fmt.Errorf("%s=%s: whoever is on the network can answer plain http; use https, or add %s= or %s=, or %s=1 for a lab", wordURL, f.from, wordSHA256, wordPubkey, wordInsecure)
	}
	client := env.Client
	if len(f.pins) > 0 {
		if client, err = pinnedClient(client, f.pins); err != nil {
			return nil, err
		}
	}
	signature := *u
	signature.Path, signature.RawPath = u.Path+".sig", u.EscapedPath()+".sig"
	get := func(ctx context.Context, at string, limit int64) ([]byte, error) {
		return env.fetch(ctx, request{client: client, urls: []string{at}, limit: limit, wait: f.wait})
	}
	return &Candidate{
		Origin: u.String() + " (from the kernel command line)", Remote: true, Channel: ByNetwork,
		Read: func(ctx context.Context) (Payload, error) {
			data, err := get(ctx, u.String(), node.MaxDescription)
			if err != nil {
				return Payload{}, err
			}
			err = f.check.verify(u.String(), data, func() ([]byte, error) { return get(ctx, signature.String(), maxSignature) })
			return Payload{UserData: Part{Name: u.String(), Data: data, Has: true}}, err
		},
	}, nil
}

// lookFile takes a file of this machine.
func lookFile(env Env, f fetch) (*Candidate, error) {
	u, err := url.Parse(f.from)
	if err != nil || u.Host != "" || !strings.HasPrefix(u.Path, "/") {
		return nil, fmt.Errorf("%s=%s on the kernel command line is not a file; write it as file:///path", wordURL, f.from)
	}
	name := path.Clean(u.Path)
	channel := ByFolder
	if strings.HasPrefix(name, initrdSeed+"/") {
		channel = ByInitrd
	}
	c := &Candidate{Origin: name + " (from the kernel command line)", Channel: channel}
	c.Read = func(context.Context) (Payload, error) {
		files, err := host.ReadFolder(env.path(path.Dir(name)), []string{path.Base(name), path.Base(name) + ".sig"}, node.MaxDescription)
		if err != nil {
			return Payload{}, err
		}
		return f.check.payload(path.Dir(name)+"/", path.Base(name), files)
	}
	return c, nil
}

// lookDevice takes a file of the file system with a label.
func lookDevice(env Env, f fetch, where string) (*Candidate, error) {
	name, file, ok := strings.Cut(where, ":")
	if !ok || name == "" || !strings.HasPrefix(file, "/") || file == "/" {
		return nil, fmt.Errorf("%s=device=%s on the kernel command line: write it as device=LABEL:/path", wordURL, where)
	}
	file = strings.TrimPrefix(path.Clean(file), "/")
	media, looked, err := labelled(env, name)
	switch {
	case err != nil:
		return nil, err
	case len(media) == 0:
		return nil, fmt.Errorf("%s on the kernel command line: no vfat or iso9660 file system is labelled %s; looked at %s", wordURL, name, strings.Join(looked, ", "))
	case len(media) > 1:
		return nil, fmt.Errorf("%s on the kernel command line: %s and %s are both labelled %s; detach one", wordURL, media[0].Name, media[1].Name, name)
	}
	m := &media[0]
	m.Secrets = []string{file}
	files, err := env.ReadDisk(m.Device, m.Type, []string{file, file + ".sig"}, node.MaxDescription)
	if err != nil {
		return nil, err
	}
	if isWiped(files[file]) {
		return nil, wipedError{m.Name}
	}
	return &Candidate{
		Origin: m.String() + " (from the kernel command line)", Channel: ByDisk, Media: media,
		Read: func(context.Context) (Payload, error) { return f.check.payload(m.Name+":/", file, files) },
	}, nil
}

// payload makes a payload of one file, which its signature lies beside.
func (c check) payload(at, name string, files map[string][]byte) (Payload, error) {
	user := partOf(at, name, files)
	if !user.Has {
		return Payload{}, fmt.Errorf("%s, which %s names, is missing", user.Name, wordURL)
	}
	err := c.verify(user.Name, user.Data, func() ([]byte, error) {
		if signature, ok := files[name+".sig"]; ok {
			return signature, nil
		}
		return nil, errors.New("it is missing")
	})
	return Payload{UserData: user}, err
}

// pinnedClient is a client that knows servers by their keys.
func pinnedClient(client *http.Client, pins []pin) (*http.Client, error) {
	t, ok := client.Transport.(*http.Transport)
	if !ok {
		return nil, errors.New("this client cannot pin keys")
	}
	own, transport := *client, t.Clone()
	transport.TLSClientConfig = pinnedTLS(transport.TLSClientConfig, pins)
	own.Transport = transport
	return &own, nil
}
