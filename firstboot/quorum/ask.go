package quorum

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
)

// Ask returns what the agent of a controller tells of a step. It needs no
// majority, and waits for at most Times.Call.
func (q *Quorum) Ask(ctx context.Context, node, step string) ([]byte, error) {
	r := &askRequest{step}
	data, err := json.Marshal(r)
	if err == nil {
		err = r.check()
	}
	if err == nil {
		data, err = q.callOr(ctx, node, opAsk, data)
	}
	if err != nil {
		return nil, fmt.Errorf("ask %s about %s: %w", node, step, err)
	}
	return data, nil
}

func (q *Quorum) onAsk(ctx context.Context, step string) ([]byte, error) {
	if q.config.Answer == nil {
		return nil, errors.New("this node tells of no step")
	}
	data, err := q.config.Answer(ctx, step)
	if err != nil {
		return nil, err
	}
	if len(data) > maxValue {
		return nil, fmt.Errorf("what it has to tell is longer than %d bytes", maxValue)
	}
	return data, nil
}
