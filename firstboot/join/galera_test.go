package join

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	one = "11111111-1111-1111-1111-111111111111"
	two = "22222222-2222-2222-2222-22222222222a"
)

func TestGaleraDecide(t *testing.T) {
	none := GaleraPosition{noUUID, -1}
	for _, c := range []struct {
		name  string
		state galeraState
		want  galeraPlan
	}{
		{"a blank disk", galeraState{fresh: true, saved: none, recovered: none}, galeraPlan{found: true, history: noUUID}},
		{"stopped cleanly", galeraState{saved: GaleraPosition{one, 56}, safe: true, recovered: none}, galeraPlan{history: one}},
		{"crashed", galeraState{saved: GaleraPosition{one, -1}, recovered: none}, galeraPlan{history: one}},
		{"crashed within a DDL", galeraState{saved: none, recovered: GaleraPosition{one, 56}}, galeraPlan{history: one}},
		{"crashed, and the view is empty", galeraState{saved: GaleraPosition{one, -1}, emptyGVW: true, recovered: none}, galeraPlan{history: one}},
		{"made, and never part of a cluster", galeraState{saved: none, recovered: none}, galeraPlan{history: noUUID}},
		// mariadb-operator#1701: the flag without a history means nothing.
		{"marked safe without a history", galeraState{saved: none, safe: true, recovered: GaleraPosition{two, 4}}, galeraPlan{history: two}},
	} {
		if d := cmp.Diff(c.want, galeraDecide(c.state), cmp.AllowUnexported(galeraPlan{})); d != "" {
			t.Errorf("%s: %s", c.name, d)
		}
	}
}

func TestParseGrastate(t *testing.T) {
	none := GaleraPosition{noUUID, -1}
	for text, want := range map[string]galeraState{
		"": {saved: none, recovered: none},
		"# GALERA saved state\nversion: 2.1\nuuid:    " + one + "\nseqno:   56\nsafe_to_bootstrap: 1\n":  {saved: GaleraPosition{one, 56}, safe: true, recovered: none},
		"# GALERA saved state\nversion: 2.1\nuuid:    " + noUUID + "\nseqno:   -1\nsafe_to_bootstrap: 0": {saved: none, recovered: none},
		string(safeGrastate(two)): {saved: GaleraPosition{two, -1}, safe: true, recovered: none},
	} {
		got, err := parseGrastate([]byte(text))
		if err != nil {
			t.Errorf("%q: %v", text, err)
		} else if d := cmp.Diff(want, got, cmp.AllowUnexported(galeraState{})); d != "" {
			t.Errorf("%q: %s", text, d)
		}
	}
	for _, bad := range []string{"uuid: 123\n", "uuid: " + one + "x\n", "uuid:\n", "seqno: many\n", "seqno: 99999999999999999999\n"} {
		if _, err := parseGrastate([]byte(bad)); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func TestParsePosition(t *testing.T) {
	for text, want := range map[string]GaleraPosition{
		one + ":56":         {one, 56},
		one + ":56,0-1-7\n": {one, 56},
		noUUID + ":-1":      {noUUID, -1},
		" " + two + ":0 ":   {two, 0},
	} {
		if got, err := parsePosition(text); err != nil || got != want {
			t.Errorf("%q: %v %v", text, got, err)
		}
	}
	for _, bad := range []string{"", ":", one, one + ":", "x:1", one + ":1:2"} {
		if p, err := parsePosition(bad); err == nil || p.UUID != noUUID {
			t.Errorf("%q: %v %v", bad, p, err)
		}
	}
}

func FuzzParseGrastate(f *testing.F) {
	f.Add(safeGrastate(one))
	f.Fuzz(func(t *testing.T, data []byte) {
		if s, err := parseGrastate(data); err == nil && !isUUID(s.saved.UUID) {
			t.Errorf("%q is not a UUID", s.saved.UUID)
		}
	})
}

func FuzzParsePosition(f *testing.F) {
	f.Add(one + ":56,0-1-7")
	f.Fuzz(func(t *testing.T, text string) {
		if p, err := parsePosition(text); err == nil && !isUUID(p.UUID) {
			t.Errorf("%q is not a UUID", p.UUID)
		}
	})
}
