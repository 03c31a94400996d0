package source

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"trivet/firstboot/node"
)

// totalTime bounds one reading of a remote source, with all its files, pauses
// and attempts. The agent reads again for as long as it knows nothing.
const totalTime = 5 * time.Minute

// finish bounds the time of reading, unpacks user-data and checks sizes, alike
// for every source. A candidate that holds nothing becomes nil.
func finish(c *Candidate) *Candidate {
	if c.Read == nil {
		return nil
	}
	whole := *c
	whole.Read = func(ctx context.Context) (Payload, error) {
		if c.Remote {
			limited, cancel := context.WithTimeout(ctx, totalTime)
			defer cancel()
			ctx = limited
		}
		p, err := c.Read(ctx)
		if err != nil {
			return Payload{}, err
		}
		return p.checked()
	}
	return &whole
}

// checked unpacks user-data and refuses parts that are too long.
func (p Payload) checked() (Payload, error) {
	if !p.UserData.Has {
		return Payload{}, fmt.Errorf("%s is missing; without user-data nothing says what this node is", p.UserData.Name)
	}
	data, err := gunzip(p.UserData.Data, node.MaxDescription)
	if err != nil {
		return Payload{}, fmt.Errorf("%s: %w", p.UserData.Name, err)
	}
	p.UserData.Data = data
	for _, part := range []struct {
		Part
		limit int
	}{{p.UserData, node.MaxDescription}, {p.MetaData, node.MaxMetaData}, {p.NetworkConfig, node.MaxDescription}, {p.NetworkData, node.MaxDescription}} {
		if len(part.Data) > part.limit {
			return Payload{}, fmt.Errorf("%s has more than %d bytes", part.Name, part.limit)
		}
	}
	return p, nil
}

// gunzip unpacks data that begins as gzip does (RFC 1952 §2.3.1), to at most
// limit bytes. Other data is returned as it is.
func gunzip(data []byte, limit int64) ([]byte, error) {
	if !bytes.HasPrefix(data, []byte{0x1f, 0x8b}) {
		return data, nil
	}
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("gunzip: %w", err)
	}
	text, err := io.ReadAll(io.LimitReader(z, limit+1))
	switch {
	case int64(len(text)) > limit:
		return nil, fmt.Errorf("gunzip: it has more than %d bytes when it is unpacked", limit)
	case errors.Is(err, io.ErrUnexpectedEOF):
		return nil, errors.New("gunzip: the end is missing")
	case err != nil:
		return nil, fmt.Errorf("gunzip: %w", err)
	}
	return text, nil
}
