package quorum

import (
	"bytes"
	"encoding/json"
	"reflect"
	"testing"

	"github.com/hashicorp/raft"
)

// messages are one of each that a peer may send, right in itself.
func messages() map[string]checked {
	id, f := identity("ctl1", random()), foundingOfThree()
	b := ballot{1, "ctl1"}
	return map[string]checked{
		"greeting":     &greeting{testCloud, digest("a"), id, random(), &f, "ctl1"},
		"proposal":     &proposal{random(), b, f.Servers},
		"verdict":      &verdict{true, "", promise{b, b, f.Servers}, &f},
		"admitRequest": &admitRequest{id, f.id()},
		"admitReply":   &admitReply{f},
		"keyRequest":   &keyRequest{"a"},
		"keyReply":     &keyReply{[]byte("1"), 1},
		"putRequest":   &putRequest{random(), "a", []byte("1"), 0},
		"putReply":     &putReply{true},
		"lockRequest":  &lockRequest{"a", random(), random()},
		"lockReply":    &lockReply{true, "ctl1"},
		"askRequest":   &askRequest{"mariadb"},
	}
}

func foundingOfThree() founding {
	return founding{testCloud, random(), []string{identity("ctl1", random()), identity("ctl2", absent), identity("ctl3", random())}}
}

func TestMessages(t *testing.T) {
	for name, m := range messages() {
		data, err := json.Marshal(m)
		must(t, err)
		again := reflect.New(reflect.TypeOf(m).Elem()).Interface().(checked)
		if err := decode(data, again); err != nil || !reflect.DeepEqual(m, again) {
			t.Errorf("%s: %v, %+v", name, err, again)
		}
		if err := decode(bytes.Repeat([]byte(" "), maxMessage+1), again); err == nil {
			t.Errorf("%s: a message that is too long was read", name)
		}
	}
}

func FuzzMessages(f *testing.F) {
	for _, m := range messages() {
		data, err := json.Marshal(m)
		must(f, err)
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for name, m := range messages() {
			m = reflect.New(reflect.TypeOf(m).Elem()).Interface().(checked)
			if decode(data, m) != nil {
				continue
			}
			// What was read can be used, written and read again.
			if g, ok := m.(*greeting); ok {
				s := situation{Own: greeting{Cloud: testCloud, Controllers: g.Controllers, Self: identity("ctl2", random()), Nonce: g.Nonce}, Names: []string{"ctl1", "ctl2", "ctl3"}}
				s.Peers = []seen{{Name: "ctl1", Greeting: g}, {Name: "ctl3"}}
				decide(s)
			}
			if p, ok := m.(*proposal); ok {
				d, v := disk{}.judge(opAccept, *p, permit{testCloud, []string{"ctl1", "ctl2", "ctl3"}, p.Nonce, ""})
				if v.Yes && len(d.Promises[p.Nonce].Set) != 3 {
					t.Errorf("accepted %v", p.Set)
				}
			}
			again, err := json.Marshal(m)
			must(t, err)
			if err := decode(again, m); err != nil {
				t.Errorf("%s: %q was read, and what was written of it not: %v", name, data, err)
			}
		}
	})
}

func FuzzPreamble(f *testing.F) {
	id := identity("ctl1", random())
	data, err := json.Marshal(preamble{digest("a"), id, id})
	must(f, err)
	f.Add(append(data, '\n'))
	f.Fuzz(func(t *testing.T, data []byte) {
		line, err := readLine(bytes.NewReader(data))
		if err != nil {
			return
		}
		if p, err := decodePreamble(line, "ctl1"); err == nil && (nameOf(p.From) != "ctl1" || len(p.To) > maxPreamble) {
			t.Errorf("%+v", p)
		}
	})
}

func FuzzCommands(f *testing.F) {
	for _, c := range []command{
		{Op: opPut, ID: random(), Name: "a", Value: []byte("1")},
		{Op: opLock, Name: "a", Lock: lock{random(), "ctl1", random()}},
		{Op: opUnlock, Name: "a", Lock: lock{Token: random()}},
	} {
		data, err := json.Marshal(c)
		must(f, err)
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		a, b := newMachine(), newMachine()
		one, other := a.Apply(&raft.Log{Data: data}).(outcome), b.Apply(&raft.Log{Data: data}).(outcome)
		if one.yes != other.yes || (one.err == nil) != (other.err == nil) || !reflect.DeepEqual(a.state, b.state) {
			t.Error("two machines did not do the same")
		}
		s, err := a.Snapshot()
		must(t, err)
		must(t, b.Restore(readCloser{bytes.NewReader(s.(snapshot))}))
		if !reflect.DeepEqual(a.state.Keys, b.state.Keys) && len(a.state.Keys) > 0 || !reflect.DeepEqual(a.state.Locks, b.state.Locks) {
			t.Errorf("a snapshot of %+v is %+v", a.state, b.state)
		}
	})
}

type readCloser struct{ *bytes.Reader }

func (readCloser) Close() error { return nil }

func FuzzState(f *testing.F) {
	f.Add([]byte(`{"keys":{"a":{"value":"MQ==","version":1}},"locks":{},"done":[]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := decodeState(data)
		if err != nil {
			return
		}
		s.put(command{Op: opPut, ID: random(), Name: "a"})
		s.take(command{Op: opLock, Name: "a"})
	})
}
