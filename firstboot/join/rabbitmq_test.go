package join

import (
	"os"
	"testing"
)

func TestRabbitMQ(t *testing.T) {
	m, env := controller(t, "rabbitmq", "rabbitmq-server.service")
	m.put("/var/lib/rabbitmq/.erlang.cookie", "that of the image")
	if err := rabbitmq().Do(t.Context(), env); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(env.Path("/var/lib/rabbitmq/.erlang.cookie"))
	if err != nil || info.Mode().Perm() != 0o400 || m.read("/var/lib/rabbitmq/.erlang.cookie") != "canary-rabbitmq-cookie" {
		t.Errorf("cookie: %v %v", info.Mode(), err)
	}
	if m.read(rabbitFormed) == "missing" {
		t.Error("nothing tells that the queue ran")
	}
	if done, err := rabbitmq().Done(t.Context(), env); !done || err != nil {
		t.Errorf("done %t %v", done, err)
	}
}

// TestRabbitMQHalfMade: a queue that never ran begins anew; one that ran is
// never thrown away.
func TestRabbitMQHalfMade(t *testing.T) {
	m, env := controller(t, "rabbitmq", "rabbitmq-server.service")
	m.put("/var/lib/rabbitmq/mnesia/rabbit@ctl1/schema.DAT", "half")
	m.fails["systemctl start"] = 1
	if err := rabbitmq().Do(t.Context(), env); err != nil {
		t.Fatal(err)
	}
	if m.read("/var/lib/rabbitmq/mnesia/rabbit@ctl1/schema.DAT") != "missing" {
		t.Error("the half schema stays")
	}
	m.put("/var/lib/rabbitmq/mnesia/rabbit@ctl1/schema.DAT", "whole")
	m.fails["systemctl start"] = 1
	if err := rabbitmq().Do(t.Context(), env); err == nil {
		t.Error("a start that failed is called good")
	}
	if m.read("/var/lib/rabbitmq/mnesia/rabbit@ctl1/schema.DAT") != "whole" {
		t.Error("the queue's data was thrown away")
	}
}
