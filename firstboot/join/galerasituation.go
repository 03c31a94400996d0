package join

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
)

// maxSituation bounds a recorded situation, in bytes.
const maxSituation = 1 << 20

// ParseGaleraSituation reads a situation that was recorded as JSON, as `trivet
// simulate` takes it.
func ParseGaleraSituation(r io.Reader) (GaleraSituation, error) {
	var s GaleraSituation
	data, err := io.ReadAll(io.LimitReader(r, maxSituation+1))
	if err != nil {
		return s, err
	}
	if len(data) > maxSituation {
		return s, fmt.Errorf("it is larger than %d bytes", maxSituation)
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&s); err != nil {
		return s, err
	}
	if d.More() {
		return s, errors.New("something follows the situation")
	}
	return s, s.Check()
}

// Check returns nil if the situation is one that GaleraDecide can decide about.
func (s GaleraSituation) Check() error {
	if len(s.Controllers) == 0 || len(s.Controllers) > maxMembers {
		return fmt.Errorf("%d controllers are not a cloud's", len(s.Controllers))
	}
	seen := map[string]bool{}
	for i, name := range s.Controllers {
		if name == "" || slices.Contains(s.Controllers[:i], name) {
			return fmt.Errorf("the controller %q is there twice, or has no name", name)
		}
	}
	for _, r := range s.Reports {
		if !slices.Contains(s.Controllers, r.Node) || seen[r.Node] {
			return fmt.Errorf("the report of %q is of no controller, or its second", r.Node)
		}
		seen[r.Node] = true
		if err := r.check(); err != nil {
			return fmt.Errorf("the report of %s: %w", r.Node, err)
		}
	}
	if i := s.Record.Intent; i != nil && (len(i.Nodes) == 0 || !slices.Contains([]string{GaleraFound, GaleraBootstrap, GaleraTogether}, i.Verdict)) {
		return fmt.Errorf("the intent %q of %d nodes is none", i.Verdict, len(i.Nodes))
	}
	if u := s.Record.UUID; u != "" && !isUUID(u) || s.Record.Formed && u == "" {
		return fmt.Errorf("the record's %q is not a UUID", u)
	}
	return nil
}

// check: what a peer tells is outside input.
func (r GaleraReport) check() error {
	if !slices.Contains([]string{GaleraRunning, GaleraStopped, GaleraBusy, GaleraSilent}, r.State) {
		return fmt.Errorf("%q is no state", r.State)
	}
	for _, u := range []string{r.UUID, r.Saved.UUID, r.Recovered.UUID} {
		if u != "" && !isUUID(u) {
			return fmt.Errorf("%q is not a UUID", u)
		}
	}
	if r.View == nil {
		return nil
	}
	if len(r.View.Members) > maxMembers {
		return fmt.Errorf("a view of %d members", len(r.View.Members))
	}
	return r.View.check()
}
