package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
)

// Address returns where a forwarded port of the running machine is reached
// from here, as host:port. ip "" is the machine's own address.
func (n *Node) Address(ip string, port int) string {
	n.c.t.Helper()
	if ip == "" {
		ip = guestIP
	}
	if n.run == nil {
		n.c.t.Fatalf("reach %s:%d of %s: the machine is off", ip, port, n.name)
	}
	ctx, cancel := context.WithTimeout(n.c.ctx, greetTime)
	defer cancel()
	raw, err := n.run.qmp.Execute(ctx, "human-monitor-command", map[string]string{"command-line": "info usernet"})
	if err != nil {
		n.fatal("reach %s:%d of %s: %v", ip, port, n.name, err)
	}
	var text string
	if err := json.Unmarshal(raw, &text); err != nil {
		n.fatal("reach %s:%d of %s: %v", ip, port, n.name, err)
	}
	from, err := hostPort(text, ip, port)
	if err != nil {
		n.fatal("reach a port of %s: %v", n.name, err)
	}
	return "127.0.0.1:" + from
}

// forwardLine is a row of QEMU's "info usernet": protocol and state,
// descriptor, host address and port, guest address and port, queues.
var forwardLine = regexp.MustCompile(`(?m)^\s*TCP\[HOST_FORWARD\]\s+\S+\s+127\.0\.0\.1\s+(\d+)\s+(\S+)\s+(\d+)\s`)

func hostPort(usernet, ip string, port int) (string, error) {
	for _, m := range forwardLine.FindAllStringSubmatch(usernet, -1) {
		if m[2] == ip && m[3] == fmt.Sprint(port) && m[1] != "0" {
			return m[1], nil
		}
	}
	return "", fmt.Errorf("find the forward to %s:%d: QEMU has none in %.500q", ip, port, usernet)
}
