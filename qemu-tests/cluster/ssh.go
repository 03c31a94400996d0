package cluster

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"net"
	"time"

	"golang.org/x/crypto/ssh"
)

// sshPort is forwarded on every node, to look into it as its operator would.
const sshPort = 22

// sshTime bounds the way to a shell: connection, keys, login.
const sshTime = 20 * time.Second

// newKey makes the operator's key of a cluster.
func newKey() (ssh.Signer, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make an SSH key: %w", err)
	}
	return ssh.NewSignerFromKey(key)
}

// AuthorizedKey returns the cluster's public key as a line of authorized_keys,
// for a seed. Node.Run logs in with it.
func (c *Cluster) AuthorizedKey() string {
	return string(bytes.TrimSpace(ssh.MarshalAuthorizedKey(c.key.PublicKey()))) + " qemu-tests"
}

// Run runs a shell command as root on the node and returns what it printed,
// both streams; a command that fails, or takes longer than the bound, fails
// the test.
func (n *Node) Run(bound time.Duration, command string) string {
	n.c.t.Helper()
	address := n.Address("", sshPort)
	ctx, cancel := context.WithTimeout(n.c.ctx, n.c.Bound(sshTime)+n.c.Bound(bound))
	defer cancel()
	out, err := n.shell(ctx, address, command)
	if err != nil {
		n.c.t.Fatalf("run %q on %s: %v\n%s", command, n.name, err, out)
	}
	return out
}

// HostKey returns the fingerprint of the key that the node's SSH server showed
// at the last Run.
func (n *Node) HostKey() string { return n.hostKey }

func (n *Node) shell(ctx context.Context, address, command string) (string, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return "", err
	}
	// x/crypto/ssh knows no context: closing the connection ends all that waits.
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	client, err := n.login(conn, address)
	if err != nil {
		conn.Close()
		return "", fmt.Errorf("log in at %s: %w", address, err)
	}
	defer client.Close()
	session, err := client.NewSession()
	if err != nil {
		return "", fmt.Errorf("open a session: %w", err)
	}
	defer session.Close()
	out, err := session.CombinedOutput(command)
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return string(out), err
}

// login trusts the key that the node shows: nobody else can answer at the
// forwarded port. Tests compare the key over boots.
func (n *Node) login(conn net.Conn, address string) (*ssh.Client, error) {
	c, channels, requests, err := ssh.NewClientConn(conn, address, &ssh.ClientConfig{
		User: "root", Auth: []ssh.AuthMethod{ssh.PublicKeys(n.c.key)},
		HostKeyCallback: func(_ string, _ net.Addr, key ssh.PublicKey) error {
			n.hostKey = ssh.FingerprintSHA256(key)
			return nil
		},
	})
	if err != nil {
		return nil, err
	}
	return ssh.NewClient(c, channels, requests), nil
}
