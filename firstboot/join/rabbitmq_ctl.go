package join

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"trivet/firstboot/host"
)

// rabbitCtlTimeout bounds one run of a RabbitMQ tool. Each boots an Erlang
// machine of its own: a second on a plain core, a minute on an emulated one.
const rabbitCtlTimeout = 3 * time.Minute

// rabbitCtl runs rabbitmqctl as the user whose cookie and key it needs; the
// wrapper in /usr/sbin would go through su and PAM.
func rabbitCtl(ctx context.Context, env Env, args ...string) ([]byte, error) {
	return env.Run(ctx, host.Command{
		Args: append([]string{"/usr/lib/rabbitmq/bin/rabbitmqctl", "--quiet"}, args...),
		Env:  []string{"HOME=" + rabbitHome}, User: "rabbitmq", Timeout: rabbitCtlTimeout,
	})
}

// rabbitForget lets a member that runs drop this node from the cluster, from
// Khepri and from every queue. A member that just came back empty under its old
// name would be taken for the one that it was: RabbitMQ 4.0.5 starts its
// replicas anew and lets them vote, though they forgot what they had
// acknowledged.
func rabbitForget(ctx context.Context, env Env, peer string) error {
	_, err := rabbitCtl(ctx, env, "--node", rabbitNode(peer), "forget_cluster_node", rabbitNode(env.Node.Name))
	// Exit code 69 and this word: it is not there, which is what we want.
	if exit := (*host.ExitError)(nil); errors.As(err, &exit) && strings.Contains(exit.Stderr, "not_a_cluster_node") {
		return nil
	}
	if err != nil {
		return fmt.Errorf("let %s forget this node's old queue: %w", peer, err)
	}
	return nil
}

// rabbitKhepri moves a broker that has nobody beside it from Mnesia to Khepri.
// Measured with 4.0.5 and SIGKILL of all: with Khepri, two of three are back
// after 7 s; with Mnesia, the default, they wait for the third for ever.
func rabbitKhepri(ctx context.Context, env Env) error {
	if _, err := rabbitCtl(ctx, env, "enable_feature_flag", "--opt-in", "khepri_db"); err != nil {
		return fmt.Errorf("switch the queue to Khepri: %w", err)
	}
	return nil
}

// rabbitStreams gives this node a replica of every stream. Quorum queues get
// theirs by themselves ten seconds after a member joined (measured; the
// continuous membership reconciliation); streams never do, and their users on
// this node are refused ("does not have a running replica on the local node").
func rabbitStreams(ctx context.Context, env Env) error {
	const expression = `Failed = [R || Q <- rabbit_amqqueue:list(), amqqueue:get_type(Q) =:= rabbit_stream_queue, ` +
		`not lists:member(node(), maps:get(nodes, amqqueue:get_type_state(Q))), {resource, V, queue, N} <- [amqqueue:get_name(Q)], ` +
		`R <- [rabbit_stream_queue:add_replica(V, N, node())], R =/= ok], length(Failed).`
	out, err := rabbitCtl(ctx, env, "eval", expression)
	if err != nil {
		return fmt.Errorf("give the streams a replica here: %w", err)
	}
	if n := strings.TrimSpace(string(out)); n != "" && n != "0" {
		return fmt.Errorf("give the streams a replica here: %.20q of them refuse", n)
	}
	return nil
}

// rabbitMembers returns the names of the controllers that are in one cluster
// with this node's broker, as this one sees it.
func rabbitMembers(ctx context.Context, env Env) ([]string, error) {
	out, err := rabbitCtl(ctx, env, "cluster_status", "--formatter", "json")
	if err != nil {
		return nil, fmt.Errorf("ask the queue for its members: %w", err)
	}
	return parseRabbitMembers(out)
}

// parseRabbitMembers reads what `rabbitmqctl cluster_status --formatter json`
// prints. host.Run bounds its length.
func parseRabbitMembers(out []byte) ([]string, error) {
	var status struct {
		Disk []string `json:"disk_nodes"`
	}
	if err := json.Unmarshal(out, &status); err != nil {
		return nil, fmt.Errorf("read the queue's status: %w", err)
	}
	var names []string
	for _, n := range status.Disk {
		name, ok := strings.CutPrefix(n, "rabbit@")
		if !ok || name == "" {
			return nil, fmt.Errorf("read the queue's status: %.80q is no node of ours", n)
		}
		names = append(names, name)
	}
	return names, nil
}

// rabbitNode is the name of a controller's Erlang node.
func rabbitNode(name string) string { return "rabbit@" + name }
