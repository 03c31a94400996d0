package join

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"trivet/firstboot/host"
	"trivet/firstboot/node"
	"trivet/roles"
)

// A rabbitWorld is a cloud of controllers whose brokers are played: who founds a
// cluster alone makes a new one, who joins becomes a part of its peer's, and one
// that has less than half of its members does not start.
type rabbitWorld struct {
	t       *testing.T
	random  *rand.Rand
	quorum  *memoryQuorum
	boxes   []*rabbitBox
	clock   time.Time
	members map[int][]string // of each cluster that was ever founded
	danger  float64          // how likely the power is cut before a program runs
	depth   int              // of steps within steps

	mu sync.Mutex
}

// A rabbitBox is one controller.
type rabbitBox struct {
	world   *rabbitWorld
	name    string
	env     Env
	member  *rabbitMember
	up      bool // the machine
	running bool // its broker
}

func newRabbitWorld(t *testing.T, seed uint64, names ...string) *rabbitWorld {
	w := &rabbitWorld{
		t: t, random: rand.New(rand.NewPCG(seed, 1)), quorum: newMemoryQuorum(),
		clock: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), members: map[int][]string{},
	}
	root := memoryDir(t)
	var all []node.Member
	for _, name := range names {
		all = append(all, node.Member{Name: name})
	}
	for _, name := range names {
		b := &rabbitBox{world: w, name: name}
		b.env = Env{
			Root: filepath.Join(root, name), Host: b, Quorum: rabbitQuorum{w.quorum, b},
			Service: roles.Service{Name: "rabbitmq", Units: []string{"rabbitmq-server.service"}},
			Node:    node.Config{Name: name, Controllers: all, Secrets: map[string]node.Secret{"rabbitmq/cookie": node.NewSecret("cookie")}},
			IDs:     func(string, string) (int, int, error) { return os.Getuid(), os.Getgid(), nil },
			Report:  func(string, ...any) {},
		}
		w.boxes = append(w.boxes, b)
		w.quorum.tell[name] = func(string) ([]byte, error) {
			if !b.up {
				return nil, errors.New("no answer")
			}
			return rabbitTell(context.Background(), b.env)
		}
	}
	return w
}

// memoryDir returns a folder that goes with the test, in memory where there is
// one: each file of a node is synced, which is slow on a disk.
func memoryDir(t *testing.T) string {
	dir, err := os.MkdirTemp("/dev/shm", "trivet")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func (w *rabbitWorld) box(name string) *rabbitBox {
	return w.boxes[slices.IndexFunc(w.boxes, func(b *rabbitBox) bool { return b.name == name })]
}

func (b *rabbitBox) boot() {
	b.up = true
	b.member = newRabbitMember(b.env)
	b.member.patience.now = func() time.Time { return b.world.clock }
}

func (b *rabbitBox) cut() { b.up, b.running = false, false }

func (b *rabbitBox) wipe() {
	b.cut()
	if err := os.RemoveAll(b.env.Root); err != nil {
		b.world.t.Fatal(err)
	}
}

// instance returns the cluster that the data on the disk is of, 0 for none.
func (b *rabbitBox) instance() int {
	data, err := os.ReadFile(b.env.Path(rabbitData + "/rabbit@" + b.name + "/instance"))
	if err != nil {
		return 0
	}
	n, err := strconv.Atoi(string(data))
	if err != nil {
		b.world.t.Fatal(err)
	}
	return n
}

func (b *rabbitBox) setInstance(n int) {
	if err := b.env.WriteFile(rabbitData+"/rabbit@"+b.name+"/instance", []byte(strconv.Itoa(n)), 0o600, "", ""); err != nil {
		b.world.t.Fatal(err)
	}
}

func (b *rabbitBox) cookie() string {
	data, _ := os.ReadFile(b.env.Path(rabbitHome + "/.erlang.cookie"))
	return string(data)
}

// works answers whether more than half of a cluster's members have their data,
// on machines that are up.
func (w *rabbitWorld) works(instance int) bool {
	n := 0
	for _, name := range w.members[instance] {
		if b := w.box(name); b.up && b.instance() == instance {
			n++
		}
	}
	return 2*n > len(w.members[instance])
}

// Run plays systemd, RabbitMQ and its tools; before that, the power may be cut or
// another controller take a step.
func (b *rabbitBox) Run(_ context.Context, c host.Command) ([]byte, error) {
	w, line := b.world, strings.Join(c.Args, " ")
	if strings.HasPrefix(line, "systemctl show") || strings.HasPrefix(line, "/bin/sh") {
		if b.up && b.running {
			return []byte("active"), nil
		}
		return []byte("inactive"), nil
	}
	w.mu.Lock()
	cut, other := w.random.Float64() < w.danger, w.random.Float64() < w.danger
	w.mu.Unlock()
	if cut {
		b.cut()
	}
	if other && w.depth < 2 {
		w.depth++
		w.someStep()
		w.depth--
	}
	if !b.up {
		return nil, context.Canceled
	}
	no := &host.ExitError{Program: c.Args[0], Code: 1}
	switch {
	case strings.HasPrefix(line, "systemctl start rabbitmq"):
		if !b.running && !b.start() {
			return nil, no
		}
		b.running = true
	case strings.HasPrefix(line, "systemctl stop"):
		b.running = false
	case strings.Contains(line, " forget_cluster_node "):
		peer := w.box(strings.TrimPrefix(c.Args[3], "rabbit@"))
		if !peer.running || peer.cookie() != b.cookie() || !w.works(peer.instance()) {
			return nil, no
		}
		w.members[peer.instance()] = without(w.members[peer.instance()], b.name)
	case strings.Contains(line, " cluster_status "):
		var status struct {
			Disk []string `json:"disk_nodes"`
		}
		for _, name := range w.members[b.instance()] {
			status.Disk = append(status.Disk, "rabbit@"+name)
		}
		return json.Marshal(status)
	}
	return nil, nil
}

// start answers whether the broker starts: with its data, or alone, or by a peer.
func (b *rabbitBox) start() bool {
	w := b.world
	if n := b.instance(); n != 0 {
		return w.works(n) && slices.Contains(w.members[n], b.name)
	}
	conf, _ := os.ReadFile(b.env.Path(rabbitConf))
	var list []string
	for line := range strings.Lines(string(conf)) {
		if _, name, ok := strings.Cut(line, "= rabbit@"); ok {
			list = append(list, strings.TrimSpace(name))
		}
	}
	if len(list) == 1 && list[0] == b.name {
		n := len(w.members) + 1
		w.members[n] = []string{b.name}
		b.setInstance(n)
		return true
	}
	for _, name := range list {
		peer := w.box(name)
		if n := peer.instance(); peer != b && peer.running && peer.cookie() == b.cookie() && w.works(n) {
			w.members[n] = append(without(w.members[n], b.name), b.name)
			b.setInstance(n)
			return w.random.Float64() >= w.danger // else cut short: listed, and half there
		}
	}
	return false
}

// someStep lets some controller that is up take one step.
func (w *rabbitWorld) someStep() {
	b := w.boxes[w.random.IntN(len(w.boxes))]
	if b.up {
		_, _ = b.member.step(w.t.Context())
	}
}

// value returns what the quorum knows.
func (w *rabbitWorld) value() rabbitCluster {
	var c rabbitCluster
	if _, err := getJSON(w.t.Context(), w.quorum, rabbitKey, &c); err != nil {
		w.t.Fatal(err)
	}
	return c
}

// check fails the test if there are two clusters: all disks that hold data of the
// formation that counts must hold that of one broker's founding.
func (w *rabbitWorld) check() error {
	c := w.value()
	of := map[int][]string{}
	for _, b := range w.boxes {
		if id, err := rabbitDisk(b.env); err == nil && id == c.ID && c.Founded {
			of[b.instance()] = append(of[b.instance()], b.name)
		}
	}
	if len(of) > 1 {
		return fmt.Errorf("two clusters: %v of %+v", of, c)
	}
	return nil
}

// A rabbitQuorum is out of reach for a machine that is off, and for all when no
// more than half of them is up.
type rabbitQuorum struct {
	*memoryQuorum
	box *rabbitBox
}

func (q rabbitQuorum) reach() error {
	n := 0
	for _, b := range q.box.world.boxes {
		if b.up {
			n++
		}
	}
	if !q.box.up || 2*n <= len(q.box.world.boxes) {
		return context.DeadlineExceeded
	}
	return nil
}

func (q rabbitQuorum) Get(ctx context.Context, key string) ([]byte, uint64, error) {
	if err := q.reach(); err != nil {
		return nil, 0, err
	}
	return q.memoryQuorum.Get(ctx, key)
}

func (q rabbitQuorum) Put(ctx context.Context, key string, value []byte, version uint64) (bool, error) {
	if err := q.reach(); err != nil {
		return false, err
	}
	set, err := q.memoryQuorum.Put(ctx, key, value, version)
	if w := q.box.world; err == nil && w.random.Float64() < w.danger {
		q.box.cut() // after it was set, before the answer came
		return false, context.Canceled
	}
	return set, err
}

// Lock does not wait: a step within a step would for ever.
func (q rabbitQuorum) Lock(ctx context.Context, name string) (context.Context, func(), error) {
	ctx, cancel := context.WithCancel(ctx)
	if q.reach() == nil {
		select {
		case q.lock(name) <- struct{}{}:
			return ctx, func() { cancel(); <-q.lock(name) }, nil
		default:
		}
	}
	cancel()
	return nil, nil, context.DeadlineExceeded
}

func (q rabbitQuorum) lock(name string) chan struct{} {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.locks[name] == nil {
		q.locks[name] = make(chan struct{}, 1)
	}
	return q.locks[name]
}
