// Package trust is the operator's hold on a cloud: one master secret, from which
// everything that is secret in the cloud follows, and the directory that keeps
// it. Nodes get leaves only: secrets of their services, certificates with their
// keys, and a ticket to form the cloud. No CA's key and no master leaves it.
//
// The directory holds
//
//	master.age   the master and the cloud's UUID, encrypted under a passphrase or to recipients
//	epochs.json  how often each purpose was rotated, and when; for people to read
//	public.json  what anyone may know: UUID, signer, CA certificates
//
// # Derivation
//
// The key for a purpose is HKDF-SHA256 (RFC 5869) of the master, which is 32
// random bytes, with the cloud's UUID (36 letters) as salt and
//
//	v1|PURPOSE|NODE or -|EPOCH
//
// as info. 32 bytes of it are
//
//   - a secret such as keystone/db, as 52 letters of base32 (RFC 4648, small, no
//     padding): fit for any configuration file, URL or shell;
//   - keystone/fernet and keystone/credential, as 43 letters of URL-safe base64
//     without padding: what a Fernet key is but for its = at the end;
//   - signer: the seed of the ed25519 key that signs descriptions and tickets;
//   - node-key of a node: the X25519 scalar of its age identity;
//   - formation: 16 bytes, the nonce of the formation ticket.
//
// DOMAIN/ca and DOMAIN/node take 48 bytes, as a big-endian number modulo n-1,
// plus 1: the scalar of a key on P-256 (FIPS 186-5 A.2.1, 128 extra bits). So
// every key and certificate can be made again, byte for byte, and rotating is
// counting up an epoch.
package trust

import (
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base32"
	"encoding/base64"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"time"

	"trivet/firstboot/bundle"
	"trivet/firstboot/node"
)

// Names of the directory's files.
const (
	masterFile = "master.age"
	epochsFile = "epochs.json"
	publicFile = "public.json"
)

const masterSize = 32 // bytes

// A Master is the directory, unlocked.
type Master struct {
	dir     string
	cluster string
	seed    func() [masterSize]byte // a function, since no way of printing calls it
	epochs  epochs
	protect protection
	disk    disk
}

var (
	clusterForm = regexp.MustCompile(`^[a-z]([a-z0-9-]{0,30}[a-z0-9])?$`) // as in package node
	nodeForm    = regexp.MustCompile(`^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$`)
	secretForm  = regexp.MustCompile(`^[a-z][a-z0-9-]{0,39}(/[a-z][a-z0-9-]{0,39})?$`)
)

// Cloud is the cloud's UUID, in small letters.
func (m *Master) Cloud() string { return m.epochs.Cloud }

// Cluster is the cloud's name.
func (m *Master) Cluster() string { return m.cluster }

// derive returns n bytes for a purpose, of one node if node is not empty.
func (m *Master) derive(purpose, node string, epoch, n int) []byte {
	if node == "" {
		node = "-"
	}
	seed := m.seed()
	info := fmt.Sprintf("v1|%s|%s|%d", purpose, node, epoch)
	key, err := hkdf.Key(sha256.New, seed[:], []byte(m.Cloud()), info, n)
	if err != nil {
		panic("trivet: HKDF gives at most 8160 bytes") // RFC 5869 §2.3; n is a constant of ours
	}
	return key
}

// text writes 32 bytes as a secret.
func text(purpose string, key []byte) string {
	if isFernet(purpose) {
		return base64.RawURLEncoding.EncodeToString(key)
	}
	return strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(key))
}

// secret is the value of a secret that services share.
func (m *Master) secret(name string) string {
	return text(name, m.derive(name, "", m.epochs.at(name, "").Number, 32))
}

// Secret is one secret, for the operator: the password of the cloud's first
// user is keystone/admin.
func (m *Master) Secret(name string) (string, error) {
	if err := allowed(node.Controller, name); err != nil {
		return "", fmt.Errorf("make the secret %s: %w", name, err)
	}
	return m.secret(name), nil
}

// isFernet answers whether a secret is keystone's for its repositories of keys.
func isFernet(name string) bool { return name == "keystone/fernet" || name == "keystone/credential" }

// fernetKeys are the files of a repository of keystone's keys: 0 is the staged
// key, which the next epoch makes primary; the highest number is the primary
// one; what lies between still opens what was made before. Each is 32 bytes in
// URL-safe base64 (the Fernet specification, "Key Format").
func (m *Master) fernetKeys(name string) bundle.Files {
	now := m.epochs.at(name, "").Number
	key := func(epoch int) []byte {
		return []byte(base64.URLEncoding.EncodeToString(m.derive(name+"-key", "", epoch, 32)))
	}
	files := bundle.Files{name + "/0": key(now + 1), fmt.Sprintf("%s/%d", name, now): key(now)}
	if now > 1 {
		files[fmt.Sprintf("%s/%d", name, now-1)] = key(now - 1)
	}
	return files
}

// signer never changes: whoever has it has the master.
func (m *Master) signer() ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(m.derive(purposeSigner, "", 1, ed25519.SeedSize))
}

// Signer is the public key by which nodes know this operator.
func (m *Master) Signer() ed25519.PublicKey { return m.signer().Public().(ed25519.PublicKey) }

// Sign puts the operator's signature at the end of a node's user-data, as
// bundle.Sign says.
func (m *Master) Sign(text []byte) []byte { return bundle.Sign(text, m.signer()) }

// Detached signs a whole file: 64 bytes (RFC 8032), for trivet.pubkey= on the
// kernel command line.
func (m *Master) Detached(file []byte) []byte { return ed25519.Sign(m.signer(), file) }

// NodeKey is the key of a node, the same until node-key is rotated. It goes to
// the node by another way than its bundle, and its Recipient is what the bundle
// is sealed to.
func (m *Master) NodeKey(node string) (bundle.Key, error) {
	if !nodeForm.MatchString(node) {
		return bundle.Key{}, fmt.Errorf("make the key of a node: %q is not a host name without a domain", node)
	}
	epoch := m.epochs.at(purposeNodeKey, node).Number
	k, err := bundle.KeyOf(m.Signer(), m.derive(purposeNodeKey, node, epoch, 32))
	if err != nil {
		return bundle.Key{}, err
	}
	k.Node, k.Cluster = node, m.cluster
	return k, nil
}

// Life of a formation ticket.
const (
	DefaultTicketLife = 24 * time.Hour
	maxTicketLife     = 14 * 24 * time.Hour // a ticket that lies around could form a second cloud
)

// Ticket permits these controllers to form the cloud for the first time, for a
// while that begins now; zero means DefaultTicketLife. Its nonce is the same until the
// purpose formation is rotated, so that bundles of one cloud which were made
// apart agree.
func (m *Master) Ticket(controllers []string, now time.Time, life time.Duration) (string, error) {
	if life == 0 {
		life = DefaultTicketLife
	}
	if life < time.Minute || life > maxTicketLife {
		return "", fmt.Errorf("make a formation ticket: %s is not one minute to %d days", life, int(maxTicketLife.Hours()/24))
	}
	nonce := m.derive(purposeFormation, "", m.epochs.at(purposeFormation, "").Number, 16)
	t := bundle.Ticket{
		Cloud: m.Cloud(), Nonce: fmt.Sprintf("%x", nonce), Controllers: sortedCopy(controllers),
		NotAfter: now.UTC().Add(life).Truncate(time.Second),
	}
	return t.Sign(m.signer())
}

// String names the cloud.
func (m *Master) String() string {
	return fmt.Sprintf("master of %s (%s) [redacted]", m.cluster, m.Cloud())
}

// Format prints String for every verb.
func (m *Master) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(m.String())) }

// LogValue logs String.
func (m *Master) LogValue() slog.Value { return slog.StringValue(m.String()) }
