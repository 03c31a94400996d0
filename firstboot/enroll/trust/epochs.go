package trust

import (
	"fmt"
	"regexp"
	"strings"
	"time"
)

// epochs is epochs.json: how often what was rotated. A purpose that is not in
// it is at epoch 1, which began with the cloud.
type epochs struct {
	Version int              `json:"version"`
	Cloud   string           `json:"cloud"`
	Created time.Time        `json:"created"`
	Epochs  map[string]epoch `json:"epochs"` // by purpose, or PURPOSE@NODE
}

// An epoch is one state of a purpose.
type epoch struct {
	Number int       `json:"epoch"`
	Since  time.Time `json:"since"`
	// Before is the state that still counts beside this one: a CA that nodes
	// trust until it is retired.
	Before *epoch `json:"before,omitempty"`
}

const (
	maxEpochsFile = 1 << 20 // bytes
	maxEpoch      = 1 << 20
)

var (
	uuidForm    = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)
	purposeForm = regexp.MustCompile(`^[a-z][a-z0-9-]{0,39}(/[a-z][a-z0-9-]{0,39})?(@[a-z]([a-z0-9-]{0,61}[a-z0-9])?)?$`)
)

// at is the epoch of a purpose, of one node if node is not empty. A node's own
// rotations count on top of those of all nodes, so that either gives a number
// that the node never had.
func (e epochs) at(purpose, node string) epoch {
	now := e.get(purpose)
	if node == "" {
		return now
	}
	own := e.get(purpose + "@" + node)
	now.Number += own.Number - 1
	if own.Since.After(now.Since) {
		now.Since = own.Since
	}
	return now
}

func (e epochs) get(key string) epoch {
	if found, ok := e.Epochs[key]; ok {
		return found
	}
	return epoch{Number: 1, Since: e.Created}
}

// parseEpochs reads epochs.json.
func parseEpochs(data []byte) (epochs, error) {
	var e epochs
	if err := decodeStrict(data, &e); err != nil {
		return epochs{}, err
	}
	switch {
	case e.Version != 1:
		return epochs{}, fmt.Errorf("its form is version %d, and this trivet reads 1", e.Version)
	case !uuidForm.MatchString(e.Cloud):
		return epochs{}, fmt.Errorf("cloud is not a UUID in small letters")
	case !wholeUTC(e.Created):
		return epochs{}, fmt.Errorf("created is not a time in UTC and whole seconds")
	}
	for _, key := range sortedKeys(e.Epochs) {
		if err := checkEpoch(key, e.Epochs[key], e.Created); err != nil {
			return epochs{}, fmt.Errorf("epochs: %s: %w", key, err)
		}
	}
	if e.Epochs == nil {
		e.Epochs = map[string]epoch{}
	}
	return e, nil
}

func checkEpoch(key string, v epoch, created time.Time) error {
	switch {
	case !purposeForm.MatchString(key):
		return fmt.Errorf("the key is not a purpose, such as keystone/db or node-key@ctl1")
	case v.Number < 2 || v.Number > maxEpoch:
		return fmt.Errorf("epoch is %d, not 2 to %d; a purpose at epoch 1 is not listed", v.Number, maxEpoch)
	case !wholeUTC(v.Since) || v.Since.Before(created):
		return fmt.Errorf("since is not a time in UTC and whole seconds after the cloud's beginning")
	case v.Before == nil:
		return nil
	case !strings.HasSuffix(key, suffixCA):
		return fmt.Errorf("only a CA has something before it that still counts")
	case v.Before.Before != nil || v.Before.Number != v.Number-1 || v.Before.Number < 1 ||
		!wholeUTC(v.Before.Since) || v.Before.Since.After(v.Since) || v.Before.Since.Before(created):
		return fmt.Errorf("before is not the epoch before")
	}
	return nil
}

// wholeUTC is what certificates and these files can say.
func wholeUTC(t time.Time) bool {
	_, offset := t.Zone()
	return !t.IsZero() && offset == 0 && t.Nanosecond() == 0 && t.Year() >= 1970 && t.Year() < 2500
}
