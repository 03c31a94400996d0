package seed

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"path/filepath"
)

// http plans a tree for a web server: NODE/user-data and so on, each with its
// SHA-256 in the form of sha256sum(1), for trivet.sha256= on the kernel command
// line, and with its signature beside it as .sig, for trivet.pubkey=.
func (p *plan) http(s Seed, o Options) {
	dir := filepath.Join(o.Out, s.Node)
	p.folder(dir)
	for _, n := range s.nocloud() {
		path := filepath.Join(dir, n.name)
		p.add(path, n.data, secretMode, "served as "+s.Node+"/"+n.name)
		p.add(path+".sha256", fmt.Appendf(nil, "%x  %s\n", sha256.Sum256(n.data), n.name), publicMode, "its SHA-256")
		if o.Sign == nil {
			p.remove(path + ".sig")
			continue
		}
		p.add(path+".sig", []byte("ed25519:"+base64.StdEncoding.EncodeToString(o.Sign(n.data))+"\n"), publicMode, "its signature")
	}
	if s.NetworkConfig == nil {
		for _, ending := range []string{"", ".sha256", ".sig"} {
			p.remove(filepath.Join(dir, "network-config"+ending))
		}
	}
}
