package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"trivet/firstboot/host"
	"trivet/firstboot/join"
	"trivet/firstboot/node"
	"trivet/firstboot/render"
	"trivet/roles"
)

const base = "/dev/shm/rmq"

type quorum struct {
	mu   sync.Mutex
	lock sync.Mutex
	envs map[string]join.Env
}
type kv struct {
	V []byte
	N uint64
}

func (q *quorum) load() map[string]kv {
	m := map[string]kv{}
	if d, err := os.ReadFile(base + "/quorum.json"); err == nil {
		_ = json.Unmarshal(d, &m)
	}
	return m
}
func (q *quorum) Get(ctx context.Context, key string) ([]byte, uint64, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	k := q.load()[key]
	return k.V, k.N, nil
}
func (q *quorum) Put(ctx context.Context, key string, v []byte, n uint64) (bool, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	m := q.load()
	if m[key].N != n {
		return false, nil
	}
	m[key] = kv{v, n + 1}
	d, _ := json.Marshal(m)
	fmt.Println("   quorum:", string(v))
	return true, os.WriteFile(base+"/quorum.json", d, 0o600)
}
func (q *quorum) Lock(ctx context.Context, name string) (context.Context, func(), error) {
	q.lock.Lock()
	return ctx, q.lock.Unlock, nil
}
func (q *quorum) Ask(ctx context.Context, n, step string) ([]byte, error) {
	e, ok := q.envs[n]
	if !ok {
		return nil, fmt.Errorf("silent")
	}
	for _, s := range join.All() {
		if s.Name == step {
			return s.Tell(ctx, e)
		}
	}
	return nil, nil
}

type box struct{ n string }

func (b box) in(ctx context.Context, user string, env []string, args ...string) ([]byte, error) {
	a := []string{"/tmp/w/rmq/in.sh", b.n}
	if user != "" {
		a = append(a, "/usr/bin/setpriv", "--reuid", "851", "--regid", "851", "--clear-groups")
	}
	a = append(append(append(a, "/usr/bin/env"), env...), args...)
	return host.System{}.Run(ctx, host.Command{Args: a, Timeout: 3 * time.Minute})
}
func (b box) listening(ctx context.Context) bool {
	out, _ := b.in(ctx, "", nil, "ss", "-Hltn", "sport = :5672")
	return len(out) > 0
}
func (b box) beam(ctx context.Context) bool {
	_, err := b.in(ctx, "", nil, "pgrep", "-x", "beam.smp")
	return err == nil
}
func (b box) Run(ctx context.Context, c host.Command) ([]byte, error) {
	line := strings.Join(c.Args, " ")
	switch {
	case strings.HasPrefix(line, "systemctl show"):
		switch {
		case !b.beam(ctx):
			return []byte("inactive"), nil
		case b.listening(ctx):
			return []byte("active"), nil
		}
		return []byte("activating"), nil
	case strings.HasPrefix(line, "systemctl start rabbit"):
		if b.listening(ctx) {
			return nil, nil
		}
		if !b.beam(ctx) {
			host.System{}.Run(ctx, host.Command{Args: []string{"sh", "-c", "cd /tmp/w/rmq && ./start.sh " + b.n}})
			time.Sleep(2 * time.Second)
		}
		for ctx.Err() == nil {
			if b.listening(ctx) {
				return nil, nil
			}
			if !b.beam(ctx) {
				return nil, &host.ExitError{Program: "systemctl", Code: 1, Stderr: "beam ended"}
			}
			time.Sleep(300 * time.Millisecond)
		}
		return nil, ctx.Err()
	case strings.HasPrefix(line, "systemctl stop"):
		b.in(ctx, "rabbitmq", []string{"HOME=/var/lib/rabbitmq"}, "/usr/lib/rabbitmq/bin/rabbitmqctl", "stop")
		b.in(ctx, "", nil, "pkill", "-9", "beam.smp")
		time.Sleep(300 * time.Millisecond)
		return nil, nil
	case strings.HasPrefix(line, "systemctl"), strings.HasPrefix(line, "journalctl"):
		return nil, nil
	}
	t := time.Now()
	out, err := b.in(ctx, c.User, c.Env, c.Args...)
	if !strings.Contains(line, "peers.sh") {
		fmt.Printf("   c%s %.1fs: %.100s → %.60q %v\n", b.n, time.Since(t).Seconds(), line, out, err)
	}
	return out, err
}

func main() {
	began := time.Now()
	q := &quorum{envs: map[string]join.Env{}}
	ctrl := []node.Member{}
	for i := 1; i <= 3; i++ {
		ctrl = append(ctrl, node.Member{Name: fmt.Sprintf("c%d", i), Address: netip.MustParseAddr(fmt.Sprintf("10.77.0.1%d", i))})
	}
	var all sync.WaitGroup
	for _, r := range os.Args[1] {
		n := string(r)
		root := base + "/c" + n + "/m"
		cfg := node.Config{
			Cluster: "lab", Name: "c" + n, Role: node.Controller, Controllers: ctrl,
			Address: netip.MustParsePrefix("10.77.0.1" + n + "/24"), VIP: netip.MustParsePrefix("10.77.0.100/24"),
			Settings: node.Settings{RabbitMQ: node.RabbitMQSettings{Schedulers: 1, Memory: 400 << 20}},
			Secrets:  map[string]node.Secret{"rabbitmq/cookie": node.NewSecret("base-cookie"), "rabbitmq/openstack": node.NewSecret("pw")},
		}
		files := map[string][]byte{}
		for to, from := range map[string]string{"ca.crt": "ca.crt", "node.crt": "c" + n + ".crt", "node.key": "c" + n + ".key"} {
			files["pki/rabbit/"+to], _ = os.ReadFile("/tmp/w/rmq/pki/" + from)
		}
		os.RemoveAll(root + "/etc/rabbitmq")
		os.MkdirAll(root+"/etc/rabbitmq", 0o755)
		os.RemoveAll(root + "/run/rabbitmq-tls")
		tree := base + "/ov"
		written, err := render.Files(tree, root, render.Data{Config: cfg, TLS: os.Getenv("PLAIN") == ""}, []string{"rabbitmq/openstack"})
		if err != nil {
			panic(err)
		}
		for _, w := range written {
			os.Chmod(filepath.Join(root, w), 0o644)
		}
		e := join.Env{
			Root: root, Node: cfg, Files: files, Image: "i", Host: box{n}, Quorum: q,
			Service: roles.Service{Name: "rabbitmq", Join: "rabbitmq", Units: []string{"rabbitmq-server.service"}, Health: []roles.Check{{Unit: "rabbitmq-server.service"}, {Run: []string{"/bin/sh", "/etc/rabbitmq/peers.sh"}}}},
			IDs: func(o, g string) (int, int, error) {
				id := map[string]int{"rabbitmq": 851, "root": 0, "": -1}
				return id[o], id[g], nil
			},
			Report: func(f string, a ...any) {
				fmt.Printf("%5.1f c%s: %s\n", time.Since(began).Seconds(), n, fmt.Sprintf(f, a...))
			},
		}
		q.envs["c"+n] = e
	}
	for _, r := range os.Args[1] {
		n := string(r)
		all.Go(func() {
			err := join.Up(context.Background(), q.envs["c"+n])
			fmt.Printf("%5.1f c%s: UP %v\n", time.Since(began).Seconds(), n, err)
		})
	}
	all.Wait()
	for n, e := range q.envs {
		for _, s := range join.All() {
			if s.Name == "rabbitmq" {
				d, err := s.Tell(context.Background(), e)
				fmt.Println(n, string(d), err)
			}
		}
	}
}
