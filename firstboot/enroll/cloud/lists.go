package cloud

import (
	"crypto/rsa"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"
)

// Bounds on lists; that of keys is package node's.
const (
	maxServers = 16
	maxSSHKeys = 100
)

func listChecks() []Check {
	return []Check{
		failure("dns-form", "DNS servers are addresses", "%q is not the address of a DNS server", "write an address, such as 10.0.0.53"),
		failure("ntp-form", "time servers are names or addresses", "%q is neither a name nor an address of a time server", "write it as ntp1.example.org or 10.0.0.123"),
		warning("listed-twice", "no list has an entry twice", "%s is listed twice", "keep one"),
		warning("ntp-two", "time servers can outvote a wrong one", "of two time servers that differ nobody knows which one is right", "use 1, or 3 and more"),
		failure("ssh-key", "SSH keys are lines of authorized_keys", "this is not a line of authorized_keys: %s", "give the content of a .pub file, in one line"),
		failure("ssh-private", "nobody's private key is in the description", "this looks like a private key, which belongs to its owner alone", "give the content of the .pub file; take this key for known to others"),
		failure("ssh-dsa", "SSH keys are of a kind that sshd still takes", "sshd of Debian 13 takes no DSA keys any more", "make an ed25519 key: ssh-keygen -t ed25519"),
		warning("ssh-weak", "SSH keys are long enough", "an RSA key of %d bits is too short to last", "make an ed25519 key: ssh-keygen -t ed25519"),
		warning("ssh-none", "somebody can log in on a node that does not start", "there are no ssh_authorized_keys, so nobody can log in on a node", "give one, unless that is meant"),
	}
}

// lists reads what is a list of words: DNS, NTP, keys.
func (k *checker) lists() {
	k.list("dns", k.file.DNS, maxServers, func(path, s string) bool {
		a, err := netip.ParseAddr(s)
		if err != nil || a.Zone() != "" || a.IsUnspecified() || a.IsMulticast() {
			k.say("dns-form", path, s)
			return false
		}
		k.cloud.DNS = append(k.cloud.DNS, a)
		return true
	})
	k.list("ntp", k.file.NTP, maxServers, func(path, s string) bool {
		if _, err := netip.ParseAddr(s); err != nil && !domain(s) {
			k.say("ntp-form", path, s)
			return false
		}
		k.cloud.NTP = append(k.cloud.NTP, s)
		return true
	})
	if len(k.file.NTP) == 2 {
		k.say("ntp-two", "ntp")
	}
	keys := slices.Clone(k.file.SSHKeys)
	for i := range keys {
		keys[i] = strings.TrimSpace(keys[i])
	}
	if len(keys) == 0 && !k.wrong("ssh_authorized_keys") {
		k.say("ssh-none", "ssh_authorized_keys")
	}
	k.list("ssh_authorized_keys", keys, maxSSHKeys, func(path, s string) bool {
		if !k.key(path, s) {
			return false
		}
		k.cloud.SSHAuthorizedKeys = append(k.cloud.SSHAuthorizedKeys, s)
		return true
	})
}

// list calls read for every entry of a list that is not there already.
func (k *checker) list(path string, values []string, most int, read func(path, s string) bool) {
	if len(values) > most {
		k.say("list-long", path, len(values), most)
		return
	}
	for i, s := range values {
		at := fmt.Sprintf("%s[%d]", path, i)
		switch {
		case s == "" && k.wrong(at):
		case slices.Contains(values[:i], s):
			what := s
			if path == "ssh_authorized_keys" {
				what = "this key"
			}
			k.say("listed-twice", at, what)
		default:
			read(at, s)
		}
	}
}

// key checks a line of authorized_keys(5). Its text is never told: it might be
// a private key.
func (k *checker) key(path, line string) bool {
	if strings.Contains(line, "PRIVATE KEY") {
		k.say("ssh-private", path)
		return false
	}
	public, err := publicKey(line)
	if err != nil {
		k.say("ssh-key", path, err)
		return false
	}
	if public.Type() == "ssh-dss" { // RFC 4253 §6.6
		k.say("ssh-dsa", path)
		return false
	}
	if crypto, ok := public.(ssh.CryptoPublicKey); ok {
		if r, ok := crypto.CryptoPublicKey().(*rsa.PublicKey); ok && r.N.BitLen() < 2048 {
			k.say("ssh-weak", path, r.N.BitLen())
		}
	}
	return true
}

// keyOptions are those that may stand before a key (sshd(8), AUTHORIZED_KEYS FILE
// FORMAT), in small letters.
func keyOptions() []string {
	return []string{
		"agent-forwarding", "cert-authority", "command", "environment", "expiry-time", "from", "no-agent-forwarding",
		"no-port-forwarding", "no-pty", "no-touch-required", "no-user-rc", "no-x11-forwarding", "permitlisten", "permitopen",
		"port-forwarding", "principals", "pty", "restrict", "tunnel", "user-rc", "verify-required", "x11-forwarding",
	}
}

func publicKey(line string) (ssh.PublicKey, error) {
	switch {
	case strings.ContainsFunc(line, control):
		return nil, errors.New("it has a line break or another control character")
	case strings.HasPrefix(line, "#"):
		return nil, errors.New("it is a comment")
	case len(line) > 16<<10:
		return nil, errors.New("it is too long")
	}
	public, _, options, _, err := ssh.ParseAuthorizedKey([]byte(line))
	if err != nil {
		return nil, errors.New("there is no whole key in it")
	}
	for _, o := range options {
		name, _, _ := strings.Cut(strings.ToLower(o), "=")
		if !slices.Contains(keyOptions(), name) {
			return nil, fmt.Errorf("sshd knows no option %q before a key and would refuse the line", name)
		}
	}
	if _, certificate := public.(*ssh.Certificate); certificate {
		return nil, errors.New("it is a certificate")
	}
	return public, nil
}
