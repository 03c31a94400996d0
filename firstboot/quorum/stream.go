package quorum

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/hashicorp/raft"
)

// A preamble begins a connection of Raft's. It binds what follows to the disks
// at both ends and to the cluster: Raft itself sends a vote to an address and
// does not ask whether the one who had promised there has forgotten.
type preamble struct {
	Cluster string `json:"cluster"` // its founding's id
	From    string `json:"from"`    // identity
	To      string `json:"to"`      // identity
}

// maxPreamble bounds a preamble and its answer, in bytes.
const maxPreamble = 512

// A preambleCheck answers whether this node is the one that a preamble means.
type preambleCheck func(p preamble) error

// decodePreamble reads a preamble of a controller.
func decodePreamble(line []byte, peer string) (preamble, error) {
	var p preamble
	if len(line) > maxPreamble || json.Unmarshal(line, &p) != nil {
		return preamble{}, errors.New("no preamble")
	}
	_, _, from := splitIdentity(p.From)
	_, _, to := splitIdentity(p.To)
	if !from || !to || !digestForm.MatchString(p.Cluster) || nameOf(p.From) != peer {
		return preamble{}, errors.New("a preamble of somebody else")
	}
	return p, nil
}

// readPreamble lets a connection in or says why not.
func readPreamble(c net.Conn, peer string, accept preambleCheck) error {
	_ = c.SetDeadline(time.Now().Add(handshakeTimeout))
	line, err := readLine(c)
	if err != nil {
		return err
	}
	p, err := decodePreamble(line, peer)
	if err == nil {
		err = accept(p)
	}
	answer := "ok\n"
	if err != nil {
		answer = err.Error() + "\n"
	}
	if _, writeErr := io.WriteString(c, answer); writeErr != nil || err != nil {
		return errors.Join(err, writeErr)
	}
	return c.SetDeadline(time.Time{})
}

// readLine reads up to a line's end and not one byte more.
func readLine(r io.Reader) ([]byte, error) {
	var line []byte
	one := make([]byte, 1)
	for len(line) < maxPreamble {
		if _, err := io.ReadFull(r, one); err != nil {
			return nil, err
		}
		if one[0] == '\n' {
			return line, nil
		}
		line = append(line, one[0])
	}
	return nil, errors.New("a line without end")
}

// A stream is Raft's StreamLayer: its addresses are identities.
type stream struct {
	*queue
	port *port
	mine preamble // with From and Cluster
}

// identityAddr is an identity where a net.Addr is wanted.
type identityAddr string

// Network is a name that no other address has.
func (identityAddr) Network() string { return "trivet" }

func (a identityAddr) String() string { return string(a) }

// Addr is this node's identity.
func (s *stream) Addr() net.Addr { return identityAddr(s.mine.From) }

// Dial connects to the disk of an identity.
func (s *stream) Dial(address raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	to := string(address)
	name, incarnation, ok := splitIdentity(to)
	if !ok || incarnation == absent {
		return nil, fmt.Errorf("connect to %s: it was never there", to)
	}
	c, err := s.port.trust.dial(s.port.ctx, name, protocolRaft, timeout)
	if err != nil {
		return nil, err
	}
	p := s.mine
	p.To = to
	if err := sendPreamble(c, p, timeout); err != nil {
		c.Close()
		return nil, fmt.Errorf("connect to %s: %w", to, err)
	}
	return c, nil
}

func sendPreamble(c net.Conn, p preamble, timeout time.Duration) error {
	_ = c.SetDeadline(time.Now().Add(timeout))
	data, err := json.Marshal(p)
	if err != nil {
		return err
	}
	if _, err := c.Write(append(data, '\n')); err != nil {
		return err
	}
	answer, err := readLine(c)
	if err != nil {
		return err
	}
	if string(answer) != "ok" {
		return fmt.Errorf("it answered %q", answer)
	}
	return c.SetDeadline(time.Time{})
}
