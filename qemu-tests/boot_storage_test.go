package qemutests

import (
	"context"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"trivet/qemu-tests/cluster"
)

// objectPath is where an object server keeps an object: disk d1, partition 7.
// No ring leads there yet; the server takes what it is given.
const objectPath = "/d1/7/AUTH_test/box/thing"

// TestBootStorageKeepsObjects boots a storage node, stores an object on its
// data disk, and reads it after a second boot.
func TestBootStorageKeepsObjects(t *testing.T) {
	c, l := machines(t, "storage"), newLab(t)
	n := c.AddNode("storage", l.options(c, "storage", cluster.Virtio))
	n.Start()
	n.WaitReady(readyTime)
	first := whoIs(t, n)
	checkUnits(t, n)
	checkSealed(t, n)
	checkDisk(t, n)
	for _, port := range []int{6200, 6201, 6202} {
		if status, body := swift(t, c, n, "GET", port, "/healthcheck", ""); status != http.StatusOK || body != "OK" {
			t.Errorf("healthcheck of port %d: status %d, %q; want 200, OK", port, status, body)
		}
	}
	if status, body := swift(t, c, n, "PUT", 6200, objectPath, "three legs"); status != http.StatusCreated {
		t.Fatalf("store an object: status %d: %s", status, body)
	}
	if out := n.Run(shellTime, "findmnt -no FSTYPE,LABEL /srv/node/d1"); strings.Join(strings.Fields(out), " ") != "xfs swift-d1" {
		t.Errorf("the data disk is mounted as %q, want xfs with the label swift-d1", out)
	}
	n.Stop(stopTime)
	n.Start()
	n.WaitReady(readyTime)
	if diff := cmp.Diff(first, whoIs(t, n)); diff != "" {
		t.Errorf("the second boot is another machine (-first +second):\n%s", diff)
	}
	if status, body := swift(t, c, n, "GET", 6200, objectPath, ""); status != http.StatusOK || body != "three legs" {
		t.Errorf("the object of the first boot: status %d, %q; want 200, three legs", status, body)
	}
}

// swift makes one request to a server of the node; the headers are those that a
// proxy gives with an object.
func swift(t *testing.T, c *cluster.Cluster, n *cluster.Node, method string, port int, path, body string) (int, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), c.Bound(answerTime))
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, "http://"+n.Address("", port)+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if method == "PUT" {
		req.Header.Set("X-Timestamp", "1767225600.00000")
		req.Header.Set("Content-Type", "text/plain")
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatalf("%s %s of port %d: %v", method, path, port, err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		t.Fatalf("%s %s of port %d: %v", method, path, port, err)
	}
	return resp.StatusCode, string(text)
}

// sortedLines are the lines of a text, for a comparison that does not care
// about their order.
func sortedLines(s string) []string {
	return slices.Sorted(strings.Lines(s))
}
