package cluster

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const readyLine = `{"time":"2026-11-22T10:00:00Z","node":"ctl1","role":"controller","step":"ready","state":"ready","message":"all services are healthy","fields":{"machine_id":"0123","seconds":41}}`

func TestParseRecord(t *testing.T) {
	got, err := ParseRecord([]byte(readyLine + "\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := Record{
		Time: time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC), Node: "ctl1", Role: "controller", Step: "ready", State: "ready",
		Message: "all services are healthy", Fields: map[string]any{"machine_id": "0123", "seconds": 41.0},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("ParseRecord (-want +got):\n%s", diff)
	}
	if !got.Ready() || got.Field("machine_id") != "0123" || got.Field("seconds") != "41" || got.Field("none") != "" {
		t.Errorf("Ready() = %v, fields %q %q %q; want true, 0123, 41 and nothing", got.Ready(), got.Field("machine_id"), got.Field("seconds"), got.Field("none"))
	}
}

func TestParseRecordRefuses(t *testing.T) {
	for line, want := range map[string]string{
		`{"step":"render"`:                   "unexpected end",
		`{"state":"done"}`:                   "no step",
		`{"step":"x","state":"dnoe"}`:        `state "dnoe"`,
		`{"step":"x"}`:                       `state ""`,
		`{"step":"x","time":"yesterday"}`:    "yesterday",
		strings.Repeat(" ", maxRecord) + "1": "more than",
	} {
		if _, err := ParseRecord([]byte(line)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ParseRecord(%.60q) = %v, want an error with %q", line, err, want)
		}
	}
}

// TestReadRecords sends what a broken node might: noise, a line that is too
// long, an empty line, and half a line at the end.
func TestReadRecords(t *testing.T) {
	in := "noise\n" + strings.Repeat("y", 3*maxRecord) + "\n\n" + readyLine + "\n" + `{"step":"x","state":"do`
	var got []string
	readRecords(strings.NewReader(in), func(r Record, err error) {
		if err != nil {
			got = append(got, "error "+err.Error()[:40])
		} else {
			got = append(got, r.String())
		}
	})
	want := []string{
		`error read status record "noise\n": invalid ch`,
		`error read status record "yyyyyyyyyyyyyyyyyyyy`,
		"ctl1 ready ready: all services are healthy",
	}
	for i := range want[:2] {
		want[i] = "error " + strings.TrimPrefix(want[i], "error ")[:40]
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("readRecords (-want +got):\n%s", diff)
	}
}

func FuzzParseRecord(f *testing.F) {
	f.Add([]byte(readyLine))
	f.Add([]byte(`{"step":"a","state":"done","fields":{"a":[[[[{}]]]]}}`))
	f.Add([]byte(`[]`))
	f.Fuzz(func(t *testing.T, line []byte) {
		r, err := ParseRecord(line)
		if err == nil && (r.Step == "" || r.State == "") {
			t.Errorf("ParseRecord(%q) = %+v without step or state", line, r)
		}
		for name := range r.Fields {
			_ = r.Field(name)
		}
	})
}
