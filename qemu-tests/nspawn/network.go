package nspawn

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"

	"golang.org/x/sys/unix"
)

// start starts a program from a thread that lives as long as the test: the
// kernel kills the program with the thread that made it (PR_SET_PDEATHSIG).
func start(cmd *exec.Cmd) error {
	failed := make(chan error)
	go func() {
		runtime.LockOSThread()
		failed <- cmd.Start()
		select {} // keeps the thread
	}()
	return <-failed
}

// Cut unplugs the node's card. Heal plugs it in again.
func (n *Node) Cut() { n.w.in("switch", "link", "set", "p"+n.Name, "down") }

// Heal plugs the node's card in again.
func (n *Node) Heal() { n.w.in("switch", "link", "set", "p"+n.Name, "up") }

// A Client is a machine on the world's network that is no node.
type Client struct {
	space string
}

// AddClient puts a machine on the network.
func (w *World) AddClient(name, mac string, address netip.Prefix) *Client {
	w.t.Helper()
	w.plug(name, mac)
	w.in(name, "addr", "add", address.String(), "dev", "host0")
	w.in(name, "link", "set", "host0", "up")
	return &Client{space: w.space(name)}
}

// Dial connects from the client to an address, without names.
func (c *Client) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	return dialFrom(ctx, c.space, network, address)
}

// Dial connects from the node to an address, without names.
func (n *Node) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	return dialFrom(ctx, n.w.space(n.Name), network, address)
}

// dialFrom connects from a network namespace.
func dialFrom(ctx context.Context, from, network, address string) (net.Conn, error) {
	type result struct {
		conn net.Conn
		err  error
	}
	done := make(chan result, 1)
	go func() {
		// The thread ends with this goroutine, since it is never unlocked: nothing
		// else may run in that namespace.
		runtime.LockOSThread()
		space, err := os.Open("/run/netns/" + from)
		if err == nil {
			err = unix.Setns(int(space.Fd()), unix.CLONE_NEWNET)
			space.Close()
		}
		if err != nil {
			done <- result{nil, fmt.Errorf("enter the network %s: %w", from, err)}
			return
		}
		var d net.Dialer
		conn, err := d.DialContext(ctx, network, address)
		done <- result{conn, err}
	}()
	r := <-done
	return r.conn, r.err
}
