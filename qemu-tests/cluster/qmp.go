package cluster

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
)

// maxMessage is the longest QMP message that is read, in bytes; QEMU's own are
// some hundreds, except for schema queries, which we do not make.
const maxMessage = 1 << 20

// An Event is something that QEMU says without being asked.
type Event struct {
	Name string          `json:"event"`
	Data json.RawMessage `json:"data"`
}

// A QMP speaks the QEMU Machine Protocol (docs/interop/qmp-spec.rst of QEMU):
// JSON objects, one a line. It is safe for use by several goroutines.
type QMP struct {
	conn io.ReadWriteCloser
	on   func(Event)

	mu      sync.Mutex
	id      int
	waiting map[int]chan qmpMessage
	closed  chan struct{}
	err     error
}

type qmpMessage struct {
	Greeting json.RawMessage `json:"QMP"`
	ID       *int            `json:"id"`
	Return   json.RawMessage `json:"return"`
	Error    *struct {
		Class string `json:"class"`
		Desc  string `json:"desc"`
	} `json:"error"`
	Event
}

// NewQMP greets the machine behind conn and hands its events to on, which must
// not call back into the QMP. ctx bounds the greeting only.
func NewQMP(ctx context.Context, conn io.ReadWriteCloser, on func(Event)) (*QMP, error) {
	q := &QMP{conn: conn, on: on, waiting: map[int]chan qmpMessage{}, closed: make(chan struct{})}
	greeted := make(chan struct{})
	go q.read(greeted)
	select {
	case <-greeted:
	case <-q.closed:
		return nil, fmt.Errorf("greet QEMU: %w", q.err)
	case <-ctx.Done():
		conn.Close()
		return nil, fmt.Errorf("greet QEMU: %w", context.Cause(ctx))
	}
	if _, err := q.Execute(ctx, "qmp_capabilities", nil); err != nil {
		conn.Close()
		return nil, err
	}
	return q, nil
}

// Execute runs one command and returns what it gave back. The bound is ctx's.
func (q *QMP) Execute(ctx context.Context, command string, args any) (json.RawMessage, error) {
	reply := make(chan qmpMessage, 1)
	q.mu.Lock()
	q.id++
	id := q.id
	q.waiting[id] = reply
	q.mu.Unlock()
	defer func() {
		q.mu.Lock()
		delete(q.waiting, id)
		q.mu.Unlock()
	}()
	line, err := json.Marshal(struct {
		Execute   string `json:"execute"`
		Arguments any    `json:"arguments,omitempty"`
		ID        int    `json:"id"`
	}{command, args, id})
	if err != nil {
		return nil, fmt.Errorf("send QMP command %s: %w", command, err)
	}
	if _, err := q.conn.Write(append(line, '\n')); err != nil {
		return nil, fmt.Errorf("send QMP command %s: %w", command, err)
	}
	select {
	case m := <-reply:
		if m.Error != nil {
			return nil, fmt.Errorf("QMP command %s: %s: %s", command, m.Error.Class, m.Error.Desc)
		}
		return m.Return, nil
	case <-q.closed:
		return nil, fmt.Errorf("QMP command %s: %w", command, q.err)
	case <-ctx.Done():
		return nil, fmt.Errorf("QMP command %s: no answer: %w", command, context.Cause(ctx))
	}
}

// Close ends the connection; commands that wait return an error.
func (q *QMP) Close() error { return q.conn.Close() }

// read takes messages until the connection ends or breaks the protocol.
func (q *QMP) read(greeted chan struct{}) {
	defer close(q.closed)
	defer q.conn.Close()
	in := bufio.NewScanner(q.conn)
	in.Buffer(make([]byte, 0, 4096), maxMessage)
	seen := false
	for in.Scan() {
		if len(in.Bytes()) == 0 {
			continue
		}
		var m qmpMessage
		if err := json.Unmarshal(in.Bytes(), &m); err != nil {
			q.err = fmt.Errorf("QMP message %.80q: %w", in.Bytes(), err)
			return
		}
		switch {
		case m.Greeting != nil && !seen:
			seen = true
			close(greeted)
		case m.Name != "":
			q.on(m.Event)
		case m.ID != nil:
			q.answer(*m.ID, m)
		}
	}
	if q.err = in.Err(); q.err == nil {
		q.err = errors.New("the machine closed the connection")
	}
}

func (q *QMP) answer(id int, m qmpMessage) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if c, ok := q.waiting[id]; ok {
		c <- m // holds one; each id is answered once
		delete(q.waiting, id)
	}
}
