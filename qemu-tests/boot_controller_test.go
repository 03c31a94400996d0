package qemutests

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"trivet/qemu-tests/cluster"
)

// answerTime bounds one request to a ready node; a token takes a second of a
// real core.
const answerTime = 20 * time.Second

// TestBootControllerKeepsItsCloud boots a controller, uses its cloud from
// outside, turns it off and on again, and finds the same machine and the same
// cloud.
func TestBootControllerKeepsItsCloud(t *testing.T) {
	c, l := machines(t, "controller"), newLab(t)
	n := c.AddNode("controller", l.options(c, "controller", cluster.Virtio))
	n.Start()
	n.WaitReady(readyTime)
	first := whoIs(t, n)
	checkUnits(t, n)
	checkSealed(t, n)
	checkDisk(t, n)

	token := l.token(t, c, n)
	const project = `{"project": {"name": "kept", "domain_id": "default"}}`
	if status, body := keystone(t, c, n, "POST", "/v3/projects", token, project); status != http.StatusCreated {
		t.Fatalf("make a project: status %d: %s", status, body)
	}
	checkDatabase(t, c, n)
	checkQueue(t, c, n)

	n.Stop(stopTime)
	n.Start()
	n.WaitReady(readyTime)
	if diff := cmp.Diff(first, whoIs(t, n)); diff != "" {
		t.Errorf("the second boot is another machine (-first +second):\n%s", diff)
	}
	_, body := keystone(t, c, n, "GET", "/v3/projects?name=kept", l.token(t, c, n), "")
	if !strings.Contains(body, `"name": "kept"`) && !strings.Contains(body, `"name":"kept"`) {
		t.Errorf("the project of the first boot is gone: %s", body)
	}
	checkUnits(t, n)
}

// token asks keystone, through HAProxy on the virtual IP, as any client would.
func (l lab) token(t *testing.T, c *cluster.Cluster, n *cluster.Node) string {
	t.Helper()
	domain := map[string]string{"id": "default"}
	ask, err := json.Marshal(map[string]any{"auth": map[string]any{
		"identity": map[string]any{"methods": []string{"password"}, "password": map[string]any{
			"user": map[string]any{"name": "admin", "domain": domain, "password": l.secrets["keystone/admin"]},
		}},
		"scope": map[string]any{"project": map[string]any{"name": "admin", "domain": domain}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), c.Bound(answerTime))
	defer cancel()
	url := "http://" + n.Address(virtualIP, 5000) + "/v3/auth/tokens"
	req, err := http.NewRequestWithContext(ctx, "POST", url, bytes.NewReader(ask))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatalf("ask for a token: %v", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	token := resp.Header.Get("X-Subject-Token")
	if resp.StatusCode != http.StatusCreated || token == "" || err != nil {
		t.Fatalf("ask for a token: status %s, token of %d characters (%v): %s", resp.Status, len(token), err, body)
	}
	return token
}

// keystone makes one request with a token and returns status and body.
func keystone(t *testing.T, c *cluster.Cluster, n *cluster.Node, method, path, token, body string) (int, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), c.Bound(answerTime))
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, "http://"+n.Address(virtualIP, 5000)+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Auth-Token", token)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	return resp.StatusCode, string(text)
}

// checkDatabase asks for the first packet of MariaDB's protocol on the virtual
// IP, and its member state on the node itself.
func checkDatabase(t *testing.T, c *cluster.Cluster, n *cluster.Node) {
	t.Helper()
	if hello := talk(t, c, n, 3306, ""); !strings.Contains(hello, "MariaDB") {
		t.Errorf("port 3306 of the virtual IP says %q, want MariaDB's greeting", hello)
	}
	out := n.Run(shellTime, `mariadb --batch --skip-column-names -e "SHOW STATUS WHERE Variable_name IN ('wsrep_cluster_size', 'wsrep_cluster_status', 'wsrep_local_state_comment', 'wsrep_ready')"`)
	want := "wsrep_local_state_comment\tSynced\nwsrep_cluster_size\t1\nwsrep_cluster_status\tPrimary\nwsrep_ready\tON\n"
	if diff := cmp.Diff(sortedLines(want), sortedLines(out)); diff != "" {
		t.Errorf("Galera's state (-want +got):\n%s", diff)
	}
}

// checkQueue greets RabbitMQ on the virtual IP (AMQP 0-9-1, section 4.2.2: the
// protocol header, answered by Connection.Start with the server's properties).
func checkQueue(t *testing.T, c *cluster.Cluster, n *cluster.Node) {
	t.Helper()
	if hello := talk(t, c, n, 5672, "AMQP\x00\x00\x09\x01"); !strings.Contains(hello, "RabbitMQ") {
		t.Errorf("port 5672 of the virtual IP says %q, want RabbitMQ's Connection.Start", hello)
	}
	if out := n.Run(2*shellTime, "systemctl is-active rabbitmq-server.service"); strings.TrimSpace(out) != "active" {
		t.Errorf("rabbitmq-server is %q, want active", out)
	}
}

// talk sends a greeting to a port of the virtual IP and returns the beginning
// of the answer.
func talk(t *testing.T, c *cluster.Cluster, n *cluster.Node, port int, greeting string) string {
	t.Helper()
	conn, err := net.DialTimeout("tcp", n.Address(virtualIP, port), answerTime)
	if err != nil {
		t.Errorf("connect to port %d of the virtual IP: %v", port, err)
		return ""
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(c.Bound(answerTime))) // a TCP connection has deadlines
	if _, err := io.WriteString(conn, greeting); err != nil {
		t.Errorf("greet port %d of the virtual IP: %v", port, err)
		return ""
	}
	buf := make([]byte, 512)
	got, err := io.ReadAtLeast(conn, buf, 32)
	if err != nil {
		t.Errorf("read from port %d of the virtual IP: %v after %d bytes", port, err, got)
	}
	return string(buf[:got])
}
