package qemutests

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	amqp "github.com/rabbitmq/amqp091-go"
)

// A load is what users do to a cloud through its virtual IP while a test breaks
// it: rows are written, messages published, tokens asked for. Each promise that
// the cloud made is kept here, to be asked for at the end.
type load struct {
	c      *testCloud
	stop   context.CancelFunc
	tasks  sync.WaitGroup
	rows   *series
	queue  *series
	tokens *series
	db     *sql.DB
}

// A series is one kind of work: what was promised, and how long it stood still.
type series struct {
	name string

	mu       sync.Mutex
	promised []int
	last     time.Time     // of the newest success
	gap      time.Duration // the longest time without one
	failed   error         // the newest failure
}

func (s *series) succeed(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	s.gap = max(s.gap, now.Sub(s.last))
	s.last, s.promised = now, append(s.promised, n)
}

func (s *series) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failed = err
}

// begin begins a new measurement of the longest gap.
func (s *series) begin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last, s.gap, s.failed = time.Now(), 0, nil
}

// measured is the longest gap since begin, one that lasts still included.
func (s *series) measured() (gap time.Duration, promised int, failed error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return max(s.gap, time.Since(s.last)), len(s.promised), s.failed
}

// Pauses between the acts of a load, and how long one may take.
const (
	loadPause = 50 * time.Millisecond
	loadLimit = 2 * time.Second
)

// work begins the load. It ends with the test.
func (c *testCloud) work() *load {
	c.t.Helper()
	l := &load{c: c, rows: &series{name: "SQL writes"}, queue: &series{name: "queue"}, tokens: &series{name: "keystone"}}
	c.nodes[0].Must("/usr/bin/mariadb", "--execute",
		"CREATE DATABASE IF NOT EXISTS load_test; CREATE TABLE IF NOT EXISTS load_test.promises (n INT PRIMARY KEY); "+
			"CREATE USER IF NOT EXISTS 'load_test'@'%' IDENTIFIED BY 'load-test'; GRANT ALL ON load_test.* TO 'load_test'@'%'")
	cfg := mysql.NewConfig()
	cfg.User, cfg.Passwd, cfg.DBName, cfg.Net, cfg.Addr = "load_test", "load-test", "load_test", "tcp", vip+":3306"
	cfg.Timeout, cfg.ReadTimeout, cfg.WriteTimeout = loadLimit, loadLimit, loadLimit
	cfg.DialFunc, cfg.Logger = c.client.Dial, &mysql.NopLogger{}
	connector, err := mysql.NewConnector(cfg)
	if err != nil {
		c.t.Fatal(err)
	}
	l.db = sql.OpenDB(connector)
	ctx, stop := context.WithCancel(context.Background())
	l.stop = stop
	c.t.Cleanup(l.end)
	l.begin()
	password, admin := c.secret("rabbitmq/openstack"), c.secret("keystone/admin")
	l.tasks.Go(func() { l.writeRows(ctx) })
	l.tasks.Go(func() { l.publish(ctx, password) })
	l.tasks.Go(func() { l.askTokens(ctx, admin) })
	return l
}

func (l *load) all() []*series { return []*series{l.rows, l.queue, l.tokens} }

func (l *load) begin() {
	for _, s := range l.all() {
		s.begin()
	}
}

// end stops the load.
func (l *load) end() {
	l.stop()
	l.tasks.Wait()
	l.db.Close()
}

// flows waits until each kind of work goes on.
func (l *load) flows(limit time.Duration) {
	l.c.t.Helper()
	for _, s := range l.all() {
		_, before, _ := s.measured()
		for began := time.Now(); ; time.Sleep(20 * time.Millisecond) {
			_, now, failed := s.measured()
			if now > before {
				break
			}
			if time.Since(began) > limit {
				l.c.t.Fatalf("%s stands still for %v: %v", s.name, limit, failed)
			}
		}
	}
}

// report prints how long each kind of work stood still since begin.
func (l *load) report(what string) {
	var b strings.Builder
	for _, s := range l.all() {
		gap, _, _ := s.measured()
		fmt.Fprintf(&b, "; %s stood still for %.1f s", s.name, gap.Seconds())
	}
	l.c.t.Logf("%s%s", what, &b)
}

func (l *load) writeRows(ctx context.Context) {
	for n := 0; ctx.Err() == nil; n++ {
		one, cancel := context.WithTimeout(ctx, 2*loadLimit)
		_, err := l.db.ExecContext(one, "INSERT INTO promises VALUES (?)", n)
		cancel()
		l.rows.note(ctx, n, err)
	}
}

// note notes an act's outcome, and pauses.
func (s *series) note(ctx context.Context, n int, err error) {
	if err == nil {
		s.succeed(n)
	} else if ctx.Err() == nil {
		s.fail(err)
	}
	select {
	case <-ctx.Done():
	case <-time.After(loadPause):
	}
}

const loadQueue = "load-test"

// publish sends numbered messages, each confirmed, and connects again when that
// fails.
func (l *load) publish(ctx context.Context, password string) {
	var conn *amqp.Connection
	var channel *amqp.Channel
	defer func() {
		if conn != nil {
			conn.Close()
		}
	}()
	for n := 0; ctx.Err() == nil; n++ {
		var err error
		if channel == nil {
			conn, channel, err = l.connect(ctx, password)
		}
		if err == nil {
			err = confirmed(ctx, channel, n)
		}
		if err != nil && conn != nil {
			conn.Close()
			conn, channel = nil, nil
		}
		l.queue.note(ctx, n, err)
	}
}

func (l *load) connect(ctx context.Context, password string) (*amqp.Connection, *amqp.Channel, error) {
	conn, err := amqp.DialConfig("amqp://openstack:"+password+"@"+vip+":5672/", amqp.Config{
		Heartbeat: loadLimit, Locale: "en_US",
		Dial: func(network, address string) (net.Conn, error) {
			dial, cancel := context.WithTimeout(ctx, loadLimit)
			defer cancel()
			c, err := l.c.client.Dial(dial, network, address)
			if err == nil {
				err = c.SetDeadline(time.Now().Add(5 * time.Second)) // of the handshake; amqp lifts it
			}
			return c, err
		},
	})
	if err != nil {
		return nil, nil, err
	}
	channel, err := conn.Channel()
	if err == nil {
		err = channel.Confirm(false)
	}
	if err == nil {
		_, err = channel.QueueDeclare(loadQueue, true, false, false, false, amqp.Table{"x-queue-type": "quorum"})
	}
	if err != nil {
		conn.Close()
		return nil, nil, err
	}
	return conn, channel, nil
}

func confirmed(ctx context.Context, channel *amqp.Channel, n int) error {
	ctx, cancel := context.WithTimeout(ctx, 2*loadLimit)
	defer cancel()
	promise, err := channel.PublishWithDeferredConfirmWithContext(ctx, "", loadQueue, true, false,
		amqp.Publishing{DeliveryMode: amqp.Persistent, Body: fmt.Appendf(nil, "%d", n)})
	if err != nil {
		return err
	}
	ok, err := promise.WaitContext(ctx)
	if err == nil && !ok {
		err = errors.New("the broker took it not")
	}
	return err
}

// askTokens asks for tokens as an OpenStack client does.
func (l *load) askTokens(ctx context.Context, password string) {
	client := &http.Client{Timeout: loadLimit, Transport: &http.Transport{DisableKeepAlives: true, DialContext: l.c.client.Dial}}
	body := fmt.Appendf(nil, `{"auth":{"identity":{"methods":["password"],"password":{"user":{"name":"admin","domain":{"id":"default"},"password":%q}}}}}`, password)
	for n := 0; ctx.Err() == nil; n++ {
		l.tokens.note(ctx, n, token(ctx, client, body))
	}
}

func token(ctx context.Context, client *http.Client, body []byte) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+vip+":5000/v3/auth/tokens", bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, 1<<20))
	if res.StatusCode != http.StatusCreated || res.Header.Get("X-Subject-Token") == "" {
		return fmt.Errorf("keystone answers %s", res.Status)
	}
	return nil
}

// kept stops the load, and asks for everything that was promised.
func (l *load) kept(t *testing.T) {
	t.Helper()
	l.stop()
	l.tasks.Wait()
	l.keptRows(t)
	l.keptMessages(t)
}

func (l *load) keptRows(t *testing.T) {
	t.Helper()
	rows, err := l.db.Query("SELECT n FROM promises")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	there := map[int]bool{}
	for rows.Next() {
		var n int
		if err := rows.Scan(&n); err != nil {
			t.Fatal(err)
		}
		there[n] = true
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	l.rows.compare(t, there)
}

func (l *load) keptMessages(t *testing.T) {
	t.Helper()
	conn, channel, err := l.connect(t.Context(), l.c.secret("rabbitmq/openstack"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	there := map[int]bool{}
	for {
		m, ok, err := channel.Get(loadQueue, true)
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			break
		}
		var n int
		if _, err := fmt.Sscan(string(m.Body), &n); err != nil {
			t.Fatal(err)
		}
		there[n] = true
	}
	l.queue.compare(t, there)
}

// compare fails the test for each promise that was not kept.
func (s *series) compare(t *testing.T, there map[int]bool) {
	t.Helper()
	lost := 0
	for _, n := range s.promised {
		if !there[n] {
			lost++
		}
	}
	if lost > 0 || len(s.promised) == 0 {
		t.Errorf("%s: %d of %d promises were not kept", s.name, lost, len(s.promised))
		return
	}
	t.Logf("%s: all of %d promises were kept; %d are there", s.name, len(s.promised), len(there))
}
