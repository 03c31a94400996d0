package status

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// A State is all that a node has to tell about itself. It holds no secret.
type State struct {
	Time  time.Time `json:"time"` // UTC
	Cloud string    `json:"cloud,omitempty"`
	Node  string    `json:"node,omitempty"`
	Role  string    `json:"role"`
	Image string    `json:"image"`
	Ready bool      `json:"ready"`
	// Unfinished are the steps that are not done, the longest first.
	Unfinished []Open            `json:"unfinished,omitempty"`
	Unwell     map[string]string `json:"unwell,omitempty"` // service → what is wrong
	VIP        string            `json:"vip,omitempty"`
	HoldsVIP   bool              `json:"holds_vip"`
	Quorum     json.RawMessage   `json:"quorum,omitempty"` // of a controller of several
	// Clusters is what each step of package join tells its peers.
	Clusters map[string]json.RawMessage `json:"clusters,omitempty"`
}

// maxState bounds the state that is read from a node, in bytes.
const maxState = 1 << 20

// Read asks an agent for its state at a URL such as
// http://192.0.2.11:9200/status.
func Read(ctx context.Context, client *http.Client, url string) (State, error) {
	var s State
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return s, fmt.Errorf("ask an agent for its state: %w", err)
	}
	res, err := client.Do(req)
	if err != nil {
		return s, fmt.Errorf("ask an agent for its state: %w", err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return s, fmt.Errorf("ask an agent for its state: GET %s answers %s", url, res.Status)
	}
	data, err := io.ReadAll(io.LimitReader(res.Body, maxState))
	if err == nil {
		err = json.Unmarshal(data, &s)
	}
	if err != nil {
		return s, fmt.Errorf("read the state of %s: %w", url, err)
	}
	return s, nil
}

// Troubles are what the node waits for and what is unwell, a line each.
func (s State) Troubles() []string {
	var lines []string
	for _, o := range s.Unfinished {
		first, _, _ := strings.Cut(o.Message, "\n")
		lines = append(lines, fmt.Sprintf("%s: %s since %s: %s", o.Step, o.State, o.Since.Format(time.RFC3339), first))
	}
	for _, name := range slices.Sorted(maps.Keys(s.Unwell)) {
		lines = append(lines, fmt.Sprintf("%s: unwell: %s", name, s.Unwell[name]))
	}
	return lines
}

// WriteText prints the state for people.
func (s State) WriteText(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(key, format string, args ...any) { fmt.Fprintf(t, "%s\t%s\n", key, fmt.Sprintf(format, args...)) }
	name := s.Node
	if name == "" {
		name = "a machine that does not know its name"
	}
	row("node", "%s (%s)", name, s.Role)
	row("cloud", "%s", s.Cloud)
	row("image", "%.16s", s.Image)
	row("ready", "%s", yes(s.Ready))
	if s.VIP != "" {
		row("virtual IP", "%s, here: %s", s.VIP, yes(s.HoldsVIP))
	}
	for _, trouble := range s.Troubles() {
		row("", "%s", trouble)
	}
	if s.Quorum != nil {
		row("quorum", "%s", s.Quorum)
	}
	for _, name := range slices.Sorted(maps.Keys(s.Clusters)) {
		row(name, "%s", s.Clusters[name])
	}
	return t.Flush()
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
