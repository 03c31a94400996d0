package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"trivet/firstboot/enroll/cloud"
	"trivet/firstboot/status"
)

func TestAskAll(t *testing.T) {
	state := status.State{
		Node: "ctl1", Ready: false, VIP: "127.0.0.9", HoldsVIP: true, Image: "0123456789abcdef0123",
		Unfinished: []status.Open{{Step: "mariadb", State: status.Waiting, Message: "ctl2 is silent\nmore", Since: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}},
		Unwell:     map[string]string{"keystone": "GET answers 500"},
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/status" {
			t.Errorf("asked for %s", r.URL.Path)
		}
		_ = json.NewEncoder(w).Encode(state)
	}))
	defer server.Close()
	at, err := netip.ParseAddrPort(server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	node := func(name, address string) cloud.Node {
		return cloud.Node{Name: name, Role: "controller", Addresses: map[string]netip.Prefix{cloud.Management: netip.MustParsePrefix(address + "/8")}}
	}
	answers := askAll(t.Context(), []cloud.Node{node("ctl1", at.Addr().String()), node("ctl2", "127.0.0.99")}, int(at.Port()))
	if bad := notReady(answers); strings.Join(bad, " ") != "ctl1 ctl2" {
		t.Errorf("not ready: %v", bad)
	}
	var out strings.Builder
	if err := writeAnswers(&out, answers); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"ctl1  controller  no      127.0.0.9   0123456789abcdef\n", "ctl2  controller  silent",
		"ctl1: mariadb: waiting since 2026-01-02T03:04:05Z: ctl2 is silent\n", "ctl1: keystone: unwell: GET answers 500\n",
		"ctl2: ask an agent for its state: ", "127.0.0.99:" + strconv.Itoa(int(at.Port())),
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, &out)
		}
	}
}
