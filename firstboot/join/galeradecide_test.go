package join

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

const view = "my_uuid: " + one + "\n#vwbeg\nview_id: 3 " + one + " 12\nbootstrap: 0\nmember: " + one + " 0\nmember: " + third + " 0\n#vwend\n"

const third = "33333333-3333-3333-3333-333333333333"

// at is a node that went down with a position.
func at(node string, seqno int64, change ...func(*GaleraReport)) GaleraReport {
	r := GaleraReport{Node: node, State: GaleraStopped, Epoch: 1, Saved: GaleraPosition{one, -1}, Recovered: GaleraPosition{one, seqno}}
	for _, f := range change {
		f(&r)
	}
	return r
}

func inView(seq int64, me string, members ...string) func(*GaleraReport) {
	return func(r *GaleraReport) {
		r.View = &GaleraView{Me: me, ID: "v" + members[0], Seq: seq, Members: members}
	}
}

func absent(node string, seconds int) GaleraReport {
	return GaleraReport{Node: node, State: GaleraSilent, SilentSeconds: seconds}
}

func blank(node string) GaleraReport {
	return GaleraReport{Node: node, State: GaleraStopped, Fresh: true}
}

func left(safe bool, seqno int64) func(*GaleraReport) {
	return func(r *GaleraReport) { r.Safe, r.Saved.Seqno = safe, seqno }
}

func TestGaleraDecideCluster(t *testing.T) {
	formed := GaleraRecord{UUID: one, Formed: true, Epoch: 1, Tried: 1}
	intent := func(verdict, node string) GaleraRecord {
		r := formed
		r.Tried, r.Intent = 2, &GaleraIntent{Verdict: verdict, Nodes: []string{node}, Epoch: 2, Base: 10}
		return r
	}
	founding := GaleraRecord{Tried: 1, Intent: &GaleraIntent{Verdict: GaleraFound, Nodes: []string{"c1"}, Epoch: 1, Base: -1}}
	running := GaleraReport{Node: "c1", State: GaleraRunning}
	primary := GaleraReport{Node: "c1", State: GaleraRunning, Primary: true, UUID: one, Epoch: 1}
	all := []string{"x", "y", "z"}
	for _, c := range []struct {
		name    string
		record  GaleraRecord
		reports []GaleraReport
		want    string
	}{
		{"all blank", GaleraRecord{}, []GaleraReport{blank("c1"), blank("c2"), blank("c3")}, "found c1"},
		{"one is late", GaleraRecord{}, []GaleraReport{absent("c1", 5), blank("c2"), blank("c3")}, "wait c1"},
		{"one is dead", GaleraRecord{}, []GaleraReport{absent("c1", 500), blank("c2"), blank("c3")}, "found c2"},
		{"the founder is silent", founding, []GaleraReport{absent("c1", 50), blank("c2"), blank("c3")}, "wait c1"},
		{"the founder died", founding, []GaleraReport{absent("c1", 500), blank("c2"), blank("c3")}, "found c2"},
		{"the founder is back", founding, []GaleraReport{blank("c1"), blank("c2"), blank("c3")}, "found c1"},
		{"wiped beside a living one", formed, []GaleraReport{primary, blank("c2"), blank("c3")}, "join c1"},
		{"all wiped", formed, []GaleraReport{blank("c1"), blank("c2"), blank("c3")}, "halt c1 c2 c3"},
		{"data before the quorum", GaleraRecord{}, []GaleraReport{at("c1", 5), blank("c2"), blank("c3")}, "bootstrap c1"},
		{"data before the quorum, one silent", GaleraRecord{}, []GaleraReport{at("c1", 5), blank("c2"), absent("c3", 999)}, "wait c3"},
		{"the newest", formed, []GaleraReport{at("c1", 5), at("c2", 9), at("c3", 7)}, "bootstrap c2"},
		{"a laggard's saved number", formed, []GaleraReport{at("c1", 6, left(false, 6)), at("c2", 10), at("c3", 9)}, "bootstrap c2"},
		{"left last", formed, []GaleraReport{at("c1", 9, left(true, 9)), absent("c2", 1), absent("c3", 1)}, "bootstrap c1"},
		{"left last, without a number", formed, []GaleraReport{at("c1", 9, left(true, -1)), absent("c2", 1), absent("c3", 1)}, "wait c2 c3"},
		{"left last, but another has more", formed, []GaleraReport{at("c1", 9, left(true, 9)), at("c2", 10), absent("c3", 1)}, "wait c3"},
		{"the flag without a history", formed, []GaleraReport{
			at("c1", 9, func(r *GaleraReport) { r.Safe, r.Saved, r.Recovered = true, nowhere(), nowhere() }), at("c2", 3), at("c3", 4),
		}, "bootstrap c3"},
		{"all of the view", formed, []GaleraReport{at("c1", 5, inView(3, "x", all...)), at("c2", 9, inView(3, "y", all...)), at("c3", 7, inView(3, "z", all...))}, "together c1 c2 c3"},
		{"all of the view, one older outside", formed, []GaleraReport{at("c1", 5, inView(4, "x", "x", "y")), at("c2", 9, inView(4, "y", "x", "y")), at("c3", 7, inView(3, "z", all...))}, "together c1 c2"},
		{"two of three, waiting", formed, []GaleraReport{at("c1", 5, inView(3, "x", all...)), at("c2", 9, inView(3, "y", all...)), absent("c3", 60)}, "wait c3"},
		{"two of three, long enough", formed, []GaleraReport{at("c1", 5, inView(3, "x", all...)), at("c2", 9, inView(3, "y", all...)), absent("c3", 121)}, "bootstrap c2"},
		{"two of three, but the third answers on Galera's port", formed, []GaleraReport{
			at("c1", 5, inView(3, "x", all...)), at("c2", 9, inView(3, "y", all...)), {Node: "c3", State: GaleraSilent, SilentSeconds: 999, Answers: true},
		}, "wait c3"},
		{"two of three, one left before", formed, []GaleraReport{at("c1", 5, left(false, 5)), at("c2", 9, inView(3, "y", "y", "z")), absent("c3", 999)}, "wait c3"},
		{"a stranger", formed, []GaleraReport{at("c1", 5), at("c2", 900, func(r *GaleraReport) { r.Recovered.UUID = two }), at("c3", 7)}, "halt c2"},
		{"runs outside", formed, []GaleraReport{running, at("c2", 9), at("c3", 7)}, "wait c1"},
		{"an intent", intent(GaleraBootstrap, "c1"), []GaleraReport{running, at("c2", 10), at("c3", 7)}, "bootstrap c1"},
		{"an intent, and a better copy", intent(GaleraBootstrap, "c1"), []GaleraReport{running, at("c2", 11), at("c3", 7)}, "wait c1"},
		{"an older epoch has more", GaleraRecord{UUID: one, Formed: true, Epoch: 1, Prior: 0, Base: 3}, []GaleraReport{
			at("c1", 50, func(r *GaleraReport) { r.Epoch = 0 }), at("c2", 4), at("c3", 3),
		}, "bootstrap c2"},
		{"a member that was still sent what an older copy has", GaleraRecord{UUID: one, Formed: true, Epoch: 1, Prior: 0, Base: 4}, []GaleraReport{
			at("c1", 4, func(r *GaleraReport) { r.Epoch = 0 }), blank("c2"), at("c3", 3),
		}, "bootstrap c1"},
		{"only copies of an older epoch are left", GaleraRecord{UUID: one, Formed: true, Epoch: 1, Prior: 0, Base: 4}, []GaleraReport{
			at("c1", 4, func(r *GaleraReport) { r.Epoch = 0 }), blank("c2"), blank("c3"),
		}, "halt c1 c2 c3"},
		{"views counted in an epoch that was never recorded", formed, []GaleraReport{
			at("c1", 9, func(r *GaleraReport) { r.Epoch, r.From = 2, 7 }), at("c2", 8), at("c3", 7),
		}, "bootstrap c2"},
		{"a copy that Galera does not call whole, of the same length", formed, []GaleraReport{
			at("c1", 9, func(r *GaleraReport) { r.Saved = nowhere() }), at("c2", 9), at("c3", 7),
		}, "bootstrap c2"},
		{"the newest of the view is not believed by Galera", formed, []GaleraReport{
			at("c1", 9, inView(3, "x", all...), func(r *GaleraReport) { r.Saved = nowhere() }), at("c2", 8, inView(3, "y", all...)), at("c3", 7, inView(3, "z", all...)),
		}, "bootstrap c1"},
		{"a copy without any history, before the first cluster", GaleraRecord{}, []GaleraReport{{Node: "c1", State: GaleraStopped, Saved: nowhere(), Recovered: nowhere()}, blank("c2"), blank("c3")}, "found c1"},
		{"the operator accepts", formed, []GaleraReport{at("c1", 5, func(r *GaleraReport) { r.AcceptLoss = true }), at("c2", 6), absent("c3", 1)}, "bootstrap c2"},
	} {
		p := GaleraDecide(GaleraSituation{Controllers: []string{"c1", "c2", "c3"}, Record: c.record, Reports: c.reports})
		if got := strings.Join(slices.Concat([]string{p.Verdict}, p.Nodes), " "); got != c.want || p.Why == "" {
			t.Errorf("%s: %s (%s), want %s", c.name, got, p.Why, c.want)
		}
	}
}

func TestParseView(t *testing.T) {
	v, err := parseView([]byte(view))
	if err != nil || v.Me != one || v.Seq != 12 || !slices.Equal(v.Members, []string{one, third}) {
		t.Errorf("%+v %v", v, err)
	}
	for _, bad := range []string{"", "my_uuid: " + one, strings.Replace(view, "#vwend", "", 1), strings.ReplaceAll(view, "member: "+one, "member: "+two[:35]+"0"), strings.Replace(view, " 12", " many", 1)} {
		if v, err := parseView([]byte(bad)); err == nil {
			t.Errorf("%q was taken: %+v", bad, v)
		}
	}
}

func FuzzParseView(f *testing.F) {
	f.Add([]byte(view))
	f.Fuzz(func(t *testing.T, data []byte) {
		if v, err := parseView(data); err == nil && (!isUUID(v.Me) || !slices.Contains(v.Members, v.Me)) {
			t.Errorf("%+v", v)
		}
	})
}

func FuzzGaleraSituation(f *testing.F) {
	for _, s := range []GaleraSituation{
		{Controllers: []string{"c1", "c2", "c3"}, Reports: []GaleraReport{blank("c1"), absent("c2", 200)}},
		{Controllers: []string{"c1"}, Record: GaleraRecord{UUID: one, Formed: true}, Reports: []GaleraReport{at("c1", 4)}},
	} {
		data, err := json.Marshal(s)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(data))
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := ParseGaleraSituation(strings.NewReader(text))
		if err != nil {
			return
		}
		if p := GaleraDecide(s); p.Verdict == "" || p.Why == "" && len(p.Nodes) > 0 {
			t.Errorf("%s: no decision: %+v", text, p)
		}
	})
}
