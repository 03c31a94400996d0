package quorum

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"slices"
	"strings"

	"trivet/firstboot/node"
)

// absent stands for the incarnation of a controller that was not there when the
// cluster was founded: it holds the place among the voters, so that a majority
// stays one of all declared controllers.
const absent = "absent"

var (
	nameForm        = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
	uuidForm        = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)
	incarnationForm = regexp.MustCompile(`^[0-9a-f]{32}$`)
	digestForm      = regexp.MustCompile(`^[0-9a-f]{64}$`)
)

// random returns 128 random bits in hexadecimal digits.
func random() string {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // it never fails: it ends the program
	return hex.EncodeToString(b)
}

// identity names a controller with one certain disk, name/incarnation. It is
// both Raft's server ID and its address: where the controller of a name is
// found, its description says.
func identity(name, incarnation string) string { return name + "/" + incarnation }

// splitIdentity returns the parts of an identity, and whether it is one.
func splitIdentity(id string) (name, incarnation string, ok bool) {
	name, incarnation, ok = strings.Cut(id, "/")
	return name, incarnation, ok && nameForm.MatchString(name) && (incarnation == absent || incarnationForm.MatchString(incarnation))
}

// nameOf returns the controller of an identity.
func nameOf(id string) string {
	name, _, _ := strings.Cut(id, "/")
	return name
}

func byName(a, b node.Member) int { return strings.Compare(a.Name, b.Name) }

// majority is the least number that is more than half of n.
func majority(n int) int { return n/2 + 1 }

// digest is what two sides compare instead of the texts.
func digest(texts ...string) string {
	h := sha256.New()
	for _, t := range texts {
		h.Write([]byte(t + "\n")) // no name, nonce or UUID holds a line's end
	}
	return hex.EncodeToString(h.Sum(nil))
}

// A founding is what a cluster began with. All its members began with the same.
type founding struct {
	Cloud   string   `json:"cloud"`
	Nonce   string   `json:"nonce"`   // of the ticket
	Servers []string `json:"servers"` // identities, one for each declared controller, sorted by name
}

// id tells one cluster from another.
func (f founding) id() string { return digest(append([]string{f.Cloud, f.Nonce}, f.Servers...)...) }

func (f founding) equal(g founding) bool {
	return f.Cloud == g.Cloud && f.Nonce == g.Nonce && slices.Equal(f.Servers, g.Servers)
}

// valid answers whether f could be a founding of a cloud's controllers, whose
// names are sorted.
func (f founding) valid(cloud string, names []string) bool {
	if f.Cloud != cloud || !incarnationForm.MatchString(f.Nonce) || !wellFormed(f.Servers) {
		return false
	}
	return names == nil || slices.EqualFunc(f.Servers, names, func(id, name string) bool { return nameOf(id) == name })
}

// wellFormed answers whether servers are identities of distinct controllers,
// sorted, most of which were there.
func wellFormed(servers []string) bool {
	there := 0
	for i, id := range servers {
		_, incarnation, ok := splitIdentity(id)
		if !ok || i > 0 && nameOf(servers[i-1]) >= nameOf(id) {
			return false
		}
		if incarnation != absent {
			there++
		}
	}
	return len(servers) >= 1 && len(servers) <= 9 && there >= majority(len(servers))
}
