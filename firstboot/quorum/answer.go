package quorum

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// handler answers the calls of the other controllers.
func (q *Quorum) handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !q.enter() {
			http.Error(w, errClosed.Error(), http.StatusServiceUnavailable)
			return
		}
		defer q.tasks.Done()
		peer, ok := r.Context().Value(peerKey{}).(string)
		if r.Method != http.MethodPost || !ok {
			http.Error(w, "only POST is answered", http.StatusMethodNotAllowed)
			return
		}
		data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxMessage))
		if err == nil {
			data, err = q.answer(r.Context(), peer, strings.TrimPrefix(r.URL.Path, "/"), data)
		}
		switch {
		case errors.Is(err, errNotLeader):
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
		case err != nil:
			http.Error(w, err.Error(), http.StatusBadRequest)
		default:
			_, _ = w.Write(data)
		}
	})
}

// answer answers one call of a controller, which may be this one.
func (q *Quorum) answer(ctx context.Context, peer, op string, data []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, q.config.Times.Call)
	defer cancel()
	switch op {
	case opGreet:
		return reply(data, &greeting{}, func(g *greeting) (any, error) { return q.onGreet(peer, g) })
	case opPrepare, opAccept:
		return reply(data, &proposal{}, func(p *proposal) (any, error) { return q.onProposal(op, p) })
	case opAdmit:
		return reply(data, &admitRequest{}, func(r *admitRequest) (any, error) { return q.onAdmit(peer, r) })
	case opReady:
		_, err := q.ready()
		return []byte("{}"), err
	case opGet:
		return reply(data, &keyRequest{}, func(r *keyRequest) (any, error) { return q.onGet(r) })
	case opPut:
		return reply(data, &putRequest{}, func(r *putRequest) (any, error) { return q.onPut(r) })
	case opLock, opRenew, opUnlock:
		return reply(data, &lockRequest{}, func(r *lockRequest) (any, error) { return q.onLock(peer, op, r) })
	case opAsk:
		r := &askRequest{}
		if err := decode(data, r); err != nil {
			return nil, err
		}
		return q.onAsk(ctx, r.Step)
	}
	return nil, fmt.Errorf("%.32q is no call", op)
}

// reply reads a request, lets it be answered and writes the answer.
func reply[R checked](data []byte, request R, do func(R) (any, error)) ([]byte, error) {
	if err := decode(data, request); err != nil {
		return nil, err
	}
	answer, err := do(request)
	if err != nil {
		return nil, err
	}
	return json.Marshal(answer)
}
