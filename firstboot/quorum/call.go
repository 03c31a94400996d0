package quorum

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// errRefused is of a peer that answered no, and will again.
var errRefused = errors.New("refused")

// A caller calls the other controllers.
type caller struct {
	client  *http.Client
	timeout time.Duration
}

func newCaller(ctx context.Context, t *trust, timeout time.Duration) *caller {
	return &caller{timeout: timeout, client: &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			// A request that ends does not end the dialling, which the next one takes.
			DialTLSContext: func(_ context.Context, _, address string) (net.Conn, error) {
				name, _, _ := strings.Cut(address, ":")
				return t.dial(ctx, name, protocolRPC, timeout)
			},
			MaxIdleConnsPerHost: 2, IdleConnTimeout: idleTimeout / 2, MaxResponseHeaderBytes: 8 << 10,
		},
	}}
}

func (c *caller) close() { c.client.CloseIdleConnections() }

// call asks a controller and returns its answer.
func (c *caller) call(ctx context.Context, name, op string, data []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+name+"/"+op, bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	response, err := c.client.Do(request)
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", name, err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, maxMessage+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("ask %s: %w", name, err)
	case len(answer) > maxMessage:
		return nil, fmt.Errorf("ask %s: its answer is too long", name)
	case response.StatusCode == http.StatusOK:
		return answer, nil
	case response.StatusCode == http.StatusServiceUnavailable:
		return nil, fmt.Errorf("ask %s: %w", name, errNotLeader)
	}
	return nil, fmt.Errorf("ask %s: %w: %.1000s", name, errRefused, bytes.TrimSpace(answer))
}
