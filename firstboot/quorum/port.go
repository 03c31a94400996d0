package quorum

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Limits of the port.
const (
	maxConnections   = 64 // all from addresses of controllers
	handshakeTimeout = 5 * time.Second
	idleTimeout      = 2 * time.Minute
)

// A port takes the connections of the other controllers and gives each to what
// speaks its protocol.
type port struct {
	ctx      context.Context // ends what this side dials
	trust    *trust
	listener net.Listener
	raft     *stream
	rpc      *queue
	slots    chan struct{}
	accept   preambleCheck

	mu     sync.Mutex
	open   map[net.Conn]bool
	closed bool
	tasks  sync.WaitGroup
}

func listen(ctx context.Context, t *trust, accept preambleCheck) (*port, error) {
	config := net.ListenConfig{Control: beforeAddress}
	l, err := config.Listen(ctx, "tcp", t.addresses[t.self].String())
	if err != nil {
		return nil, fmt.Errorf("listen for the other controllers: %w", err)
	}
	p := &port{ctx: ctx, trust: t, listener: l, accept: accept, slots: make(chan struct{}, maxConnections), open: map[net.Conn]bool{}}
	p.raft = &stream{queue: newQueue(l.Addr()), port: p}
	p.rpc = newQueue(l.Addr())
	return p, nil
}

// beforeAddress lets a socket be bound to an address that the node does not have
// yet: the network may come up later, or go for a while.
func beforeAddress(_, _ string, c syscall.RawConn) error {
	var err error
	if controlErr := c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_IP, unix.IP_FREEBIND, 1) }); controlErr != nil {
		return controlErr
	}
	return err
}

// serve takes connections until the port is closed.
func (p *port) serve(h http.Handler) {
	server := &http.Server{
		Handler: h, ReadHeaderTimeout: handshakeTimeout, ReadTimeout: 2 * handshakeTimeout, WriteTimeout: 6 * handshakeTimeout, IdleTimeout: idleTimeout,
		MaxHeaderBytes: 8 << 10, ConnContext: withPeer, ErrorLog: discardLog(),
	}
	p.tasks.Go(func() { _ = server.Serve(p.rpc) })
	for {
		p.slots <- struct{}{}
		c, err := p.listener.Accept()
		if err != nil {
			<-p.slots
			if p.isClosed() {
				break
			}
			time.Sleep(100 * time.Millisecond) // out of file descriptors, which may pass
			continue
		}
		if !p.trust.near(c.RemoteAddr()) {
			c.Close()
			<-p.slots
			continue
		}
		counted := &slotted{Conn: c, free: sync.OnceFunc(func() { p.forget(c); <-p.slots })}
		if !p.remember(c) {
			counted.Close()
			continue
		}
		p.tasks.Go(func() { p.greet(counted) })
	}
	_ = server.Close()
	p.tasks.Wait()
}

// greet finds out who calls and for what.
func (p *port) greet(raw net.Conn) {
	c := tls.Server(raw, p.trust.server())
	ctx, cancel := context.WithTimeout(context.Background(), handshakeTimeout)
	defer cancel()
	if c.HandshakeContext(ctx) != nil {
		raw.Close()
		return
	}
	peer, err := p.trust.peer(c.ConnectionState())
	switch {
	case err != nil:
		raw.Close()
	case c.ConnectionState().NegotiatedProtocol == protocolRPC:
		p.rpc.give(&known{c, peer})
	case readPreamble(c, peer, p.accept) != nil:
		raw.Close()
	default:
		p.raft.give(c)
	}
}

// A known is a connection of a controller. It hides that it is TLS from the HTTP
// server, which would close it for a protocol that it does not know.
type known struct {
	net.Conn
	peer string
}

// peerKey is where a request's context has the name of the controller.
type peerKey struct{}

func withPeer(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, peerKey{}, c.(*known).peer)
}

func (p *port) remember(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.closed {
		p.open[c] = true
	}
	return !p.closed
}

func (p *port) forget(c net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.open, c)
}

func (p *port) isClosed() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.closed
}

// close ends the port and every connection that came in through it.
func (p *port) close() {
	p.mu.Lock()
	p.closed = true
	for c := range p.open {
		c.Close()
	}
	p.mu.Unlock()
	p.listener.Close()
	p.raft.Close()
	p.rpc.Close()
}

// slotted gives its place back when it is closed.
type slotted struct {
	net.Conn
	free func()
}

func (s *slotted) Close() error {
	err := s.Conn.Close()
	s.free()
	return err
}

// A queue is a listener that is fed.
type queue struct {
	address net.Addr
	conns   chan net.Conn
	done    chan struct{}
	end     func()
}

func newQueue(a net.Addr) *queue {
	q := &queue{address: a, conns: make(chan net.Conn), done: make(chan struct{})}
	q.end = sync.OnceFunc(func() { close(q.done) })
	return q
}

func (q *queue) give(c net.Conn) {
	select {
	case q.conns <- c:
	case <-q.done:
		c.Close()
	}
}

// Accept returns the next connection.
func (q *queue) Accept() (net.Conn, error) {
	select {
	case c := <-q.conns:
		return c, nil
	case <-q.done:
		return nil, net.ErrClosed
	}
}

// Close ends Accept.
func (q *queue) Close() error {
	q.end()
	return nil
}

// Addr is where the port listens.
func (q *queue) Addr() net.Addr { return q.address }
